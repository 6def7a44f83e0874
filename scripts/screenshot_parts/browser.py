"""A headless Chromium, driven over a pipe by the Chrome DevTools protocol."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--use-gl=angle"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--remote-debugging-pipe"),
]


def find_chromium() -> str | None:
    """The program, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Page:
    """A page of the browser.

    Args:
        commands: where the browser reads.
        answers: where it writes.
    """

    def __init__(self, commands: BinaryIO, answers: BinaryIO) -> None:
        self._commands = commands
        self._answers = answers
        self._numbers = itertools.count(1)
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def resize(self, width: int, height: int) -> None:
        """Sets the size of the window, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def open(self, url: str) -> None:
        """Goes to an address."""
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in JavaScript."""
        done = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"]["exception"].get("description", script))
        return done["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = 60.0) -> Any:
        """The value of an expression, once it is true."""
        end = time.monotonic() + timeout_s
        while not (value := self.evaluate(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"after {timeout_s} s still not true: {script}")
            time.sleep(0.25)
        return value

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._read()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser has ended")
            parts += byte
        return json.loads(parts)


@contextmanager
def chromium(program: str) -> Iterator[Page]:
    """A page of a browser with a profile of its own, both gone afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        commands, answers = f"{folder}/commands", f"{folder}/answers"
        os.mkfifo(commands)
        os.mkfifo(answers)
        redirected = 'program=$1; shift; exec "$program" "$@" 3<"$COMMANDS" 4>"$ANSWERS"'
        process = subprocess.Popen(
            ["sh", "-c", redirected, "sh", program, *FLAGS, f"--user-data-dir={folder}/profile"],
            env=os.environ | {"COMMANDS": commands, "ANSWERS": answers},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with Path(commands).open("wb") as writer, Path(answers).open("rb") as reader:
                yield Page(writer, reader)
        finally:
            process.terminate()
            process.wait(timeout=30)

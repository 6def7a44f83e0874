"""A TensorBoard that runs for as long as it is looked at."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """The address of a TensorBoard, on a free port of this machine, that shows a folder."""
    folder = folder.resolve()
    options = ["--logdir", folder.name, "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *options],
        cwd=folder.parent,  # the tabs show the name of the folder as it is given
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"TensorBoard .* at (http://\S+)", line):
                break
        else:
            raise RuntimeError("TensorBoard has not started:\n" + "".join(said))
        threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would block
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()

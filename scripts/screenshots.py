"""The pictures of TensorBoard in docs/monitoring.md.

    python scripts/screenshots.py
    python scripts/screenshots.py --folder runs/imdb

It trains scripts/train_imdb_tensorboard.py, or takes a folder in which that was done, starts a
TensorBoard there, opens its tabs in a headless Chromium and writes what they show.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import typer
from screenshot_parts.browser import chromium, find_chromium
from screenshot_parts.server import tensorboard
from screenshot_parts.tabs import TABS, show

SCRIPT = Path(__file__).with_name("train_imdb_tensorboard.py")


def main(
    folder: Path | None = None, out: Path = Path("docs/monitoring"), quick: bool = False
) -> None:
    """Write a picture of each tab."""
    program = find_chromium()
    if program is None:
        sys.exit("This needs Chromium, which was not found.")
    with tempfile.TemporaryDirectory() as trained:
        if folder is None:
            folder = Path(trained, "imdb")
            options = ["--folder", str(folder), *(["--quick"] if quick else [])]
            subprocess.run([sys.executable, SCRIPT, *options], check=True)
        out.mkdir(parents=True, exist_ok=True)
        with tensorboard(folder) as server, chromium(program) as page:
            for tab in TABS:
                show(page, server, tab)
                (out / f"{tab.name}.png").write_bytes(page.screenshot())
                print(f"{out / tab.name}.png")


if __name__ == "__main__":
    typer.run(main)

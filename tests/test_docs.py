"""Every python block of the README and the docs runs, and prints what stands under it."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\n?^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


def blocks():
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            where = f"{page.relative_to(ROOT)}:{line}"
            yield pytest.param(match[1], match[2], id=where)


@pytest.mark.parametrize(("source", "expected"), list(blocks()))
def test_block_runs_and_prints_what_it_says(source, expected, tmp_path):
    """A block stands by itself, as a reader copies it; files that it writes go away."""
    printed = io.StringIO()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "block", "exec"), {"__name__": "__main__"})
    finally:
        os.chdir(before)
    if expected is not None:
        assert printed.getvalue().strip() == expected.strip()


def test_there_are_blocks():
    assert any("README.md" in str(block.id) for block in blocks())

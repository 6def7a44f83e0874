"""Pages in Markdown."""

from textwrap import fill


def filled(page: str) -> str:
    """The page with its text in lines of one length; headings, tables and code as they are."""
    return "\n\n".join(map(_filled, page.rstrip().split("\n\n"))) + "\n"


def _filled(paragraph: str) -> str:
    if paragraph.startswith(("#", " ", "|", "!")):
        return paragraph
    indent = "  " if paragraph.startswith("- ") else ""
    return fill(paragraph, 100, subsequent_indent=indent, break_on_hyphens=False)

"""A self-contained HTML page: no script, no request, whatever a name in it may try."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from edgekit.drawing.css import CSS

__all__ = ["page"]

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, body: Iterable[str], *, css: str = "") -> str:
    """Returns the page; `title` is escaped here, the parts of `body` are markup already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{CSS}{css}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )

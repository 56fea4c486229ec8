"""Text that means nothing in Markdown and HTML."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["escaped"]

_SPECIAL: Final = re.compile(r"([\\`*\[\]{}|~#$])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: str) -> str:
    """Takes the meaning out of Markdown and HTML characters; `_` inside a word has none."""
    plain = "".join(_ENTITIES.get(char, char) for char in text)
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", plain)

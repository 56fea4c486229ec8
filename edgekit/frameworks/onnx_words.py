"""What ONNX Runtime raises, in a user's words: the node first, nothing of its own source code."""

from __future__ import annotations

import re

__all__ = ["runtime_words"]

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .+? failed: ?)?")
_RUNNING = re.compile(
    r"Non-zero status code returned while running (?P<kind>\S+) node\. Name:'(?P<name>.*?)' "
    r"Status Message: "
)
_SOURCES = (
    re.compile(r"\S*[/\\]\S+\.(?:cc|h):\d+ .*?\[with .*?\] (?=\S)"),
    re.compile(r"\S*[/\\]\S+\.(?:cc|h):\d+ .*?\) (?=\S)"),
    re.compile(r"\b\w+\.(?:cc|h):\d+ \w+ (?=\S)"),
    re.compile(r"(?<=\): )[^.]*? was false\. (?=\S)"),
)
"""File, line and signature of the function that raised; the condition that it found false."""
_TO_BE_CONTINUED = "for the following indices"


def runtime_words(error: Exception) -> str:
    """What an error of the runtime's says first; '' for one that is not its own."""
    text, found = _PREFIX.subn("", str(error))
    text = _RUNNING.sub(lambda match: f"node '{match['name']}' ({match['kind']}): ", text)
    for source in _SOURCES:
        text = source.sub("", text)
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    if not found or not lines:
        return ""
    # Of an input with other sizes than the model's, the second line says which they are.
    return f"{lines[0]} {lines[1]}" if lines[0].endswith(_TO_BE_CONTINUED) else lines[0]

"""Text from files and users, made fit to print."""

from __future__ import annotations

__all__ = ["clean", "with_article"]


def clean(text: object, *, most: int = 80) -> str:
    """Makes a name that came from a file fit to print: one line, no control codes, not too long.

    A layer's name is whatever the author of the file wrote; escape codes in it would reach the
    reader's terminal, and a line break would break the table.
    """
    line = "".join(char if char.isprintable() else "\ufffd" for char in str(text))
    if len(line) <= most:
        return line
    tail = (most - 1) // 2
    return f"{line[: most - 1 - tail]}…{line[-tail:]}"


def with_article(noun: str) -> str:
    """Writes 'an onnx' and 'a tflite'."""
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"

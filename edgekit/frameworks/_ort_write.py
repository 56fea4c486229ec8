"""Writes the tables of an .ort flatbuffer, the same bytes for the same content."""

from __future__ import annotations

import struct
from typing import Any

from edgekit.frameworks._ort_schema import EDGE, IDENTIFIER, SCHEMA, UNION, Node

__all__ = ["write"]

_RAW_ALIGNMENT = 16


def write(root: Node) -> bytearray:
    """The same bytes for the same content."""
    writer = _Writer()
    root_position = writer.table("InferenceSession", root)
    struct.pack_into("<I", writer.data, 0, root_position)
    writer.texts()
    return writer.data


class _Writer:
    """Offsets lead forward only: a table, then what it refers to, and at the end each text once."""

    def __init__(self) -> None:
        self.data = bytearray(8)
        self.data[4:] = IDENTIFIER
        self._layouts: dict[bytes, int] = {}
        self._texts: dict[str, list[int]] = {}

    def table(self, name: str, node: Node) -> int:
        """Writes a table and what it refers to; returns its position."""
        fields = [(slot, label, kind) for slot, (label, kind) in enumerate(SCHEMA[name])]
        present = [item for item in fields if item[1] in node and item[2]]
        position, offsets = self._layout([(slot, kind) for slot, _, kind in present])
        for slot, label, kind in present:
            at, value = position + offsets[slot], node[label]
            if len(kind) == 1:
                struct.pack_into(f"<{kind}", self.data, at, value)
            else:
                self._refer(at, UNION[node["value_type"]] if kind == "union" else kind, value)
        return position

    def texts(self) -> None:
        """Writes the texts that were referred to."""
        for text, places in self._texts.items():
            content = text.encode()
            target = self._vector(content + b"\0", len(content), 4)
            for at in places:
                struct.pack_into("<I", self.data, at, target - at)

    def _layout(self, present: list[tuple[int, str]]) -> tuple[int, dict[int, int]]:
        """Makes room for a table; tables with the same fields share the list of their places."""
        offsets, size = {}, 4
        for slot, kind in present:
            width = struct.calcsize(kind) if len(kind) == 1 else 4
            offsets[slot] = -(-size // width) * width
            size = offsets[slot] + width
        slots = present[-1][0] + 1 if present else 0
        places = (offsets.get(slot, 0) for slot in range(slots))
        layout = struct.pack(f"<{2 + slots}H", 4 + 2 * slots, size, *places)
        known = layout in self._layouts
        self._align(8, 0 if known else len(layout))
        if not known:
            self._layouts[layout] = len(self.data)
            self.data += layout
        position = len(self.data)
        self.data += struct.pack("<i", position - self._layouts[layout]) + bytes(size - 4)
        return position, offsets

    def _refer(self, at: int, kind: str, value: Any) -> None:
        """Lets the offset at `at` lead to a value, which is written now or, a text, at the end."""
        if kind == "text":
            self._texts.setdefault(value, []).append(at)
            return
        target = self._put(kind, value)
        struct.pack_into("<I", self.data, at, target - at)

    def _put(self, kind: str, value: Any) -> int:
        if kind == "raw":
            return self._vector(value, len(value), _RAW_ALIGNMENT)
        if kind == "edges":
            return self._vector(value, len(value) // EDGE, 4)
        if kind[0] != "[":
            return self.table(kind, value)
        inner = kind[1:-1]
        if len(inner) == 1:
            content = struct.pack(f"<{len(value)}{inner}", *value)
            return self._vector(content, len(value), struct.calcsize(inner))
        position = self._vector(bytes(4 * len(value)), len(value), 4)
        for index, item in enumerate(value):
            self._refer(position + 4 + 4 * index, inner, item)
        return position

    def _vector(self, content: bytes | memoryview, count: int, alignment: int) -> int:
        self._align(max(4, alignment), 4)
        position = len(self.data)
        self.data += struct.pack("<I", count)
        self.data += content
        return position

    def _align(self, alignment: int, ahead: int) -> None:
        """Fills up so that what comes `ahead` bytes later is aligned."""
        self.data += bytes(-(len(self.data) + ahead) % alignment)

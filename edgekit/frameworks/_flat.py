"""Flatbuffers read with every offset checked, and every byte that was read counted."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["DamagedError", "Flat", "Table"]

_WORK_PER_BYTE = 2
_WORK_OF_ANY_FILE = 1 << 16
"""How much may be read of a file before it counts as hostile. In real files most bytes are weights,
which are not read, and nothing is read twice; but tables and lists can be shared without end."""
_WORK_OF_TABLE = 32
"""Reading a table takes as long as this many bytes of a list, however small it is."""
_MOST_TABLES = 2_000_000
_MOST_NUMBERS = 2_000_000


class DamagedError(ValueError):
    """The bytes are no valid flatbuffer; the message says what is wrong."""


class Flat:
    """A flatbuffer whose content is not trusted.

    `spans` keeps what was read as (start, end) -> kind, so that a caller can say where the bytes
    are; `allowance` bounds the work that shared or looping offsets can cause.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.spans: dict[tuple[int, int], str] = {}
        self.allowance = _WORK_PER_BYTE * len(data) + _WORK_OF_ANY_FILE

    def root(self) -> Table:
        """The outermost table."""
        return Table(self, self.follow(0))

    def read(self, code: str, position: int) -> int | float:
        """One little-endian scalar."""
        if position < 0 or position + struct.calcsize(code) > len(self.data):
            raise DamagedError("an offset points out of the file")
        value: int | float = struct.unpack_from(f"<{code}", self.data, position)[0]
        return value

    def integer(self, code: str, position: int) -> int:
        """One little-endian integer."""
        return int(self.read(code, position))

    def follow(self, position: int) -> int:
        """The position that the offset at `position` points to."""
        self.spend(4)
        return position + self.integer("I", position)

    def spend(self, size: int) -> None:
        """Takes the reading of so many bytes off the allowance."""
        self.allowance -= size
        if self.allowance < 0:
            raise DamagedError("its parts refer to each other without end")

    def span(self, position: int, width: int, kind: str, most: int) -> tuple[int, int]:
        """The length in elements (no more than `most`) and the first byte of a vector."""
        length = self.integer("I", position)
        start = position + 4
        if length > most:
            raise DamagedError(f"a list has {length} entries, where {most} are the most")
        if start + length * width > len(self.data):
            raise DamagedError("a list is longer than the file")
        if kind and length:
            self.spans[start, start + length * width] = kind
        return length, start

    def bytes_by(self) -> dict[str, int]:
        """How many bytes each kind has.

        Raises:
            DamagedError: two things that are not the same thing overlap.
        """
        sums: dict[str, int] = {}
        last = 0
        for (start, end), kind in sorted(self.spans.items()):
            if start < last:
                raise DamagedError("parts of it overlap")
            last = end
            sums[kind] = sums.get(kind, 0) + end - start
        return sums


class Table:
    """A table: fields by slot number, each with the default that the schema gives it."""

    def __init__(self, flat: Flat, position: int) -> None:
        flat.spend(_WORK_OF_TABLE)
        self.flat, self.position = flat, position
        self.vtable = position - flat.integer("i", position)
        size, self.size = flat.integer("H", self.vtable), flat.integer("H", self.vtable + 2)
        self.slots = size // 2 - 2
        if size < 4 or self.vtable + size > len(flat.data):
            raise DamagedError("a table of fields points out of the file")

    def field(self, slot: int) -> int | None:
        """The position of a field, or None where it is not there."""
        if slot >= self.slots:
            return None
        offset = self.flat.integer("H", self.vtable + 4 + 2 * slot)
        if offset >= self.size:
            raise DamagedError("a field lies outside its table")
        return self.position + offset if offset else None

    def integer(self, slot: int, code: str, default: int = 0) -> int:
        """A scalar field."""
        position = self.field(slot)
        return default if position is None else self.flat.integer(code, position)

    def table(self, slot: int) -> Table | None:
        """A field that is a table."""
        position = self.field(slot)
        return None if position is None else Table(self.flat, self.flat.follow(position))

    def tables(self, slot: int) -> Iterator[Table]:
        """A field that is a list of tables."""
        for position in self.targets(slot):
            yield Table(self.flat, position)

    def targets(self, slot: int) -> list[int]:
        """The positions that a list of offsets points to."""
        position = self.field(slot)
        if position is None:
            return []
        length, start = self.flat.span(self.flat.follow(position), 4, "", _MOST_TABLES)
        self.flat.spend(4 * length)
        offsets = struct.unpack_from(f"<{length}I", self.flat.data, start)
        return [start + 4 * index + offset for index, offset in enumerate(offsets)]

    def numbers(
        self, slot: int, code: str, *, kind: str = "", most: int = _MOST_NUMBERS
    ) -> tuple[int | float, ...]:
        """A field that is a list of scalars, `most` at most."""
        position = self.field(slot)
        if position is None:
            return ()
        width = struct.calcsize(code)
        length, start = self.flat.span(self.flat.follow(position), width, kind, most)
        self.flat.spend(length * width)
        return struct.unpack_from(f"<{length}{code}", self.flat.data, start)

    def integers(
        self, slot: int, code: str = "i", *, kind: str = "", most: int = _MOST_NUMBERS
    ) -> tuple[int, ...]:
        """A field that is a list of integers, `most` at most."""
        return tuple(int(value) for value in self.numbers(slot, code, kind=kind, most=most))

    def extent(self, slot: int, kind: str = "") -> tuple[int, int]:
        """Start and end of a field that is a list of bytes; (0, 0) where it is not there."""
        position = self.field(slot)
        if position is None:
            return 0, 0
        length, start = self.flat.span(self.flat.follow(position), 1, kind, len(self.flat.data))
        return start, start + length

    def text(self, slot: int) -> str:
        """A field that is a string."""
        start, end = self.extent(slot, "strings")
        self.flat.spend(end - start)
        return self.flat.data[start:end].decode("utf-8", "replace")

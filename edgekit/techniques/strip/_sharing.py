"""A flatbuffer builder that stores equal vectors, strings and tables once."""

from __future__ import annotations

from typing import Any

import flatbuffers

__all__ = ["SharingBuilder"]


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that gives the old place of a vector, string or table that is there already."""

    def __init__(self) -> None:
        super().__init__(1 << 16)
        self._places: dict[Any, int] = {}
        self._fields: list[Any] = []

    def place_bytes(self, data: Any, alignment: int) -> None:
        """Writes a byte vector whose content is aligned; `CreateNumpyVector` finds it again."""
        content = bytes(data)
        self.StartVector(1, len(content), alignment)
        self.head -= len(content)
        self.Bytes[self.head : self.head + len(content)] = content
        self._places["u1", content] = self.EndVector()

    def CreateNumpyVector(self, values: Any) -> int:  # noqa: N802
        key = (values.dtype.str[1:], values.tobytes())
        if key not in self._places:
            self._places[key] = super().CreateNumpyVector(values)
        return self._places[key]

    def CreateString(self, text: Any, *options: Any) -> int:  # noqa: N802
        content = text.encode() if isinstance(text, str) else bytes(text)
        key = ("string", content)
        if key not in self._places:
            self._places[key] = super().CreateString(content)
        return self._places[key]

    def StartObject(self, fields: int) -> None:  # noqa: N802
        super().StartObject(fields)
        self._fields = [fields]

    def PrependSlot(self, flags: Any, slot: int, value: Any, default: Any) -> None:  # noqa: N802
        if value != default:
            self._fields.append((slot, flags.bytewidth, value))
        super().PrependSlot(flags, slot, value, default)

    def PrependUOffsetTRelativeSlot(self, slot: int, place: int, default: int) -> None:  # noqa: N802
        if place != default:
            self._fields.append((slot, "offset", place))
        super().PrependUOffsetTRelativeSlot(slot, place, default)

    def EndObject(self) -> int:  # noqa: N802
        key = ("table", *self._fields)
        if key not in self._places:
            self._places[key] = super().EndObject()
            return self._places[key]
        # Taken back before its vtable is written: what follows goes over it.
        self.assertNested()
        self.nested = False
        self.head = len(self.Bytes) - self.objectEnd
        self.current_vtable = None
        return self._places[key]

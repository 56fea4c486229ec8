"""Adds metadata and signatures to a .tflite in front of its bytes, which stay as they are."""

from __future__ import annotations

import struct

from edgekit.errors import UsageError
from edgekit.frameworks._flat import Flat, Table
from edgekit.frameworks._names import unique
from edgekit.frameworks._tflite_model import TfliteModel
from edgekit.frameworks._tflite_parse import damage_is_an_error, parse

__all__ = ["add_signature", "with_metadata"]

_HEAD = 8
_ALIGNMENT = 16
_ROOT_SLOTS = 10
_BUFFERS, _METADATA, _SIGNATURES = 4, 6, 7


class _Front:
    """New tables, placed between the header and the old bytes.

    Offsets in a flatbuffer only point forward, so a new root table in front can refer to all that
    is old, while nothing old has to change: a multiple of 16 bytes keeps every alignment.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.front = bytearray(_HEAD)
        self.pending: list[tuple[int, int, bool]] = []

    def place(self, content: bytes, *, before: int = 0) -> int:
        """Appends bytes so that what follows the first `before` of them is aligned to 16."""
        align = _ALIGNMENT if before else 4
        self.front += bytes(-(len(self.front) + before) % align)
        self.front += content
        return len(self.front) - len(content)

    def point(self, position: int, target: int, *, old: bool = False) -> None:
        """Notes that the offset at `position` is to point at a new or an old place."""
        self.pending.append((position, target, old))

    def table(self, values: dict[int, int]) -> dict[int, int]:
        """Places a table of 4-byte fields; returns where each field is, and itself as -1."""
        slots = max(values, default=-1) + 1
        offsets = {slot: 4 + 4 * i for i, slot in enumerate(sorted(values))}
        vtable = struct.pack(
            f"<HH{slots}H",
            *(4 + 2 * slots, 4 + 4 * len(values)),
            *(offsets.get(slot, 0) for slot in range(slots)),
        )
        padded = vtable + bytes(-len(vtable) % 4)
        fields = b"".join(struct.pack("<I", values[slot]) for slot in sorted(values))
        start = self.place(padded + struct.pack("<i", len(padded)) + fields) + len(padded)
        return {-1: start, **{slot: start + offset for slot, offset in offsets.items()}}

    def vector(self, old: list[int], new: int) -> tuple[int, list[int]]:
        """Places a list of offsets: to old tables, then `new` that the caller points."""
        count = len(old) + new
        start = self.place(struct.pack("<I", count) + bytes(4 * count))
        items = [start + 4 + 4 * index for index in range(count)]
        for position, target in zip(items, old, strict=False):
            self.point(position, target, old=True)
        return start, items[len(old) :]

    def text(self, text: str) -> int:
        """Places a string."""
        content = text.encode()
        return self.place(struct.pack("<I", len(content)) + content + b"\0")

    def join(self) -> bytes:
        """The new file."""
        self.front += bytes(-(len(self.front) - _HEAD) % _ALIGNMENT)
        shift = len(self.front) - _HEAD
        for position, target, old in self.pending:
            distance = target + shift * old - position
            assert distance > 0, "offsets only point forward"
            struct.pack_into("<I", self.front, position, distance)
        self.front[4:_HEAD] = self.data[4:_HEAD]
        return bytes(self.front) + self.data[_HEAD:]


def with_metadata(data: bytes, name: str, payload: bytes, *, where: str = "the model") -> bytes:
    """Adds a metadata entry, or replaces the one of that name; nothing else changes.

    Raises:
        UsageError: it is no whole TFLite model, or keeps tensor data behind the flatbuffer.
    """
    model = _checked(data, where)
    index = dict(model.metadata).get(name)
    if index is not None and len(payload) <= len(model.buffer(index)):
        return _overwritten(data, model.buffers[index], payload)
    root = Flat(data).root()
    kept = [
        target
        for target, (known, _) in zip(root.targets(_METADATA), model.metadata, strict=True)
        if known != name
    ]
    front, fields = _new_root(data, root, (_BUFFERS, _METADATA))
    buffers, (new_buffer,) = front.vector(root.targets(_BUFFERS), 1)
    entries, (new_entry,) = front.vector(kept, 1)
    front.point(fields[_BUFFERS], buffers)
    front.point(fields[_METADATA], entries)
    entry = front.table({0: 0, 1: len(model.buffers)})
    front.point(new_entry, entry[-1])
    front.point(entry[0], front.text(name))
    holder = front.table({0: 0})
    front.point(new_buffer, holder[-1])
    front.point(holder[0], front.place(struct.pack("<I", len(payload)) + payload, before=4))
    return front.join()


def add_signature(data: bytes, *, where: str = "the model") -> bytes:
    """Adds the signature 'serving_default' with the tensors' own names, where there is none.

    Raises:
        UsageError: it is no whole TFLite model, or keeps tensor data behind the flatbuffer.
    """
    if parse(data, where=where).signatures:
        return data
    model = _checked(data, where)
    main = model.subgraphs[0]
    front, fields = _new_root(data, Flat(data).root(), (_SIGNATURES,))
    signatures, (new,) = front.vector([], 1)
    front.point(fields[_SIGNATURES], signatures)
    signature = front.table({0: 0, 1: 0, 2: 0, 4: 0})
    front.point(new, signature[-1])
    front.point(signature[2], front.text("serving_default"))
    for slot, indices in ((0, main.inputs), (1, main.outputs)):
        names = unique(main.tensors[index].name or f"tensor_{index}" for index in indices)
        vector, items = front.vector([], len(indices))
        front.point(signature[slot], vector)
        for item, name, index in zip(items, names, indices, strict=True):
            entry = front.table({0: 0, 1: index})
            front.point(item, entry[-1])
            front.point(entry[0], front.text(name))
    return front.join()


def _checked(data: bytes, where: str) -> TfliteModel:
    """Reads the model, and refuses one whose absolute offsets a shift would break."""
    model = parse(data, where=where)
    root = Flat(data).root()
    with damage_is_an_error(where):
        # The reader leaves out fields that it has no use for; a new root takes all of them over.
        for slot in range(1, _ROOT_SLOTS):
            position = root.field(slot)
            if position is not None:
                root.flat.follow(position)
    absolute = any(table.integer(1, "Q") > 1 for table in root.tables(_BUFFERS)) or any(
        operator.integer(9, "Q") > 1 for graph in root.tables(2) for operator in graph.tables(3)
    )
    if absolute or root.slots > _ROOT_SLOTS:
        raise UsageError(
            f"{where}: is a TFLite model that keeps tensor data behind its tables (as those over "
            "2 GB do), which edgekit can read but not change",
            hint="convert the source model again, smaller than 2 GB",
        )
    return model


def _new_root(data: bytes, root: Table, replaced: tuple[int, ...]) -> tuple[_Front, dict[int, int]]:
    """A root table that says what the old one said, except in the replaced fields."""
    front = _Front(data)
    old = {slot: root.field(slot) for slot in range(_ROOT_SLOTS)}
    held = {slot for slot, position in old.items() if position is not None} | {0, *replaced}
    fields = front.table({slot: root.integer(0, "I") if slot == 0 else 0 for slot in held})
    front.point(0, fields[-1])
    for slot in held - {0, *replaced}:
        position = old[slot]
        assert position is not None
        front.point(fields[slot], root.flat.follow(position), old=True)
    return front, fields


def _overwritten(data: bytes, span: tuple[int, int], payload: bytes) -> bytes:
    """Writes into the old entry's place and shortens its length."""
    changed = bytearray(data)
    start, _ = span
    struct.pack_into("<I", changed, start - 4, len(payload))
    changed[start : start + len(payload)] = payload
    return bytes(changed)

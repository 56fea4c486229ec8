"""Reading and extending .tflite bytes; hostile bytes only ever give a UsageError."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import run, small_tflite

from edgekit.errors import UsageError
from edgekit.frameworks._names import unique
from edgekit.frameworks.tflite import (
    add_signature,
    parse,
    read_metadata,
    read_model,
    with_metadata,
)


def test_parse_reads_what_was_written() -> None:
    model = parse(small_tflite(), where="m.tflite")
    (graph,) = model.subgraphs
    assert [operation.kind for operation in graph.operations] == [
        "CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
    ]
    assert graph.operations[0].inputs == (0, 1, 2)
    assert graph.tensors[0].shape_signature == (None, 8, 8, 1)
    assert graph.tensors[1].shape == (4, 3, 3, 1)
    assert graph.tensors[1].dtype == "float32"
    assert [tensor.index for tensor in graph.tensors if tensor.is_constant] == [1, 2, 4, 6, 7]
    assert (graph.inputs, graph.outputs) == ((0,), (8,))
    signature = model.signature()
    assert signature is not None
    assert (signature.inputs, signature.outputs) == ((("image", 0),), (("scores", 8),))
    assert model.description == "small"
    assert len(model.buffer(1)) == 4 * 3 * 3 * 4


def test_bytes_add_up_to_the_file() -> None:
    data = small_tflite()
    split = dict(parse(data, where="m.tflite").bytes_by)
    assert sum(split.values()) == len(data)
    assert split["weights"] == 4 * (36 + 4 + 2 + 768 + 3)
    assert split["metadata"] == len("1.5.0")


def test_metadata_is_added_and_outputs_stay_bit_identical() -> None:
    data = small_tflite()
    changed = with_metadata(data, "edgekit", b"payload" * 9)
    assert read_metadata(changed, "edgekit") == b"payload" * 9
    assert read_metadata(changed, "min_runtime_version") == b"1.5.0"
    assert read_metadata(data, "edgekit") is None
    np.testing.assert_array_equal(run(changed), run(data))
    assert data[8:] in changed, "the old bytes stay as they are"


def test_a_shorter_payload_takes_the_place_of_the_old_one() -> None:
    changed = with_metadata(small_tflite(), "edgekit", b"0123456789")
    again = with_metadata(changed, "edgekit", b"abc")
    assert len(again) == len(changed)
    assert read_metadata(again, "edgekit") == b"abc"


def test_a_longer_payload_replaces_the_entry() -> None:
    changed = with_metadata(small_tflite(), "edgekit", b"abc")
    again = with_metadata(changed, "edgekit", b"0123456789" * 50)
    names = [name for name, _ in parse(again, where="m").metadata]
    assert names.count("edgekit") == 1
    assert read_metadata(again, "edgekit") == b"0123456789" * 50
    np.testing.assert_array_equal(run(again), run(small_tflite()))


@given(name=st.text(max_size=20), payload=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_metadata_round_trip(name: str, payload: bytes) -> None:
    changed = with_metadata(small_tflite(metadata=False), name, payload)
    assert read_metadata(changed, name) == payload
    assert (
        parse(changed, where="m").subgraphs
        == parse(small_tflite(metadata=False), where="m").subgraphs
    )


def test_a_signature_is_added_where_there_is_none() -> None:
    from ai_edge_litert.interpreter import Interpreter

    changed = add_signature(small_tflite(signature=False))
    assert Interpreter(model_content=changed).get_signature_list() == {
        "serving_default": {"inputs": ["input"], "outputs": ["output"]}
    }
    np.testing.assert_array_equal(run(changed), run(small_tflite()))


def test_two_tensors_of_one_name_get_two_names() -> None:
    assert unique(["a", "a", "a_1", "a", "b"]) == ["a", "a_1", "a_1_1", "a_2", "b"]


@given(st.lists(st.sampled_from(["a", "a_1", "a_1_1", "a_2", ""])))
def test_names_are_each_there_once(names: list[str]) -> None:
    made = unique(names)
    assert len(set(made)) == len(made) == len(names)
    assert all(
        new == old or new.startswith(f"{old}_") for new, old in zip(made, names, strict=True)
    )


def test_a_file_with_a_signature_stays_as_it_is() -> None:
    assert add_signature(small_tflite()) is small_tflite()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "m.tflite: the file is empty"),
        (
            b"hello world, no model",
            "m.tflite: is no TFLite model (it starts with b'hello wo', without 'TFL3')",
        ),
        (
            b"\x00\x00",
            "m.tflite: is no TFLite model (it starts with b'\\x00\\x00', without 'TFL3')",
        ),
        (
            b"\xff\xff\x00\x00TFL3",
            "m.tflite: is cut off or damaged (an offset points out of the file)",
        ),
        (
            struct.pack("<I4sHHi", 16, b"TFL3", 4, 4, 0)[:12] + struct.pack("<HHi", 4, 4, 4),
            "m.tflite: is cut off or damaged (it has no graph in it)",
        ),
    ],
)
def test_what_is_no_model(data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(data, where="m.tflite")
    assert caught.value.message == message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.tflite: cannot be read: No such file or directory"):
        read_model(tmp_path / "no.tflite")


def test_a_file_cut_off_anywhere_is_a_usage_error() -> None:
    data = small_tflite()
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(UsageError, match=r"^m\.tflite: "):
            parse(data[:length], where="m.tflite")


def test_data_behind_the_tables_is_read_but_not_changed() -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(small_tflite())
    weights = bytes(model.buffers[4].data)
    model.buffers[4].data = None
    model.buffers[4].offset, model.buffers[4].size = 8, len(weights)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    size = len(builder.Output())
    model.buffers[4].offset = size
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    data = bytes(builder.Output()) + weights
    parsed = parse(data, where="m.tflite")
    assert bytes(parsed.buffer(4)) == weights
    assert sum(size for _, size in parsed.bytes_by) == len(data)
    with pytest.raises(UsageError) as caught:
        with_metadata(data, "edgekit", b"x", where="m.tflite")
    assert caught.value.message == (
        "m.tflite: is a TFLite model that keeps tensor data behind its tables (as those over "
        "2 GB do), which edgekit can read but not change"
    )


def _shared(kind: str, count: int) -> bytes:
    """A model of one graph whose lists name one table, `count` times."""
    import flatbuffers

    builder = flatbuffers.Builder(4096)

    def table(**slots: int) -> int:
        builder.StartObject(8)
        for slot, offset in slots.items():
            builder.PrependUOffsetTRelativeSlot(int(slot[1:]), offset, 0)
        return builder.EndObject()

    def tables(one: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(one)
        return builder.EndVector()

    def numbers(count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependInt32(0)
        return builder.EndVector()

    times = {kind: count}
    shape, operands = numbers(times.get("rank", 64)), numbers(times.get("operands", 4096))
    tensors = tables(table(s0=shape), times.get("tensors", 1))
    operators = tables(table(s1=operands), times.get("operators", 1))
    graphs = tables(table(s0=tensors, s3=operators), times.get("graphs", 1))
    buffers, codes = tables(table(), times.get("buffers", 1)), tables(table(), 1)
    builder.Finish(table(s1=codes, s2=graphs, s4=buffers), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("kind", ["tensors", "operators", "graphs", "buffers"])
def test_a_table_shared_without_end(kind: str) -> None:
    assert parse(_shared(kind, 2), where="m.tflite").subgraphs
    with pytest.raises(UsageError) as caught:
        parse(_shared(kind, 20_000), where="m.tflite")
    assert caught.value.message == (
        "m.tflite: is cut off or damaged (its parts refer to each other without end)"
    )


@pytest.mark.parametrize(("kind", "most"), [("rank", 64), ("operands", 4096)])
def test_a_list_is_measured_before_it_is_read(kind: str, most: int) -> None:
    assert parse(_shared(kind, most), where="m.tflite").subgraphs
    with pytest.raises(UsageError) as caught:
        parse(_shared(kind, most + 1), where="m.tflite")
    reason = f"a list has {most + 1} entries, where {most} are the most"
    assert caught.value.message == f"m.tflite: is cut off or damaged ({reason})"


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(small_tflite())
    for _ in range(draw(st.integers(1, 8))):
        position = draw(st.integers(0, len(data) - 1))
        data[position] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@given(data=_damaged())
@settings(max_examples=400, deadline=None)
def test_damaged_bytes_give_a_usage_error_or_a_model(data: bytes) -> None:
    try:
        model = parse(data, where="m.tflite")
        assert sum(size for _, size in model.bytes_by) == len(data)
        with_metadata(data, "edgekit", b"x")
        add_signature(data)
    except UsageError as error:
        assert "\n" not in error.message


@given(data=st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_random_bytes_under_the_identifier(data: bytes) -> None:
    try:
        parse(data[:4].ljust(4, b"\0") + b"TFL3" + data[4:], where="m.tflite")
    except UsageError as error:
        assert error.message.startswith("m.tflite: ")

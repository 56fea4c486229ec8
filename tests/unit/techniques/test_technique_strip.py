"""TFLite files that compute the same in fewer bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import (
    convert_bytearray_to_object,
    convert_object_to_bytearray,
)
from fake_work import FakeWork, artifact, run

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.tflite import parse, read_metadata, read_model, with_metadata
from edgekit.techniques.quantize import Parameters as Quantize
from edgekit.techniques.quantize import tflite as quantize
from edgekit.techniques.strip import Parameters, _layout, tflite

MakeWork = Callable[..., FakeWork]
Change = Callable[[Any], None]


def strip(work: FakeWork, **settings: Any) -> bytes:
    """Checks, strips, and proves, as the engine does."""
    parameters = Parameters(**settings)
    tflite.check(parameters, work.source, work)
    tflite.apply(parameters, work.source, work)
    tflite.verify(parameters, work.source, artifact(work.output), work)
    content: bytes = work.output.read_bytes()
    return content


def changed(path: Path, change: Change, folder: Path) -> Path:
    """A copy of a model with something else in it."""
    model = convert_bytearray_to_object(bytearray(path.read_bytes()))
    change(model)
    made = folder / "changed.tflite"
    made.write_bytes(bytes(convert_object_to_bytearray(model)))
    return made


def stuffed(model: Any) -> None:
    """Adds what no runtime needs: ranges, a tensor, buffers and an op code without a use."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.quantization = schema.QuantizationParametersT(
            min=np.zeros(1, np.float32), max=np.ones(1, np.float32)
        )
    model.buffers.append(schema.BufferT(data=np.arange(100, dtype=np.uint8)))
    graph.tensors.insert(0, schema.TensorT(name=b"unused", shape=np.ones(1, np.int32)))
    for indices in (graph.inputs, graph.outputs, *(op.inputs for op in graph.operators)):
        indices += indices >= 0
    for op in graph.operators:
        op.outputs += 1
    for signature in model.signatureDefs:
        for item in (*signature.inputs, *signature.outputs):
            item.tensorIndex += 1
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=0))


@pytest.fixture(scope="module")
def int8(tiny_float: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny net in int8, with one scale a channel."""
    work = FakeWork(tmp_path_factory.mktemp("int8"), artifact(tiny_float))
    quantize.apply(Quantize("int8", samples=4), work.source, work)
    output: Path = work.output
    return output


class TestStrip:
    @pytest.mark.parametrize("name", ["tiny_float", "tiny_dynamic", "tiny_leaky"])
    def test_smaller_and_the_same_bits(
        self, name: str, request: pytest.FixtureRequest, work_on: MakeWork
    ) -> None:
        path: Path = request.getfixturevalue(name)
        work = work_on(path)
        made = strip(work)
        assert len(made) < path.stat().st_size
        assert _layout.compressed(made) < _layout.compressed(path.read_bytes())
        probes = work.probes(3)
        assert run(path, probes)[0].tobytes() == run(work.output, probes)[0].tobytes()

    def test_figures_are_evidence(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        made = strip(work)
        (note,) = work.noted("smaller")
        assert note.reason.startswith(f"{tiny_float.stat().st_size} -> {len(made)} bytes, after xz")

    def test_what_nobody_needs_is_gone(
        self, tiny_float: Path, work_on: MakeWork, tmp_path: Path
    ) -> None:
        work = work_on(changed(tiny_float, stuffed, tmp_path))
        made, plain = strip(work), strip(work_on(tiny_float))
        assert made == plain
        assert "1 unused tensors" in work.noted("dropped")[-1].reason

    def test_names_of_ends_stay_and_metadata_is_named(
        self, tiny_float: Path, work_on: MakeWork, tmp_path: Path
    ) -> None:
        content = with_metadata(tiny_float.read_bytes(), "TFLITE_METADATA", b"labels")
        content = with_metadata(content, "edgekit", b'{"scale": [1.0], "offset": [0.0]}')
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        work = work_on(path)
        made = parse(strip(work), where="made")
        assert [name for name, _ in made.metadata] == ["edgekit"]
        assert read_metadata(made.data, "edgekit") == b'{"scale": [1.0], "offset": [0.0]}'
        assert "metadata 'TFLITE_METADATA'" in [note.item for note in work.noted("dropped")]
        main = made.subgraphs[0]
        named = {tensor.index for tensor in main.tensors if tensor.name}
        assert named == {*main.inputs, *main.outputs}

    def test_a_stripped_file_is_left_as_it_is(self, tiny_float: Path, tmp_path: Path) -> None:
        first = FakeWork(tmp_path, artifact(tiny_float))
        made = strip(first)
        (tmp_path / "again").mkdir()
        assert strip(FakeWork(tmp_path / "again", artifact(first.output))) == made

    def test_a_file_that_no_layout_makes_smaller_is_kept(
        self, tiny_float: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tflite, "layouts", lambda model: iter([b"x" * 10**6]))
        work = work_on(tiny_float)
        assert strip(work) == tiny_float.read_bytes()
        assert work.noted("nothing to strip")

    def test_big_files_try_one_layout(
        self, tiny_float: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = convert_bytearray_to_object(bytearray(tiny_float.read_bytes()))
        assert len(list(_layout.layouts(model))) == 4
        monkeypatch.setattr(_layout, "_SLOW_BYTES", 1)
        assert len(list(_layout.layouts(model))) == 1

    def test_constants_are_aligned_to_their_elements(self, int8: Path, work_on: MakeWork) -> None:
        made = parse(strip(work_on(int8)), where="made")
        for tensor in made.subgraphs[0].tensors:
            if tensor.is_constant:
                assert made.buffers[tensor.buffer][0] % 4 == 0

    def test_zero_points_are_stored_once(self, int8: Path, work_on: MakeWork) -> None:
        made = parse(strip(work_on(int8)), where="made")
        before = dict(read_model(int8).bytes_by)["quantization"]
        assert dict(made.bytes_by)["quantization"] < before


class TestSharedScales:
    def test_biases_point_at_their_weights_scales(self, int8: Path, work_on: MakeWork) -> None:
        work = work_on(int8)
        kept, shared = strip(work_on(int8)), strip(work, bias_scales="share")
        assert len(shared) < len(kept)
        assert work.noted("shared scales")

    def test_other_changes_of_scales_are_found(
        self, int8: Path, work_on: MakeWork, tmp_path: Path
    ) -> None:
        def change(model: Any) -> None:
            graph = model.subgraphs[0]
            weights = graph.tensors[graph.operators[0].inputs[1]]
            weights.quantization.scale = weights.quantization.scale * np.float32(2)

        self.refuse(int8, changed(int8, change, tmp_path), work_on, "does not read what it did")

    @staticmethod
    def refuse(source: Path, result: Path, work_on: MakeWork, text: str) -> None:
        work = work_on(source)
        with pytest.raises(PromiseError, match=text):
            tflite.verify(Parameters(bias_scales="share"), work.source, artifact(result), work)


class TestPromises:
    def refuse(self, source: Path, result: Path, work_on: MakeWork) -> str:
        work = work_on(source)
        with pytest.raises(PromiseError) as caught:
            tflite.verify(Parameters(), work.source, artifact(result), work)
        return caught.value.message

    def test_changed_weights(self, tiny_float: Path, work_on: MakeWork, tmp_path: Path) -> None:
        def change(model: Any) -> None:
            op = model.subgraphs[0].operators[0]
            data = model.buffers[model.subgraphs[0].tensors[op.inputs[1]].buffer].data
            data[0] ^= 1

        text = self.refuse(tiny_float, changed(tiny_float, change, tmp_path), work_on)
        assert text.startswith("strip: op 0 (")
        assert text.endswith("does not read what it did")

    def test_a_missing_op(self, tiny_float: Path, work_on: MakeWork, tmp_path: Path) -> None:
        def change(model: Any) -> None:
            model.subgraphs[0].operators.pop()

        text = self.refuse(tiny_float, changed(tiny_float, change, tmp_path), work_on)
        assert "ops and had" in text

    def test_a_renamed_input(self, tiny_float: Path, work_on: MakeWork, tmp_path: Path) -> None:
        def change(model: Any) -> None:
            model.signatureDefs[0].inputs[0].name = b"other"

        text = self.refuse(tiny_float, changed(tiny_float, change, tmp_path), work_on)
        assert text == "strip: the inputs or outputs of the model are not what they were"

    def test_a_file_that_grew(self, tiny_float: Path, work_on: MakeWork, tmp_path: Path) -> None:
        path = tmp_path / "grown.tflite"
        path.write_bytes(with_metadata(tiny_float.read_bytes(), "more", b"x" * 100))
        text = self.refuse(tiny_float, path, work_on)
        assert text.startswith("strip: the file grew: ")

    def test_a_file_that_does_not_open(
        self, tiny_float: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter(["", "no kernel"])
        monkeypatch.setattr(tflite, "_failure", lambda content, name: next(answers))
        text = self.refuse(tiny_float, tiny_float, work_on)
        assert text == "strip: the runtime (AUTO) does not open it now: no kernel"

    def test_another_bit_in_an_output(
        self, tiny_float: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outputs = iter([(np.zeros(1),), (-np.zeros(1),)])
        monkeypatch.setattr(FakeWork, "predict", lambda *_: next(outputs))
        text = self.refuse(tiny_float, tiny_float, work_on)
        assert text == "strip: output 0 is not bit for bit what it was"

    def test_the_runtime_says_why_it_does_not_open(self) -> None:
        assert tflite._failure(b"nothing that is a model", "BUILTIN_REF")


class TestCheck:
    def test_a_damaged_file(self, tiny_float: Path, work_on: MakeWork, tmp_path: Path) -> None:
        path = tmp_path / "cut.tflite"
        path.write_bytes(tiny_float.read_bytes()[:200])
        work = work_on(path)
        with pytest.raises(UsageError, match="cut off or damaged"):
            tflite.check(Parameters(), work.source, work)

    def test_data_outside_the_tables(
        self, tiny_float: Path, work_on: MakeWork, tmp_path: Path
    ) -> None:
        def change(model: Any) -> None:
            model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 16, 4

        work = work_on(changed(tiny_float, change, tmp_path))
        with pytest.raises(UsageError) as caught:
            tflite.check(Parameters(), work.source, work)
        assert "cannot be stripped: it keeps tensor data outside its tables" in caught.value.message

    def test_a_model_that_becomes_tflite_later_is_not_opened(
        self, tmp_path: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tmp_path / "none.keras")
        tflite.check(Parameters(), artifact(tmp_path / "none.keras", "keras"), work)


def test_needs_no_data_and_names_its_versions() -> None:
    assert Parameters().needs == {}
    assert set(tflite.versions()) == {"flatbuffers", "ai-edge-litert"}

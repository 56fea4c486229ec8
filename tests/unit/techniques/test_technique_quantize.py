"""What `quantize` does to small float models, and that its checks can fail."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_work import FakeWork, artifact, run

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.notes import Note
from edgekit.core.schema import build
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.tflite import read_model
from edgekit.techniques.quantize import Parameters, Scheme, tflite

MakeWork = Callable[..., FakeWork]
SCHEMES: tuple[Scheme, ...] = ("int8", "int16x8", "dynamic-int8", "weight-only-int8", "float16")


def quantize(work: FakeWork, **settings: Any) -> Path:
    """Checks, quantizes, and proves, as the engine does."""
    parameters = Parameters(**settings)
    tflite.check(parameters, work.source, work)
    tflite.apply(parameters, work.source, work)
    tflite.verify(parameters, work.source, artifact(work.output), work)
    return work.output


def refuse(work: FakeWork, result: Path, **settings: Any) -> PromiseError:
    """The error of the check after the work, on a result that is not what was declared."""
    with pytest.raises(PromiseError) as caught:
        tflite.verify(Parameters(**settings), work.source, artifact(result), work)
    return caught.value


class TestParameters:
    @pytest.mark.parametrize(
        ("table", "text"),
        [
            ({"samples": 0}, "samples must be from 1 to 100000, not 0"),
            ({"samples": 100_001}, "samples must be from 1 to 100000, not 100001"),
            ({"skip": [""]}, "skip has an empty pattern"),
            (
                {"scheme": "float16", "io": "float"},
                "io 'float' is for int16x8 and int8: the inputs and outputs of float16 are "
                "float anyway",
            ),
            (
                {"scheme": "dynamic-int8", "allow-float": True},
                "allow_float is for int16x8 and int8: dynamic-int8 computes in float anyway",
            ),
            (
                {"scheme": "float16", "per_channel": False},
                "per_channel = false is for int8 weights: float16 has no scales",
            ),
        ],
    )
    def test_out_of_range_is_a_usage_error(self, table: dict[str, Any], text: str) -> None:
        with pytest.raises(UsageError) as caught:
            build(Parameters, {"scheme": "int8", **table}, where="r.toml: technique 1")
        assert caught.value.message == f"r.toml: technique 1: {text}"

    def test_unknown_scheme_names_the_nearest(self) -> None:
        with pytest.raises(UsageError) as caught:
            build(Parameters, {"scheme": "int-8"}, where="r.toml: technique 1")
        assert caught.value.message == "r.toml: technique 1: scheme: unknown value 'int-8'"
        assert "'int8'" in caught.value.hint

    def test_only_static_schemes_need_data(self) -> None:
        needs = {scheme: set(Parameters(scheme).needs) for scheme in SCHEMES}
        static = {"int8": {"calibrate"}, "int16x8": {"calibrate"}}
        assert needs == {scheme: static.get(scheme, set()) for scheme in SCHEMES}


class TestCheck:
    def test_skip_without_a_match_names_the_nearest_op(
        self, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        names = [op.name for op in work.describe(work.source).ops]
        wrong = names[0][:-1] + "X"
        with pytest.raises(UsageError) as caught:
            tflite.check(Parameters("int8", skip=(wrong,)), work.source, work)
        assert caught.value.message == f"quantize: skip '{wrong}' matches no op of the model"
        assert repr(names[0]) in caught.value.hint

    def test_skip_like_nothing_says_where_the_names_are(
        self, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        with pytest.raises(UsageError) as caught:
            tflite.check(Parameters("int8", skip=("@@@*",)), work.source, work)
        assert caught.value.hint == "`edgekit inspect MODEL --json` lists the names of its ops"

    @pytest.mark.parametrize("scheme", ["int8", "dynamic-int8"])
    def test_quantized_model_is_refused(
        self, scheme: Scheme, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        made = artifact(quantize(work, scheme=scheme))
        with pytest.raises(UsageError) as caught:
            tflite.check(Parameters("int8"), made, work)
        assert caught.value.message.startswith("quantize: the model is quantized already (weight ")

    def test_half_weights_are_refused_for_float16_only(
        self, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        halves = artifact(quantize(work, scheme="float16"))
        tflite.check(Parameters("int8"), halves, work)
        with pytest.raises(UsageError) as caught:
            tflite.check(Parameters("float16"), halves, work)
        assert caught.value.message == "quantize: the weights of the model are float16 already"


class TestApply:
    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_outputs_stay_near_the_float_model(
        self, scheme: Scheme, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        inputs = work.probes(32)
        difference = np.abs(
            run(quantize(work, scheme=scheme), inputs)[0] - run(tiny_float, inputs)[0]
        )
        assert difference.max() < (0.02 if scheme == "int8" else 0.01)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_same_input_gives_the_same_bytes(
        self, scheme: Scheme, tiny_float: Path, work_on: MakeWork
    ) -> None:
        first = quantize(work_on(tiny_float), scheme=scheme).read_bytes()
        assert quantize(work_on(tiny_float), scheme=scheme).read_bytes() == first

    @pytest.mark.parametrize(("scheme", "dtype"), [("int8", "int8"), ("int16x8", "int16")])
    def test_integer_io(
        self, scheme: Scheme, dtype: str, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        made = work.describe(artifact(quantize(work, scheme=scheme)))
        assert [spec.dtype for spec in (*made.signature.inputs, *made.signature.outputs)] == [
            dtype,
            dtype,
        ]
        assert {d for op in made.ops for d in op.dtypes} == {dtype}

    def test_float_io_puts_one_op_at_each_edge(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        made = work.describe(artifact(quantize(work, scheme="int8", io="float")))
        assert [spec.dtype for spec in (*made.signature.inputs, *made.signature.outputs)] == [
            "float32",
            "float32",
        ]
        kinds = [op.kind for op in made.ops]
        assert (kinds[0], kinds[-1]) == ("QUANTIZE", "DEQUANTIZE")
        assert made.op_counts["QUANTIZE"] == made.op_counts["DEQUANTIZE"] == 1

    def test_per_tensor_has_one_scale_a_weight(self, tiny_float: Path, work_on: MakeWork) -> None:
        def scales(per_channel: bool) -> int:
            path = quantize(work_on(tiny_float), scheme="int8", per_channel=per_channel)
            tensors = read_model(path).subgraphs[0].tensors
            return max(len(t.quantization.scales) for t in tensors if t.quantization)

        assert (scales(True), scales(False)) == (10, 1)

    def test_skipped_op_stays_float_and_is_noted(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        op = next(o for o in work.describe(work.source).ops if o.kind == "DEPTHWISE_CONV_2D")
        made = work.describe(artifact(quantize(work, scheme="int8", skip=(op.name,))))
        in_float = {o.kind for o in made.ops if "float32" in o.dtypes}
        assert in_float == {"DEPTHWISE_CONV_2D", "QUANTIZE", "DEQUANTIZE"}
        assert work.noted("skipped") == [
            Note("skipped", f"DEPTHWISE_CONV_2D '{op.name}'", "stays float, as skip says")
        ]

    def test_skip_leaves_weights_float_without_calibration_too(
        self, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        op = next(o for o in work.describe(work.source).ops if o.kind == "FULLY_CONNECTED")
        # The dense layer has most of the weights, so this file is hardly smaller: still smaller.
        made = work.describe(artifact(quantize(work, scheme="dynamic-int8", skip=(op.name,))))
        wide = [w for w in made.weights if w.dtype == "float32" and len(w.shape) == 2]
        assert [weight.shape for weight in wide] == [(10, 128)]

    def test_open_batch_needs_no_float_op(self, tiny_dynamic: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_dynamic)
        made = work.describe(artifact(quantize(work, scheme="int8")))
        assert made.op_counts["SHAPE"] == 1
        assert "DEQUANTIZE" not in made.op_counts

    def test_fewer_samples_than_asked_are_noted(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float, available=5)
        quantize(work, scheme="int8", samples=9)
        assert work.noted("fewer samples") == [
            Note("fewer samples", "calibration", "5 were used, and 9 are asked for")
        ]
        assert work.steps == 5

    def test_no_sample_at_all_is_a_usage_error(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float, available=0)
        with pytest.raises(UsageError) as caught:
            tflite.apply(Parameters("int8"), work.source, work)
        assert caught.value.message == "quantize: the data has no sample to calibrate on"

    def test_dead_layers_are_widened_so_that_kernels_load(
        self, tiny_float: Path, work_on: MakeWork
    ) -> None:
        """Inputs of 1e-12 leave RELU6 a range that built-in kernels refuse."""
        work = work_on(tiny_float, scale=1e-12)
        quantize(work, scheme="int8")
        (note,) = work.noted("widened")
        assert re.match(r"\d tensors: ", note.item)

    def test_min_max_holds_more_than_the_average(self, tiny_float: Path, work_on: MakeWork) -> None:
        def width(ranges: str) -> float:
            path = quantize(work_on(tiny_float), scheme="int8", ranges=ranges)
            (spec,) = work_on(tiny_float).describe(artifact(path)).signature.inputs
            assert spec.quantization is not None
            return spec.quantization.scale

        assert width("min-max") > 1.1 * width("average")

    def test_nothing_reaches_the_terminal_or_the_logs(
        self, tiny_float: Path, work_on: MakeWork, capfd: pytest.CaptureFixture[str]
    ) -> None:
        import logging

        handlers = logging.root.handlers[:]
        quantize(work_on(tiny_float), scheme="int8")
        captured = capfd.readouterr()
        lines = [line for line in captured.err.splitlines() if not line.startswith("INFO: Created")]
        assert (captured.out, lines) == ("", [])
        assert logging.root.handlers == handlers


class TestEngine:
    @pytest.mark.parametrize("kind", [AttributeError, AssertionError, struct.error])
    def test_whatever_it_raises_is_its_answer(
        self,
        kind: type[Exception],
        tiny_float: Path,
        work_on: MakeWork,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def broken(content: bytes) -> None:
            raise kind("out of\n luck")

        monkeypatch.setattr("litert_quantizer.utils.tfl_flatbuffer_utils.read_model", broken)
        work = work_on(tiny_float)
        with pytest.raises(PromiseError) as caught:
            tflite.apply(Parameters("dynamic-int8"), work.source, work)
        assert caught.value.message == (
            "quantize: dynamic-int8 does not work on this model: "
            f"{kind.__name__}: out of luck; TFLiteConverter cannot help: there is no Keras model "
            "to convert again"
        )


class TestFallback:
    def test_without_keras_it_is_an_error_with_the_engines_reason(
        self, tiny_leaky: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_leaky)
        with pytest.raises(PromiseError) as caught:
            tflite.apply(Parameters("int8"), work.source, work)
        ops = [op for op in work.describe(work.source).ops if op.kind == "LEAKY_RELU"]
        shown = ", ".join(f"LEAKY_RELU '{op.name}'" for op in ops)
        assert caught.value.message == (
            f"quantize: int8 does not work on this model: {len(ops)} ops stay float: {shown}; "
            "TFLiteConverter cannot help: there is no Keras model to convert again"
        )
        assert not work.output.exists()

    def test_skip_is_nothing_the_converter_can_do(
        self, tiny_leaky: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_leaky, keras=artifact(Path("model.keras"), "keras"))
        with pytest.raises(PromiseError) as caught:
            tflite.apply(Parameters("int8", skip=("*pool*",)), work.source, work)
        assert caught.value.message.endswith("TFLiteConverter cannot help: it cannot skip ops")

    def test_allow_float_takes_the_engines_result_and_notes_each_op(
        self, tiny_leaky: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_leaky)
        quantize(work, scheme="int8", allow_float=True)
        assert {note.item.split()[0] for note in work.noted("left in float")} == {"LEAKY_RELU"}

    @pytest.mark.tensorflow
    def test_converter_quantizes_from_keras_and_it_is_noted(
        self, tmp_path: Path, work_on: MakeWork, tiny_leaky: Path
    ) -> None:
        from edgekit.frameworks.keras import import_keras, save_keras

        keras = import_keras()
        image = keras.Input((8, 8, 1), name="image")
        x = keras.layers.Conv2D(8, 3, padding="same", activation="leaky_relu")(image)
        x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Dense(10, activation="softmax", name="probs")(keras.layers.Flatten()(x))
        path = tmp_path / "leaky.keras"
        save_keras(keras.Model(image, x), path)
        work = work_on(tiny_leaky, keras=artifact(path, "keras"))
        parameters = Parameters("int8", samples=8)
        tflite.apply(parameters, work.source, work)
        (note,) = work.noted("fallback")
        assert note.item == "quantized by TFLiteConverter from the Keras model"
        assert "LEAKY_RELU" in note.reason
        made = work.describe(artifact(work.output))
        assert {d for op in made.ops for d in op.dtypes} == {"int8"}


class TestVerify:
    """Each check fails on a result that breaks its promise."""

    def test_float_file_is_no_int8_result(self, tiny_float: Path, work_on: MakeWork) -> None:
        error = refuse(work_on(tiny_float), tiny_float, scheme="int8")
        assert error.message.startswith("quantize: int8: 6 ops stay float: CONV_2D '")
        assert error.message.endswith(" and 1 more")

    def test_float_edges_are_no_integer_io(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        made = quantize(work, scheme="int8", io="float")
        error = refuse(work, made, scheme="int8")
        assert re.fullmatch(
            r"quantize: int8: 2 ops stay float: QUANTIZE '.*', DEQUANTIZE '.*'", error.message
        )

    def test_integer_io_is_no_float_io(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        error = refuse(work, quantize(work, scheme="int8"), scheme="int8", io="float")
        assert error.message == "quantize: int8: input 'image' is int8, not float32"

    def test_int8_is_no_int16x8(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        error = refuse(work, quantize(work, scheme="int8"), scheme="int16x8")
        assert error.message == "quantize: int16x8: input 'image' is int8, not int16"

    @pytest.mark.parametrize(
        ("scheme", "kind"),
        [("dynamic-int8", "int8"), ("weight-only-int8", "int8"), ("float16", "float16")],
    )
    def test_float_weights_are_no_narrow_ones(
        self, scheme: Scheme, kind: str, tiny_float: Path, work_on: MakeWork
    ) -> None:
        error = refuse(work_on(tiny_float), tiny_float, scheme=scheme)
        assert error.message == f"quantize: {scheme}: no weight of the model became {kind}"

    def test_file_that_did_not_shrink_shows_where_its_bytes_are(
        self, tiny_float: Path, work_on: MakeWork
    ) -> None:
        work = work_on(tiny_float)
        small = quantize(work, scheme="int8").rename(work.folder / "small.tflite")
        other = work_on(small)
        error = refuse(other, small, scheme="float16")
        size = small.stat().st_size
        assert error.message.startswith(
            f"quantize: float16: the file did not get smaller: {size} -> {size} bytes (weights "
        )
        assert error.hint == "the model has too few weights for this scheme to pay off"

    def test_inputs_and_outputs_are_paired_by_name(
        self, tiny_float: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """TFLiteConverter may order them otherwise than the file that it stands in for."""
        work = work_on(tiny_float)
        made = quantize(work, scheme="float16")
        given: dict[str, float] = {}

        def described(self: FakeWork, model: Any) -> Any:
            found = describe(self, model)
            order = ["b", "a"] if model.path == made else ["a", "b"]
            specs = tuple(TensorSpec(name, (1, 2), "float32") for name in order)
            return replace(found, signature=Signature(specs, specs))

        def same(self: FakeWork, model: Any, inputs: Any) -> Any:
            if model.path == made:
                given.update(zip("ba", (float(array[0, 0]) for array in inputs), strict=True))
                return np.full((8, 2), np.inf), np.zeros((8, 2))
            return np.zeros((8, 2)), np.full((8, 2), np.inf)

        describe = FakeWork.describe
        monkeypatch.setattr(FakeWork, "describe", described)
        monkeypatch.setattr(FakeWork, "predict", same)
        probes = (np.zeros((8, 2)), np.ones((8, 2)))
        monkeypatch.setattr(FakeWork, "probes", lambda self, count: probes)
        error = refuse(work, made, scheme="float16")
        assert error.message == (
            "quantize: float16: output 'b' has 16 of 16 values NaN or infinite on 8 probes "
            "(the float model: 16)"
        )
        assert given == {"a": 0.0, "b": 1.0}

    def test_outputs_that_are_not_finite(
        self, tiny_float: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = work_on(tiny_float)
        made = quantize(work, scheme="float16")

        def broken(self: FakeWork, model: Any, inputs: Any) -> Any:
            return (np.full((8, 10), np.nan if model.path == made else 1.0),)

        monkeypatch.setattr(FakeWork, "predict", broken)
        error = refuse(work, made, scheme="float16")
        assert error.message == (
            "quantize: float16: output 'probs' has 80 of 80 values NaN or infinite on 8 probes "
            "(the float model: 0)"
        )

    def test_constants_left_in_float_are_noted(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        quantize(work, scheme="dynamic-int8")
        (note,) = work.noted("left in float32")
        assert re.fullmatch(r"1 bias or other vector|\d biases and other vectors", note.item)

    def test_what_holds_is_evidence(self, tiny_float: Path, work_on: MakeWork) -> None:
        work = work_on(tiny_float)
        quantize(work, scheme="int8")
        assert [(note.what, note.is_evidence) for note in work.notes] == [
            ("all integer", True),
            ("output range", True),
        ]

    def test_cut_off_outputs_are_noted(
        self, tiny_float: Path, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A float model whose outputs lie outside what int8 holds: the best class hides that."""
        work = work_on(tiny_float)
        made = quantize(work, scheme="int8")

        def doubled(self: FakeWork, model: Any, inputs: Any) -> Any:
            high = 1.0 if model.path == made else 2.0
            return (np.tile([0.0, high], (8, 5)),)

        monkeypatch.setattr(FakeWork, "predict", doubled)
        work.notes.clear()
        tflite.verify(Parameters("int8"), work.source, artifact(made), work)
        (note,) = work.noted("output cut off")
        assert note.reason == (
            "holds 0 to 0.9961; on 8 probes the float model gives 0 to 2: 50.0 % of its values are "
            "cut off, and the largest difference is 1"
        )


def test_versions_are_those_of_the_engine() -> None:
    assert set(tflite.versions()) == {"litert-quantizer", "ai-edge-litert"}

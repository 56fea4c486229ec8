"""Magnitude pruning of ONNX models without training, and every check that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_work import FakeWork, artifact
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.sparsity import groups_of_four
from edgekit.techniques.prune import Parameters, keras
from edgekit.techniques.prune import onnx as prune
from edgekit.techniques.prune._onnx_prune import pruned
from edgekit.techniques.prune._onnx_weights import Weight, from_kernel, make_plan, to_kernel

FLOAT = TensorProto.FLOAT


class OnnxWork(FakeWork):
    """Runs the result with ONNX Runtime."""

    def predict(self, artifact: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(artifact.path))
        found = session.run(None, {"x": inputs[0]})
        return tuple(found)


MakeWork = Callable[..., OnnxWork]


def weight(name: str, *shape: int, dtype: Any = np.float32) -> Any:
    values = np.random.default_rng(sum(map(ord, name))).normal(size=shape)
    return numpy_helper.from_array(values.astype(dtype), name)


def net(**more: Any) -> Any:
    """Convolutions, one of them depthwise, a Gemm, two MatMul with one weight, a table."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], name="conv"),
        helper.make_node("Conv", ["a", "d"], ["b"], name="deep", group=8),
        helper.make_node("ConvTranspose", ["b", "t"], ["c"], name="up"),
        helper.make_node("GlobalAveragePool", ["c"], ["e"], name="pool"),
        helper.make_node("Flatten", ["e"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "g", "bias"], ["h"], name="gemm", transB=1),
        helper.make_node("MatMul", ["h", "m"], ["i"], name="first"),
        helper.make_node("MatMul", ["i", "m"], ["j"], name="second"),
        helper.make_node("Gather", ["table", "row"], ["l"], name="look"),
        helper.make_node("Add", ["j", "l"], ["y"], name="sum"),
    ]
    weights = [
        *(weight("k", 8, 4, 3, 3), weight("d", 8, 1, 3, 3), weight("t", 8, 10, 2, 2)),
        *(weight("g", 16, 10), weight("bias", 16), weight("m", 16, 16), weight("table", 20, 16)),
        numpy_helper.from_array(np.array([3]), "row"),
    ]
    return model_of(nodes, weights, **more)


def model_of(nodes: list[Any], weights: list[Any], shape: tuple[Any, ...] = ("n", 4, 8, 8)) -> Any:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def work_on(tmp_path: Path) -> MakeWork:
    def start(model: Any, **settings: Any) -> OnnxWork:
        source, folder = tmp_path / "in", tmp_path / "out"
        source.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        onnx.save(model, str(source / "source.onnx"), **settings)
        return OnnxWork(folder, artifact(source / "source.onnx", "onnx"), suffix=".onnx")

    return start


def done(work: OnnxWork, **settings: Any) -> dict[str, Any]:
    """Checks, prunes and proves, as the engine does; returns the weights."""
    parameters = Parameters(**settings)
    prune.check(parameters, work.source, work)
    prune.apply(parameters, work.source, work)
    prune.verify(parameters, work.source, artifact(work.output, "onnx"), work)
    return arrays(work.output)


def arrays(path: Path) -> dict[str, Any]:
    tensors = onnx.load(path).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def zeros(values: Any) -> float:
    return float((values == 0).mean())


class TestPrune:
    def test_the_smallest_weights_become_zero(self, work_on: MakeWork) -> None:
        work = work_on(net())
        before, after = arrays(work.source.path), done(work, sparsity=0.75)
        for name in "ktgm":
            assert zeros(after[name]) == pytest.approx(0.75, abs=0.005)
            kept = after[name] != 0
            assert (after[name][kept] == before[name][kept]).all()
            assert abs(before[name][kept]).min() >= abs(before[name][~kept]).max()
        for name in ("d", "bias", "table", "row"):
            assert after[name].tobytes() == before[name].tobytes()
        skipped = {note.item: note.reason for note in work.noted("skipped")}
        assert "depthwise" in skipped["Conv 'deep'"]
        assert skipped["'table'"] == "weights of Gather are none that pruning treats"
        assert "MatMul 'first' and 1 more" in [n.item for n in work.noted("proven sparsity")]

    def test_same_bytes_twice(self, work_on: MakeWork) -> None:
        work = work_on(net())
        done(work)
        first = work.output.read_bytes()
        done(work)
        assert work.output.read_bytes() == first

    def test_names_choose(self, work_on: MakeWork) -> None:
        work = work_on(net())
        settings = {"layer_sparsity": {"co*": 0.25, "up": 0.0}, "skip": ("second",)}
        after = done(work, sparsity=0.5, **settings)
        assert [zeros(after[name]) for name in "ktgm"] == [0.25, 0, 0.5, 0]
        skipped = {note.item: note.reason for note in work.noted("skipped")}
        assert skipped["MatMul 'first' and 1 more"] == "left dense, as skip says"
        assert skipped["ConvTranspose 'up'"] == "left dense, as layer_sparsity says"

    def test_two_of_four(self, work_on: MakeWork) -> None:
        work = work_on(net())
        after = done(work, structure="2:4")
        assert (groups_of_four(after["m"]) == 2).all()
        assert (groups_of_four(after["g"].T) <= 2).all()
        assert (groups_of_four(np.moveaxis(after["k"], (1, 0), (-2, -1))) == 2).all()
        assert zeros(after["t"]) == 0

    def test_blocks(self, work_on: MakeWork) -> None:
        work = work_on(net())
        after = done(work, structure="block", block=(2, 4), sparsity=0.5)
        blocks = after["g"].T.reshape(5, 2, 4, 4) == 0
        assert {int(n) for n in blocks.sum(axis=(1, 3)).reshape(-1)} == {0, 8}
        assert zeros(after["m"]) == 0.5
        reasons = [note.reason for note in work.noted("skipped")]
        assert "blocks are of weights with two axes, and these have 4" in reasons

    def test_a_weight_at_the_left(self, work_on: MakeWork) -> None:
        nodes = [helper.make_node("MatMul", ["w", "x"], ["y"], name="left")]
        work = work_on(model_of(nodes, [weight("w", 6, 32)], shape=("n", 32, 2)))
        after = done(work, structure="2:4")
        assert (groups_of_four(after["w"].T) == 2).all()

    def test_zeros_that_are_there_stay(self, work_on: MakeWork) -> None:
        work = work_on(net())
        done(work, sparsity=0.9)
        path = work.folder / "sparse.onnx"
        work.output.rename(path)
        again = OnnxWork(work.folder, artifact(path, "onnx"), suffix=".onnx")
        assert zeros(done(again, sparsity=0.5)["m"]) == pytest.approx(0.9, abs=0.005)

    def test_external_data(self, work_on: MakeWork) -> None:
        work = work_on(net(), save_as_external_data=True, location="w.bin", size_threshold=0)
        assert zeros(done(work)["m"]) == 0.5
        assert (work.folder / "result.onnx.data").exists()

    def test_reasons_to_leave_weights(self) -> None:
        nodes = [
            helper.make_node("MatMul", ["x", "small"], ["a"], name="small"),
            helper.make_node("MatMul", ["x", "int"], ["b"], name="int"),
            helper.make_node("MatMul", ["x", "both"], ["c"], name="both"),
            helper.make_node("Add", ["x", "both"], ["y"], name="add"),
            helper.make_node("MatMul", ["x", "treated"], ["d"], name="treated"),
        ]
        weights = [
            *(weight("small", 4, 4), weight("int", 16, 16, dtype=np.int32)),
            *(weight("both", 16, 16), weight("treated", 16, 16)),
        ]
        plan = make_plan(Parameters(), model_of(nodes, weights))
        assert [w.name for w, _ in plan.weights] == ["treated"]
        assert [reason for _, reason in plan.skipped] == [
            "its 16 weights are fewer than min_weights = 64",
            "its weights are no float32, float16 or float64 numbers",
            "'add' uses its weights too, in another role",
        ]

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"structure": "block", "block": (1, 32)}, "its shape 16 x 16 does not hold two"),
            ({"structure": "2:4"}, "with 2 input channels no group has more than two weights"),
        ],
    )
    def test_structures_that_do_not_fit(self, settings: Any, reason: str) -> None:
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["a"], name="w"),
            helper.make_node("MatMul", ["x", "v"], ["b"], name="v"),
        ]
        model = model_of(nodes, [weight("w", 16, 16), weight("v", 2, 64)])
        plan = make_plan(Parameters(**settings), model)
        assert any(text.startswith(reason) for _, text in plan.skipped)


@given(
    st.sampled_from(["Conv", "ConvTranspose", "Gemm", "MatMul"]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
)
def test_a_kernel_and_back(kind: str, first: int, second: int, turned: bool) -> None:
    shape = (first, second, 3, 2) if kind.startswith("Conv") else (first, second)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1
    own = Weight("w", kind, ("n",), shape, turned=turned and kind in ("Gemm", "MatMul"))
    assert (from_kernel(own, to_kernel(own, values)) == values).all()
    made = pruned(Parameters(structure="2:4"), own, values, 0.5)
    assert made.shape == shape
    assert (groups_of_four(to_kernel(own, made)) <= 2).all()
    assert ((made == 0) | (made == values)).all()


class TestLadder:
    def test_rungs(self) -> None:
        found = prune.rungs(Parameters(sparsity=0.8, ladder=True, layer_sparsity={"a": 0.4}))
        assert [rung.label for rung in found] == [
            "sparsity 0.8",
            "sparsity 0.6",
            "sparsity 0.4",
            "sparsity 0.2",
        ]
        assert found[1].parameters.sparsity == pytest.approx(0.6)
        assert found[1].parameters.layer_sparsity["a"] == pytest.approx(0.3)
        assert not any(rung.parameters.ladder or rung.spare for rung in found)

    def test_needs(self) -> None:
        assert Parameters().needs_on("onnx") == {}
        assert Parameters(ladder=True).needs_on("onnx") == {"select": 1}
        assert Parameters().needs_on("keras") == {"train": 64, "select": 1}

    def test_is_not_for_keras(self, tmp_path: Path) -> None:
        source = artifact(tmp_path / "none.keras", "keras")
        with pytest.raises(UsageError, match="ladder: is for onnx models"):
            keras.check(Parameters(ladder=True), source, FakeWork(tmp_path, source))


class TestPromises:
    def refuse(self, work: OnnxWork, change: Callable[[Any], None], **settings: Any) -> str:
        parameters = Parameters(**settings)
        prune.apply(parameters, work.source, work)
        model = onnx.load(work.output)
        change(model)
        onnx.save(model, work.output)
        with pytest.raises(PromiseError) as caught:
            prune.verify(parameters, work.source, artifact(work.output, "onnx"), work)
        return caught.value.message

    @staticmethod
    def changing(name: str, value: Any) -> Callable[[Any], None]:
        def change(model: Any) -> None:
            for tensor in model.graph.initializer:
                if tensor.name == name:
                    values = value(numpy_helper.to_array(tensor).copy())
                    tensor.CopyFrom(numpy_helper.from_array(values, name))

        return change

    def test_too_few_zeros(self, work_on: MakeWork) -> None:
        source = work_on(net())
        old = arrays(source.source.path)["g"]
        text = self.refuse(source, self.changing("g", lambda values: old))
        assert text == (
            "prune: Gemm 'gemm' has 0.0 % zeros, and 50.0 % of its 160 weights were asked for"
        )

    def test_too_few_zero_blocks(self, work_on: MakeWork) -> None:
        work = work_on(net())
        old = arrays(work.source.path)["m"]
        change = self.changing("m", lambda values: old)
        text = self.refuse(work, change, structure="block")
        assert text.endswith("50.0 % of its 64 blocks of 1 x 4 were asked for")

    def test_a_full_group(self, work_on: MakeWork) -> None:
        work = work_on(net())
        old = arrays(work.source.path)["m"]
        text = self.refuse(work, self.changing("m", lambda values: old), structure="2:4")
        assert text.startswith("prune: 64 of 64 groups of four input channels of MatMul 'first'")

    def test_another_value(self, work_on: MakeWork) -> None:
        text = self.refuse(work_on(net()), self.changing("m", lambda values: values * 2))
        assert text.endswith("has weights that are neither 0 nor unchanged")

    def test_an_untouched_tensor(self, work_on: MakeWork) -> None:
        text = self.refuse(work_on(net()), self.changing("bias", lambda values: values + 1))
        assert text == "prune: 'bias' was to be left alone, and has other values now"

    def test_other_weights(self, work_on: MakeWork) -> None:
        def change(model: Any) -> None:
            model.graph.initializer.append(weight("more", 2))

        text = self.refuse(work_on(net()), change)
        assert text == "prune: the result has other weights than the source"

    def test_outputs_that_are_not_finite(
        self, work_on: MakeWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = (np.array([1, np.nan, np.inf]),)
        monkeypatch.setattr(OnnxWork, "predict", lambda *_: found)
        text = self.refuse(work_on(net()), lambda model: None)
        assert text == "prune: output 0 of the result has 2 values that are not finite"


class TestCheck:
    def refuse(self, work: OnnxWork, **settings: Any) -> UsageError:
        with pytest.raises(UsageError) as caught:
            prune.check(Parameters(**settings), work.source, work)
        return caught.value

    @pytest.mark.parametrize(
        "settings",
        [{"epochs": 5}, {"ramp": "constant"}, {"end": 0.7}, {"allocation": "sensitivity"}],
    )
    def test_settings_of_training(self, work_on: MakeWork, settings: dict[str, Any]) -> None:
        error = self.refuse(work_on(net()), **settings)
        ((name, value),) = settings.items()
        assert error.message == (
            f"{name}: {value!r} is for training, and an onnx model is pruned without"
        )

    def test_a_ladder_of_half(self, work_on: MakeWork) -> None:
        error = self.refuse(work_on(net()), structure="2:4", ladder=True)
        assert error.message.startswith("ladder: structure 2:4 makes half of each kernel zero")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"skip": ("gem",)}, "skip: no node matches 'gem'"),
            ({"layer_sparsity": {"gem": 0.1}}, "layer_sparsity: no node matches 'gem'"),
        ],
    )
    def test_names_of_nothing(self, work_on: MakeWork, settings: Any, message: str) -> None:
        error = self.refuse(work_on(net()), **settings)
        assert error.message == message
        assert error.hint.startswith("did you mean 'gemm'")

    def test_nothing_to_prune(self, work_on: MakeWork) -> None:
        error = self.refuse(work_on(net()), min_weights=10_000)
        assert "prune: the model has no weights to prune (Conv 'conv': its 288" in error.message
        work = work_on(model_of([helper.make_node("Relu", ["x"], ["y"])], []))
        assert self.refuse(work).message == "prune: the model has no weights to prune"

    def test_a_quantized_model(self, work_on: MakeWork) -> None:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
        ]
        work = work_on(model_of(nodes, [numpy_helper.from_array(np.float32(0.1), "s")]))
        assert "is quantized already" in self.refuse(work).message

    def test_a_model_that_becomes_onnx_later(self, tmp_path: Path) -> None:
        later = artifact(tmp_path / "none.keras", "keras")
        prune.check(Parameters(), later, OnnxWork(tmp_path, later))


def test_names_its_versions_and_what_prepares_it() -> None:
    assert set(prune.versions()) == {"onnx", "numpy"}
    assert prune.PREPARED_BY == "simplify"

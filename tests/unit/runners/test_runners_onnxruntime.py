"""The onnxruntime runner: signature, runs, errors; never TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.artifact import Artifact, Signature, TensorSpec
from edgekit.core.schema import parse_options
from edgekit.engine.inference import real_outputs
from edgekit.engine.work import natural_runner, predict
from edgekit.errors import UsageError
from edgekit.formats import onnx as format_onnx
from edgekit.runners import onnxruntime as runner
from edgekit.runners.onnxruntime import OnnxruntimeSession, Options

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

needs_azure = pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this build of ONNX Runtime has no second provider to fall back from",
)
NONE = Signature((), ())
KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def value(name: str, shape: list[Any] | None, dtype: str = "FLOAT") -> Any:
    return onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, dtype), shape)


def model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any] | None = None
) -> Any:
    tensors = [onnx.numpy_helper.from_array(array, n) for n, array in (weights or {}).items()]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, tensors)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("my.domain", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def classifier(batch: int | str) -> Any:
    nodes = [node("Gemm", "x w", "logits"), node("Softmax", "logits", "y")]
    return model(nodes, [value("x", [batch, 4])], [value("y", [batch, 3])], {"w": KERNEL})


def one_op(kind: str, shape: list[Any] | None, dtype: str = "FLOAT", **attributes: Any) -> Any:
    nodes = [node(kind, "x", "y", **attributes)]
    return model(nodes, [value("x", shape, dtype)], [value("y", None, dtype)])


def opened(
    folder: Path, content: Any, signature: Signature = NONE, **options: Any
) -> OnnxruntimeSession:
    path = folder / "m.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return runner.open(path, signature, Options(**options))


def error_of(folder: Path, content: Any) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        opened(folder, content)
    return spoken(folder, caught.value)


def spoken(folder: Path, error: UsageError) -> tuple[str, str]:
    release = runner.versions()["onnxruntime"]
    message = error.message.replace(f"{folder}{os.sep}", "").replace(release, "V")
    return message, error.hint


def samples(count: int) -> Any:
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)


def softmax(x: Any) -> Any:
    powers = np.exp(x.astype(np.float64) @ KERNEL)
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_runtime_works_here() -> None:
    assert runner.unavailable() == ""


def test_a_runtime_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert runner.unavailable() == (
        "the onnxruntime runner needs the package 'onnxruntime', which is not installed: "
        "pip install 'edgekit-ml[onnx]'"
    )


def test_a_runtime_that_fails_or_computes_nonsense_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install = "install it again: pip install --force-reinstall onnxruntime"

    def broken(*_: object, **__: object) -> object:
        raise OSError("no such library")

    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", broken)
        expected = f"onnxruntime does not work here: no such library; {install}"
        assert runner.unavailable() == expected

    class Wrong:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self, *_: object) -> object:
            return (np.array([[7.0]]),)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    assert runner.unavailable() == f"onnxruntime computes wrong values; {install}"


def test_it_is_the_natural_runner_of_its_format_alone() -> None:
    found = {name: natural_runner(name) for name in ("keras", "onnx", "tflite")}
    assert found == {"keras": "reference", "onnx": "onnxruntime", "tflite": "litert"}


def test_versions_name_the_packages_behind_the_results() -> None:
    assert set(runner.versions()) == {"onnxruntime", "numpy"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("threads=0", "t: threads must be from 1 to 64, not 0"),
        ("threads=65", "t: threads must be from 1 to 64, not 65"),
        ("providers=[]", "t: providers must name at least one, such as CPU"),
        ("optimization=al", "t: optimization: unknown value 'al'"),
    ],
)
def test_wrong_options_are_usage_errors(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(Options, text, where="t")
    assert caught.value.message == message


@pytest.mark.parametrize("name", ["CPU", "cpu", "CPUExecutionProvider", "cpuexecutionprovider"])
def test_a_provider_has_a_short_and_a_full_name(tmp_path: Path, name: str) -> None:
    options = parse_options(Options, f"providers={name}", where="t")
    assert opened(tmp_path, classifier("N"), providers=options.providers).placement().ops


@pytest.mark.parametrize("optimization", ["all", "extended", "basic", "none"])
def test_the_optimization_changes_no_values(tmp_path: Path, optimization: Any) -> None:
    session = opened(tmp_path, classifier("N"), optimization=optimization)
    np.testing.assert_allclose(session.run((samples(4),))[0], softmax(samples(4)), atol=1e-6)


def refused(folder: Path, **options: Any) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        opened(folder, classifier("N"), **options)
    return spoken(folder, caught.value)


def test_a_provider_that_does_not_exist_has_its_nearest_names(tmp_path: Path) -> None:
    message, hint = refused(tmp_path, providers=("cudaa",))
    assert message == "provider 'cudaa': ONNX Runtime V knows none of this name"
    assert hint.startswith("did you mean 'cuda'")
    assert "available here: " in hint
    assert "CPU" in hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cuda", "install the package 'onnxruntime-gpu' in its place, or take one that is "),
        ("CoreML", "take one that is "),
    ],
)
def test_a_provider_that_was_not_built_in_says_what_has_it(
    tmp_path: Path, name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert refused(tmp_path, providers=(name,)) == (
        f"provider '{name}': the installed ONNX Runtime was built without it",
        f"{hint}available here: CPU",
    )


class FallenBack:
    """A session as the runtime gives it where the provider cannot start."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_provider_that_does_not_start_is_no_silent_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FallenBack)
    message, hint = refused(tmp_path, providers=("cuda", "cpu"))
    assert message == "m.onnx: the provider 'CUDA' does not start here"
    assert "allow_fallback=true" in hint


@needs_azure
@pytest.mark.parametrize("providers", [("azure",), ("azure", "cpu")])
def test_a_provider_that_takes_no_op_is_refused_with_their_names(
    tmp_path: Path, providers: tuple[str, ...]
) -> None:
    message, hint = refused(tmp_path, providers=providers)
    assert message == (
        "m.onnx: the provider 'Azure' does not take the whole model: "
        "Gemm, Softmax are left to the CPU"
    )
    assert hint == "allow it with allow_fallback=true, or choose another provider"


@needs_azure
def test_a_fallback_that_is_allowed_is_said(tmp_path: Path) -> None:
    session = opened(tmp_path, classifier("N"), providers=("azure",), allow_fallback=True)
    np.testing.assert_allclose(session.run((samples(4),))[0], softmax(samples(4)), atol=1e-6)
    assert {(op.where, op.reason) for op in session.placement().ops} == {
        ("CPU", "Azure did not take it (the runtime gives no reason)")
    }


def test_dimensions_other_than_the_batch_may_be_open(tmp_path: Path) -> None:
    nodes = [node("ReduceMax", "x", "y", axes=[2], keepdims=0), node("Relu", "x", "z")]
    outputs = [value("y", ["N", 3]), value("z", ["N", 3, "L"])]
    session = opened(tmp_path, model(nodes, [value("x", ["N", 3, "L"])], outputs))
    for length in (5, 2):
        x = np.random.default_rng(length).normal(size=(7, 3, length)).astype(np.float32)
        y, z = session.run((x,))
        assert np.array_equal(y, x.max(axis=2))
        assert z.shape == x.shape


def test_a_sample_does_not_depend_on_those_beside_it(tmp_path: Path) -> None:
    """The scale of DynamicQuantizeLinear is that of all it gets, so samples run alone."""
    nodes = [node("DynamicQuantizeLinear", "x", "q s z"), node("DequantizeLinear", "q s z", "y")]
    content = model(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])])
    x = samples(6)
    x[3] *= 1000
    session = opened(tmp_path, content)
    (together,) = session.run((x,))
    alone = np.concatenate([session.run((x[i : i + 1],))[0] for i in range(6)])
    assert np.array_equal(together, alone)
    np.testing.assert_allclose(together[0], x[0], atol=0.02)


def test_a_file_in_the_runtimes_own_format_opens_under_any_name(tmp_path: Path) -> None:
    opened(tmp_path, classifier("N"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(
        str(tmp_path / "m.onnx"), options, providers=["CPUExecutionProvider"]
    )
    path = (tmp_path / "m.ort").rename(tmp_path / "model")
    session = runner.open(path, NONE, Options())
    np.testing.assert_allclose(session.run((samples(4),))[0], softmax(samples(4)), atol=1e-6)
    assert {op.kind for op in session.placement().ops} == {"Gemm", "Softmax"}


@pytest.mark.parametrize("batch", ["N", 1])
def test_the_signature_is_the_one_that_the_format_describes(
    tmp_path: Path, batch: int | str
) -> None:
    session = opened(tmp_path, classifier(batch))
    assert session.signature == format_onnx.describe(tmp_path / "m.onnx").signature


def test_the_order_of_a_known_signature_is_kept(tmp_path: Path) -> None:
    sides = [value("a", ["N", 2]), value("b", ["N", 2])]
    content = model([node("Sub", "a b", "y")], sides, [value("y", None)])
    specs = tuple(TensorSpec(name, (None, 2), "float32") for name in ("b", "a"))
    session = opened(tmp_path, content, Signature(specs, ()))
    assert [spec.name for spec in session.signature.inputs] == ["b", "a"]
    (y,) = session.run((np.ones((1, 2), np.float32), np.full((1, 2), 5, np.float32)))
    assert y.tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("count", [1, 4, 9, 300])
def test_any_number_of_samples_runs_in_any_batch(
    tmp_path: Path, batch: int | str, count: int
) -> None:
    session, x = opened(tmp_path, classifier(batch)), samples(count)
    for _ in range(2):
        (y,) = session.run((x,))
        np.testing.assert_allclose(y, softmax(x), atol=1e-6)


def test_large_inputs_go_through_in_smaller_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_MOST_INPUT_BYTES", 3 * 16)
    session, x = opened(tmp_path, classifier("N")), samples(8)
    assert session._rows_at_once([x]) == 3
    np.testing.assert_allclose(session.run((x,))[0], softmax(x), atol=1e-6)


def test_a_batch_that_is_open_in_name_only_runs_one_by_one(tmp_path: Path) -> None:
    reshape = [node("Reshape", "x s", "y")]
    weights = {"s": np.array([1, 2, 2], np.int64)}
    content = model(reshape, [value("x", ["N", 4])], [value("y", None)], weights)
    x = samples(5)
    assert np.array_equal(opened(tmp_path, content).run((x,))[0], x.reshape(5, 2, 2))


def test_an_output_without_a_batch_axis_is_one_for_each_sample(tmp_path: Path) -> None:
    session = opened(tmp_path, one_op("ReduceSum", ["N", 4], keepdims=0))
    np.testing.assert_allclose(session.run((samples(3),))[0], samples(3).sum(axis=1), rtol=1e-5)


def test_outputs_of_changing_shapes_are_an_error(tmp_path: Path) -> None:
    nonzero = [node("NonZero", "x", "y")]
    content = model(nonzero, [value("x", [1, 4])], [value("y", None, "INT64")])
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, content).run((np.array([[1, 0, 0, 0], [1, 1, 0, 0]], np.float32),))
    message, _ = spoken(tmp_path, caught.value)
    assert message.endswith("cannot run it: an output changes its shape from sample to sample")


def test_integers_and_several_outputs_keep_their_dtypes(tmp_path: Path) -> None:
    nodes = [node("Identity", "x", "same"), node("Cast", "x", "real", to=1)]
    outputs = [value("same", ["N", 2], "INT64"), value("real", ["N", 2])]
    session = opened(tmp_path, model(nodes, [value("x", ["N", 2], "INT64")], outputs))
    same, real = session.run((np.array([[1, 2]]),))
    assert (same.dtype, real.dtype) == (np.int64, np.float32)
    assert same.tolist() == real.tolist() == [[1, 2]]


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_invoke_repeats_the_last_sample(tmp_path: Path, batch: int | str) -> None:
    session = opened(tmp_path, classifier(batch))
    with pytest.raises(AssertionError, match="nothing was run yet"):
        session.invoke()
    session.run((samples(6),))
    session.invoke()
    session.invoke()


def test_a_session_that_is_closed_stays_closed(tmp_path: Path) -> None:
    session = opened(tmp_path, classifier("N"))
    session.run((samples(1),))
    session.close()
    for action in (session.invoke, lambda: session.run((samples(1),))):
        with pytest.raises(AssertionError, match="the session is closed"):
            action()


def test_threads_and_repetitions_change_nothing(tmp_path: Path) -> None:
    x = samples(50)
    runs = [opened(tmp_path, classifier("N"), threads=n).run((x,))[0] for n in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    np.testing.assert_allclose(runs[0], runs[2], rtol=1e-6)


def test_a_teacher_predicts_real_values(tmp_path: Path) -> None:
    x = samples(300)
    session = opened(tmp_path, classifier("N"))
    (y,) = real_outputs(session, (x.astype(np.float64),))
    assert y.dtype == np.float32
    artifact = Artifact(tmp_path / "m.onnx", "onnx", "d", "teacher")
    (same,) = predict(artifact, (x,))
    assert np.array_equal(y, same)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "m.onnx: takes 1 inputs, not 0"),
        (
            (np.zeros((2, 5), np.float32),),
            "m.onnx: the input 'x' takes float32 of shape Nx4, not float32 of shape 2x5",
        ),
        (
            (np.zeros((2, 4)),),
            "m.onnx: the input 'x' takes float32 of shape Nx4, not float64 of shape 2x4",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    tmp_path: Path, inputs: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, classifier("N")).run(inputs)
    assert spoken(tmp_path, caught.value)[0] == message


@pytest.mark.parametrize(
    ("kind", "domain", "message"),
    [
        ("NoSuchOp", "", "the op 'NoSuchOp' of opset 17 (node 'y') is not one"),
        ("MyOp", "my.domain", "the op 'my.domain.MyOp' (node 'y') is not one"),
    ],
)
def test_an_unknown_op_is_named(tmp_path: Path, kind: str, domain: str, message: str) -> None:
    found = error_of(tmp_path, one_op(kind, ["N", 4], domain=domain))
    assert found == (
        f"m.onnx: {message} that ONNX Runtime V has",
        "replace the op and export the model again, or update onnxruntime",
    )


def test_an_op_without_a_kernel_for_its_dtype_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path, one_op("Relu", ["N", 4], "INT16")) == (
        "m.onnx: ONNX Runtime V has no CPU kernel for the op 'Relu' of opset 14 "
        "with the dtypes that it has here",
        "export the model in float32, or update onnxruntime",
    )


@pytest.mark.parametrize("what", ["IR version", "opset"])
def test_a_file_newer_than_the_runtime_says_by_how_much(tmp_path: Path, what: str) -> None:
    content = classifier("N")
    if what == "opset":
        content.opset_import[0].version = 99
    else:
        content.ir_version = 99
    message, hint = error_of(tmp_path, content)
    assert message.startswith(f"m.onnx: has the {what} 99, and ONNX Runtime V knows up to ")
    assert hint == "update onnxruntime, or export the model with an older opset"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "No graph was found in the protobuf"),
        (b"\x08\x07\x12\xff\xff\xff", "Protobuf parsing failed"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    assert error_of(tmp_path, content)[0] == f"m.onnx: ONNX Runtime V cannot run it: {words}"


def test_a_graph_that_does_not_hang_together_is_one_sentence(tmp_path: Path) -> None:
    content = model([node("Relu", "z", "y")], [value("x", ["N", 4])], [value("y", None)])
    assert error_of(tmp_path, content)[0] == (
        "m.onnx: ONNX Runtime V cannot run it: Invalid model. Node input 'z' is not a graph input, "
        "initializer, or output of a previous node"
    )


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "m.onnx: has no input, so it says the same each time"),
        ([value("x", ["N", 0])], "m.onnx: the input 'x' has the shape Nx0, in which no value has"),
    ],
)
def test_a_model_that_takes_nothing(tmp_path: Path, inputs: list[Any], words: str) -> None:
    content = model([node("Relu", "k", "y")], inputs, [value("y", None)], {"k": KERNEL})
    message, hint = error_of(tmp_path, content)
    assert message.startswith(words)
    assert hint


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    settings = {"save_as_external_data": True, "location": "m.bin", "size_threshold": 0}
    onnx.save_model(classifier("N"), str(path), **settings)
    x = samples(2)
    np.testing.assert_allclose(
        runner.open(path, NONE, Options()).run((x,))[0], softmax(x), atol=1e-6
    )
    (tmp_path / "m.bin").unlink()
    with pytest.raises(UsageError) as caught:
        runner.open(path, NONE, Options())
    expected = ("m.onnx: its external data 'm.bin' is missing", "put it beside m.onnx")
    assert spoken(tmp_path, caught.value) == expected


def test_values_that_the_runtime_fails_on_are_one_sentence(tmp_path: Path) -> None:
    nodes = [node("Gather", "table x", "y")]
    weights = {"table": KERNEL}
    content = model(nodes, [value("x", ["N", 1], "INT64")], [value("y", None)], weights)
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, content).run((np.array([[0], [9]]),))
    message, _ = spoken(tmp_path, caught.value)
    assert message.startswith("m.onnx: ONNX Runtime V cannot run it: node '")
    assert "' (Gather): indices" in message
    assert "idx=9" in message
    assert "onnxruntime_src" not in message


@pytest.mark.parametrize("shape", [[], None])
def test_an_input_without_a_batch_axis_is_refused(tmp_path: Path, shape: list[int] | None) -> None:
    message, hint = error_of(tmp_path, one_op("Relu", shape))
    assert message == "m.onnx: the input 'x' has no batch axis, or no shape at all"
    assert hint.startswith("give the input a shape")


@pytest.mark.parametrize("dtype", ["STRING", "BFLOAT16"])
def test_what_numpy_cannot_hold_is_refused(tmp_path: Path, dtype: str) -> None:
    message, _ = error_of(tmp_path, one_op("Identity", ["N", 4], dtype))
    assert message == (
        f"m.onnx: the input 'x' is tensor({dtype.lower()}), which is no array of numbers"
    )


def test_it_is_silent_and_loads_no_other_framework(tmp_path: Path) -> None:
    opened(tmp_path, classifier("N"))
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07")
    code = f"""
import sys
from pathlib import Path
from edgekit.core.artifact import Signature
from edgekit.errors import UsageError
from edgekit.runners import onnxruntime as runner
assert not {{"onnxruntime", "numpy"}} & set(sys.modules)
folder = Path({str(tmp_path)!r})
import numpy as np
session = runner.open(folder / "m.onnx", Signature((), ()), runner.Options())
session.run((np.ones((2, 4), np.float32),))
try:
    runner.open(folder / "bad.onnx", Signature((), ()), runner.Options())
except UsageError:
    pass
assert not {{"tensorflow", "keras", "onnx", "torch"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

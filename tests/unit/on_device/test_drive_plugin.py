"""`drive_plugin.py`: what it makes of a provider that takes all, takes some, or does not start.

The provider is made up: the sessions are those of this onnxruntime on the CPU, and the logs those
of onnxruntime-qnn 2.7.0 and onnxruntime-openvino 1.24.1. Real ones: tests/e2e.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import cnn, images, save_model, value

from edgekit.on_device import run

REFUSED = """
\x1b[0;93m2026-11-23 00:36 [W:onnxruntime:, qnn_model_wrapper.cc:565 CreateQnnNode] \
QNN.backendValidateOpConfig() failed for node `dense` of type `FullyConnected` with error code 3110
\x1b[m
2026-11-23 00:36 [V:onnxruntime:, qnn_execution_provider.cc:1713 LogNodeSupport] \
Validation FAILED for 2 nodes in OrtNodeUnit (Gemm) :
\tOperator type: DequantizeLinear Node name: w Node index: 28
\tOperator type: Gemm Node name: dense Node index: 29
\tREASON : Failed to add node.

2026-11-23 00:36 [V:onnxruntime:, qnn_execution_provider.cc:1713 LogNodeSupport] \
Validation FAILED for 1 nodes in OrtNodeUnit (Conv) :
\tOperator type: Conv Node name: conv0 Node index: 2
\tREASON : Cannot get shape

2026-11-23 00:36 [V:onnxruntime:, qnn_execution_provider.cc:1713 LogNodeSupport] \
Validation FAILED for 1 nodes in OrtNodeUnit (Erf) :
\tOperator type: Erf Node name:  Node index: 3
\tREASON : Operators of type `Erf` are not supported by QNN EP.Erf node `` will not be assigned
"""
ABSENT = (
    "\x1b[1;31m2026-11-23 [E:onnxruntime:Default, provider_bridge_ort.cc:2310 Create] /x/openvino_"
    "provider_factory.cc:141 std::string f() [ERROR] [OpenVINO] Device NPU is not available\n\x1b[m"
)
DISABLED = (
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the "
    "default CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
)
ADAPTER = (
    "/x/webgpu_context.cc:65 Initialize(const Config&)::<lambda()> status == Success was false. "
    "Failed to get a WebGPU adapter: No supported adapters\n"
)
Opener = Callable[..., Any]


class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
    """Keeps what it is told, and that is not the real one's business."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed: dict[str, int] = {}
        self.given: list[Any] = []
        self.is_alone = False

    def add_session_config_entry(self, key: str, value: str) -> None:
        if key == "session.disable_cpu_ep_fallback":
            self.is_alone = value == "1"
        else:
            super().add_session_config_entry(key, value)

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        self.fixed[name] = size
        super().add_free_dimension_override_by_name(name, size)

    def add_provider_for_devices(self, devices: Any, options: Any) -> None:
        self.given += [devices, options]


class Fake:
    """onnxruntime with a provider 'Fake'; `left` are the kinds of op that it does not take."""

    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
    SessionOptions = Options

    def __init__(self, **own: Any) -> None:
        self.left: tuple[str, ...] = ()
        self.log = self.error = ""
        self.starts = self.says = True
        self.devices: list[Any] = []
        self.sessions: list[Any] = []
        self.registered: list[Any] = []
        self.preloaded = 0
        self.name = "Fake"
        vars(self).update(own)

    def get_available_providers(self) -> list[str]:
        return [f"{self.name}ExecutionProvider", "CPUExecutionProvider"]

    def get_ep_devices(self) -> list[Any]:
        return self.devices if self.registered else []

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if self.error:
            raise RuntimeError(self.error)
        self.registered.append((name, path))

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def InferenceSession(  # noqa: N802 (what onnxruntime calls it)
        self, path: str, options: Options, providers: Any = (), **given: Any
    ) -> Any:
        plain = ["CPUExecutionProvider"]
        native = onnxruntime.InferenceSession(path, options, providers=plain)
        if providers == plain:
            return native
        own = Native(self, native)
        self.sessions.append((options, providers, given))
        os.write(2, self.log.encode())
        if self.error or (options.is_alone and (self.left or not self.starts)):
            raise RuntimeError(self.error or DISABLED)
        return own


class Native:
    def __init__(self, fake: Fake, native: Any) -> None:
        self._fake, self._native = fake, native

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def get_providers(self) -> list[str]:
        names = self._fake.get_available_providers()
        return names if self._fake.starts else names[1:]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        if not self._fake.says:
            raise RuntimeError("not recorded")
        found = []
        for part in self._native.get_provider_graph_assignment_info():
            for node in part.get_nodes():
                where = "CPU" if node.op_type in self._fake.left else self._fake.name
                own = SimpleNamespace(op_type=node.op_type, name=node.name)
                found.append(
                    SimpleNamespace(
                        ep_name=f"{where}ExecutionProvider", get_nodes=lambda own=own: [own]
                    )
                )
        return found


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "run", run)
    found = run.beside("drive_plugin", name="drive_plugin_of_a_test")
    monkeypatch.delitem(sys.modules, "drive_plugin_of_a_test")
    assert isinstance(found, ModuleType)
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path: Path = cnn(tmp_path / "m.onnx")
    return path


@pytest.fixture
def opened(drive: ModuleType, model: Path) -> Opener:
    """Opens the model with a provider of one's own."""

    def open_it(fake: Fake, *, path: Path = model, strict: bool = False, **options: str) -> Any:
        how = {
            "path": str(path), "threads": 1, "optimization": "all", "strict": strict,
            "inputs": [], "outputs": [],
        }  # fmt: skip
        return drive.open_session(fake, how, {"library": "FAKE", "options": options})

    return open_it


class TestAll:
    def test_takes_every_op(self, opened: Opener, capfd: pytest.CaptureFixture[str]) -> None:
        session = opened(fake := Fake(log="said by a library\n"), plugin="", key="1")
        ops, reason = session.placement()
        assert ({op[2] for op in ops}, {op[4] for op in ops}, reason) == ({"Fake"}, {""}, "")
        assert len(ops) > 3
        assert session.ran() == "delegate"
        assert [spec["shape"] for spec in session.inputs] == [[1, 1, 12, 12]], "the batch is 1"
        (found,) = session.run([images(3)])
        assert found.shape == (3, 4)
        ((options, providers, given),) = fake.sessions
        assert (options.fixed, given) == ({"N": 1}, {"enable_fallback": 0})
        assert providers == [("FakeExecutionProvider", {"key": "1"})]
        assert capfd.readouterr() == ("", ""), "the log is read, and not shown"

    def test_leaves_no_profile(self, opened: Opener, tmp_path: Path) -> None:
        opened(fake := Fake())
        assert not Path(fake.sessions[0][0].profile_file_prefix).parent.exists()

    def test_nvidias_wheels_are_loaded_first(self, drive: ModuleType, model: Path) -> None:
        how = {"path": str(model), "threads": 1, "optimization": "none", "strict": False,
               "inputs": [], "outputs": []}  # fmt: skip
        fake = Fake(name="CUDA")
        session = drive.open_session(fake, how, {"library": "CUDA", "options": {"plugin": ""}})
        assert (fake.preloaded, session.label) == (1, "CUDA")

    def test_values_that_zeros_are_none_of(self, opened: Opener, tmp_path: Path) -> None:
        from onnx import TensorProto, helper

        node = helper.make_node("Reshape", ["x", "shape"], ["y"])
        ends = [value("x", ["N", "M"])], [value("y", ["A", 3])]
        shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 3])
        graph = helper.make_graph([node], "g", *ends, [shape])
        session = opened(Fake(), path=save_model(tmp_path / "r.onnx", graph), plugin="")
        assert session.placement() == ([[0, "Reshape", "Fake", "unknown", ""]], "")

    def test_a_name_that_is_no_batch_stays_open(self, opened: Opener, tmp_path: Path) -> None:
        from onnx import helper

        ends = [value("x", ["N", "N"])], [value("y", ["N", "N"])]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", *ends, [])
        session = opened(fake := Fake(), path=save_model(tmp_path / "r.onnx", graph))
        assert (fake.sessions[0][0].fixed, session.inputs[0]["shape"]) == ({}, [None, None])

    def test_it_does_not_say(self, opened: Opener) -> None:
        assert opened(Fake(says=False)).placement() == (
            [], "this ONNX Runtime does not say: not recorded",
        )  # fmt: skip


class TestSome:
    def test_says_which_and_why(self, opened: Opener, capfd: pytest.CaptureFixture[str]) -> None:
        session = opened(Fake(left=("Gemm", "Flatten"), log=REFUSED))
        left = {op[1]: op[4] for op in session.placement()[0] if op[2] == "CPU"}
        assert left == {
            "Gemm": "its FullyConnected does not take these types or shapes (QNN's error 3110)",
            "Flatten": "Fake did not take it (the runtime gives no reason)",
        }
        assert session.run([images(2)])[0].shape == (2, 4)
        assert capfd.readouterr() == ("", "")

    def test_strictly_it_is_an_error(self, opened: Opener) -> None:
        with pytest.raises(run.Fault, match="^it leaves 1 op to the CPU: Gemm: its FullyC") as info:
            opened(Fake(left=("Gemm",), log=REFUSED), strict=True)
        assert info.value.code == 1

    def test_many_kinds_are_counted(self, drive: ModuleType) -> None:
        ops = [[0, kind, "CPU", "", "why"] for kind in "abcdeaf"] + [[0, "z", "CPU", "", "not"]]
        assert drive._listed(ops) == (
            "8 ops to the CPU: a, b, c, d and 2 kinds more: why; z: not"
        )  # fmt: skip

    def test_the_profile_names_more(self, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Native, "get_provider_graph_assignment_info", lambda self: [])
        ops, _ = opened(Fake()).placement()
        assert {op[2] for op in ops} == {"CPU"}, "what it really was"
        assert {op[3] for op in ops} == {"float32"}


class TestNone:
    def test_not_built_in(self, drive: ModuleType, model: Path) -> None:
        with pytest.raises(run.Fault, match="^this onnxruntime is built without it, it has F"):
            drive.open_session(
                Fake(), {"path": str(model)}, {"library": "CUDA", "options": {"plugin": ""}}
            )

    def test_does_not_start(self, opened: Opener) -> None:
        with pytest.raises(run.Fault, match="^it does not start here: Device NPU is not av"):
            opened(Fake(starts=False, log=ABSENT))

    def test_no_adapter(self, opened: Opener) -> None:
        with pytest.raises(run.Fault, match="^Failed to get a WebGPU adapter: No supported adapt"):
            opened(Fake(error=ADAPTER))

    @pytest.mark.parametrize("device", ["AUTO", "AUTO:NPU,CPU", "HETERO:GPU,CPU", "MULTI:GPU,CPU"])
    def test_a_device_that_chooses_silently(self, opened: Opener, device: str) -> None:
        with pytest.raises(run.Fault, match=f"^device_type = {device}: OpenVINO would choose"):
            opened(Fake(), device_type=device)

    def test_a_damaged_model(self, opened: Opener, tmp_path: Path) -> None:
        (tmp_path / "bad.onnx").write_bytes(b"no model")
        with pytest.raises(run.Fault, match="Protobuf parsing failed"):
            opened(Fake(), path=tmp_path / "bad.onnx")

    def test_run_py_records_it_and_goes_on(
        self, monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"]
        )
        delegate = {"library": "OpenVINO", "options": {"plugin": ""}}
        session: Any = run.open_model(str(model), delegates=[delegate])
        assert [(one["what"], one["ok"]) for one in session.attempts] == [
            ("OpenVINO", False), ("onnxruntime", True),
        ]  # fmt: skip
        with pytest.raises(run.Fault, match="^OpenVINO: this onnxruntime is built without") as info:
            run.open_model(str(model), delegates=[delegate], strict=True)
        assert info.value.code == 1


class TestPlugin:
    @pytest.fixture
    def library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A module fake_plugin, and the library that it brings."""
        path = tmp_path / "libfake.so"
        path.write_bytes(b"")
        (tmp_path / "fake_plugin.py").write_text(
            "def get_ep_name(): return 'FakeExecutionProvider'\n"
            f"def get_library_path(): return {str(path)!r}\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "fake_plugin", raising=False)
        return path

    @pytest.fixture
    def devices(self) -> list[Any]:
        def device(name: str, kind: int) -> Any:
            where = SimpleNamespace(type=SimpleNamespace(value=kind))
            return SimpleNamespace(ep_name=f"{name}ExecutionProvider", device=where)

        return [device("CPU", 0), device("Fake", 0), device("Fake", 2), device("Fake", 1)]

    def test_the_npu_is_taken(self, opened: Opener, library: Path, devices: Any) -> None:
        fake = Fake(devices=devices)
        session = opened(fake, plugin="fake_plugin", backend_type="htp")
        assert fake.registered == [("FakeExecutionProvider", str(library))]
        ((options, providers, _),) = fake.sessions
        assert (options.given, providers) == ([[devices[2]], {"backend_type": "htp"}], ())
        assert session.where() == {"Fake": len(session.placement()[0])}
        opened(fake, plugin="fake_plugin")
        assert len(fake.registered) == 1, "once in a process"

    def test_no_device(self, opened: Opener, library: Path) -> None:
        with pytest.raises(run.Fault, match="^the plugin fake_plugin finds no device here$"):
            opened(Fake(), plugin="fake_plugin")

    def test_another_version(self, opened: Opener, library: Path) -> None:
        error = "[ONNXRuntimeError] : 1 : FAIL : The library needs ORT API version 99"
        with pytest.raises(run.Fault, match="plugin fake_plugin does not load: The library needs"):
            opened(Fake(error=error), plugin="fake_plugin")

    def test_its_library_is_gone(self, opened: Opener, library: Path) -> None:
        library.unlink()
        with pytest.raises(run.Fault, match=r"library of the plugin fake_plugin is not there: /"):
            opened(Fake(), plugin="fake_plugin")

    def test_not_installed(self, opened: Opener) -> None:
        with pytest.raises(run.Fault, match="^the plugin no_such is not installed$") as info:
            opened(Fake(), plugin="no_such")
        assert info.value.code == 1, "3 would say that the runtime is not there"

    @pytest.mark.parametrize("name", ["a b", "os;x", "../x", ".x"])
    def test_no_name_of_a_module(self, opened: Opener, name: str) -> None:
        with pytest.raises(run.Fault, match=f"plugin = '{re.escape(name)}' names no Python"):
            opened(Fake(), plugin=name)


class TestWords:
    def test_reasons(self, drive: ModuleType) -> None:
        found = drive.refusals(REFUSED)
        assert found["DequantizeLinear", "w"] == found["Gemm", "dense"]
        assert found["Conv", "conv0"].startswith("its shape is open")
        assert found["Erf", ""] == "Operators of type `Erf` are not supported by QNN EP"

    def test_what_passes_ends_a_refusal(self, drive: ModuleType) -> None:
        log = REFUSED.replace("Validation FAILED for 2", "Validation PASSED for 2")
        assert "Conv" in str(drive.refusals(log))
        assert "3110" not in str(drive.refusals(log))

    def test_no_reason(self, drive: ModuleType) -> None:
        assert drive.explain("", "") == "it gives no reason"
        assert drive.explain(" a \n b. ", ABSENT) == "a b"

    def test_a_profile(self, drive: ModuleType) -> None:
        def event(name: str, provider: str, **own: Any) -> dict[str, Any]:
            args = {"op_name": name, "provider": f"{provider}ExecutionProvider", **own}
            return {"cat": "Node", "name": f"{name}0_kernel_time", "args": args}

        gemm = event("Gemm", "WebGpu", input_type_shape=[{"float": [1, 2]}], node_index="1",
                     output_type_shape=[{"uint8": [1, 2]}])  # fmt: skip
        events = [
            {"cat": "Session", "name": "x_kernel_time"},
            {"cat": "Node", "name": "Gemm0_fence_before", "args": {}},
            event("MemcpyToHost", "WebGpu"), gemm, gemm, event("Erf", "CPU"),
        ]  # fmt: skip
        assert drive.executed(json.loads(json.dumps(events))) == [
            ("WebGpu", "Gemm", "Gemm0", "float32 to uint8"),
            ("CPU", "Erf", "Erf0", "unknown"),
        ]


def test_any_log_is_read(drive: ModuleType) -> None:
    @given(st.lists(st.sampled_from([*REFUSED.splitlines(), ABSENT, "\n", "\tREASON : x"])))
    def check(lines: list[str]) -> None:
        log = "\n".join(lines)
        assert all(reason for reason in drive.refusals(log).values())
        assert drive.explain("", log)

    check()

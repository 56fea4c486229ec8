"""`drive_compiled.py`: what LiteRT's log says of a GPU or an NPU, with a CompiledModel of our own.

The logs are those of ai-edge-litert 2.3.0; the real one: tests/e2e/test_e2e_gpu.py and _openvino.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum, IntFlag
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.on_device import run

MODEL = Path(__file__).parents[2] / "data" / "tiny_float.tflite"
GPU = {"library": "GPU", "options": {"precision": "float32"}}
NPU = {"library": "NPU", "options": {"vendor": "intel-openvino", "graph_backend": "CPU"}}
LOADING = "INFO: [compiler_plugin.cc:308] Attempting to load plugin at: /x/libPlugin.so\n"
WEBGPU = "I0000 00:00:1 1 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.\n"
PARTLY = """ERROR: Following operations are not supported by GPU delegate:
CONV_2D: Tensor type(INT64) is not supported. serving_default_image:0
SOFTMAX: Operation is not supported.
{} operations will run on the GPU, and the remaining {} operations will run on the CPU.
"""
NONE = """ERROR: Following operations are not supported by GPU delegate:
CONV_2D: Tensor type(INT16) is not supported. x
MEAN: Tensor type(INT16) is not supported. y
No operations will run on the GPU, and all 5 operations will run on the CPU.
"""
SHAPES = (
    "W0000 00:00:1 1 gpu_model_builder.cc:3901] Shape mismatch in GpuModelBuilder::"
    "UpdateOutputTensors(output of convolution1x1(conv_generic)). Requested shape:{bhwdc, "
    "{1, 4, 4, 1, 16}} vs reference shape: {bhwdc, {1, 8, 8, 1, 16}}\n"
)
SELECTED = (
    "INFO: [compiler_plugin.cc:742] Partitioned subgraph<0>, selected {} ops, from a total of "
    "{} ops. resulted in {} partitions.\n"
)
APPLIED = "INFO: [compiled_model.cc:1397] 1 compiler plugins were applied successfully: IntelX\n"
UNAPPLIED = "INFO: [compiled_model.cc:1397] 0 compiler plugins were applied successfully: \n"


class Accelerator(IntFlag):
    CPU, GPU, NPU = 1, 2, 4


class Backend(IntEnum):
    CPU, GPU, NPU = 0, 1, 2


class Mode(IntEnum):
    BUILTIN = 2


class OpenVino(SimpleNamespace):
    GRAPH_BACKEND = Backend


class Buffer:
    def __init__(self, values: Any = None) -> None:
        self.values = values

    def write(self, array: Any) -> None:
        self.values = array.copy()

    def read(self, count: int, dtype: Any) -> Any:
        return np.full(count, 0.5, dtype)


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "run", run)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")  # It sets it for its process.
    found = run.beside("drive_compiled", name="drive_compiled_of_a_test")
    monkeypatch.delitem(sys.modules, "drive_compiled_of_a_test")
    assert isinstance(found, ModuleType)
    return found


Opener = Callable[..., Any]


@pytest.fixture
def opened(drive: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Opens the model with a CompiledModel that says `log`, and raises `error` if there is one."""
    from ai_edge_litert import interpreter

    def open_it(
        log: str,
        *,
        error: str = "",
        delegate: Any = GPU,
        fully: bool = True,
        module: Any = interpreter,
        **how: Any,
    ) -> Any:
        asked: dict[str, Any] = {}

        def from_file(path: str, **given: Any) -> Any:
            asked.update(given)
            os.write(2, log.encode())
            ctypes.CDLL(None).printf(b"said by C, which keeps it for a while")
            if error:
                raise RuntimeError(error)
            return SimpleNamespace(
                get_signature_by_index=lambda _: {"inputs": ["image"], "outputs": ["probs"]},
                create_input_buffers=lambda _: [Buffer()],
                create_output_buffers=lambda _: [Buffer()],
                run_by_index=lambda *_: None,
                is_fully_accelerated=lambda: fully,
            )

        fake = SimpleNamespace(
            __file__="/x/compiled_model.py",
            CompiledModel=SimpleNamespace(from_file=from_file),
            Environment=SimpleNamespace(create=lambda **folders: folders),
            HardwareAccelerator=Accelerator,
            CpuKernelMode=Mode,
            CpuOptions=SimpleNamespace,
            GpuOptions=SimpleNamespace,
            IntelOpenVinoOptions=OpenVino,
            Options=lambda wanted, cpu, **own: SimpleNamespace(wanted=wanted, cpu=cpu, **own),
        )
        monkeypatch.setitem(sys.modules, "ai_edge_litert.compiled_model", fake)
        known: dict[str, Any] = {
            "path": str(MODEL), "threads": 2, "kernels": "xnnpack", "strict": False,
            "inputs": [], "outputs": [], **how,
        }  # fmt: skip
        session = drive.open_session(module, known, delegate)
        session.asked = asked
        return session

    return open_it


class TestGpu:
    def test_every_op(self, opened: Opener, capfd: pytest.CaptureFixture[str]) -> None:
        session = opened(WEBGPU)
        ops, reason = session.placement()
        assert {op[2] for op in ops} == {"WebGPU"}
        assert (len(ops), reason, {op[4] for op in ops}) == (session.where()["WebGPU"], "", {""})
        assert session.ran() == "delegate"
        (found,) = session.run([np.zeros((2, *session.inputs[0]["shape"][1:]), np.float32)])
        assert found.shape == (2, *session.outputs[0]["shape"][1:])
        assert session.repeat()()[0].dtype == np.float32
        assert capfd.readouterr() == ("", ""), "the log is read, and not shown"
        options = session.asked["options"]
        assert (options.wanted, options.cpu.num_threads) == (Accelerator.GPU | Accelerator.CPU, 2)
        assert options.gpu_options.enforce_f32

    def test_in_its_own_precision_and_with_built_in_kernels(self, opened: Opener) -> None:
        session = opened(WEBGPU, delegate={"library": "GPU", "options": {}}, kernels="builtin")
        assert not session.asked["options"].gpu_options.enforce_f32
        assert session.asked["options"].cpu.kernel_mode == Mode.BUILTIN

    def test_no_adapter(self, opened: Opener) -> None:
        log = "ERROR: [x.cc:359] Failed to initialize environment: INTERNAL: No adapters found\n"
        with pytest.raises(RuntimeError, match=r"^no GPU is found \(no adapter\)"):
            opened(log, error="Failed to create model")

    def test_takes_none_although_nothing_is_raised(self, opened: Opener) -> None:
        with pytest.raises(RuntimeError, match=r"none of .* CONV_2D \(the GPU delegate says: T"):
            opened(NONE, fully=False)

    def test_no_accelerator_at_all(self, opened: Opener) -> None:
        with pytest.raises(RuntimeError, match="^it takes none of the model's ops$"):
            opened("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")

    def test_what_it_raises_where_the_log_says_nothing(self, opened: Opener) -> None:
        with pytest.raises(RuntimeError, match="^out of memory$"):
            opened(WEBGPU, error="out of memory")

    def test_wrong_values(self, opened: Opener) -> None:
        with pytest.raises(RuntimeError, match=r"convolution \{1, 8, 8, 1, 16\} where .*\{1, 4, 4"):
            opened(WEBGPU + SHAPES)

    def test_a_size_known_only_while_it_runs(self, opened: Opener) -> None:
        log = "WARNING: ... dynamic-sized tensors (tensor#0 is a dynamic-sized tensor).\n"
        with pytest.raises(RuntimeError, match="size of 'serving_default_image:0' is known"):
            opened(log, error="x")
        with pytest.raises(RuntimeError, match="the size of a tensor is known only"):
            opened(log.replace("#0", "#-1"), error="x")

    def test_an_open_batch(self, drive: ModuleType) -> None:
        spec = {"name": "x", "shape": [None, 3]}
        named = drive.Compiled._named(SimpleNamespace(inputs=[spec], _tensors={0: "t"}))
        assert named == {0: "'t'", -1: "what follows from the open shape [None, 3] of 'x'"}

    def test_not_all_and_it_does_not_say_what(self, opened: Opener) -> None:
        with pytest.raises(RuntimeError, match="said not to take the whole model"):
            opened(WEBGPU, fully=False)

    def test_a_part(self, opened: Opener) -> None:
        count = len(opened(WEBGPU).placement()[0])
        session = opened(PARTLY.format(count - 2, 2) + WEBGPU)
        ops, reason = session.placement()
        left = {op[1]: op[4] for op in ops if op[2] == "CPU"}
        assert (len(ops), reason) == (count, "")
        assert left == {
            "CONV_2D": "the GPU delegate says: Tensor type(INT64) is not supported",
            "SOFTMAX": "the GPU delegate says: Operation is not supported",
        }
        with pytest.raises(RuntimeError, match=rf"leaves 2 of {count} ops to the CPU: CONV_2D"):
            opened(PARTLY.format(count - 2, 2) + WEBGPU, strict=True)

    def test_a_part_that_does_not_add_up(self, opened: Opener) -> None:
        session = opened(PARTLY.format(1, 99) + WEBGPU)
        assert session.placement()[0] == []
        assert session.placement()[1].startswith("1 of 100 ops run on WebGPU; which, LiteRT does")
        assert (session.where(), session.ran()) == ({}, "delegate")

    def test_an_input_of_another_shape(self, opened: Opener) -> None:
        session = opened(WEBGPU)
        with pytest.raises(run.Fault, match="does not take the input: 'image' is float32 .* not"):
            session.run([np.zeros((1, 3), np.float32)])


class TestNpu:
    def test_every_op(self, opened: Opener) -> None:
        log = LOADING + SELECTED.format(9, 9, 1) + APPLIED
        session = opened(log, delegate=NPU)
        assert set(session.where()) == {"OpenVINO"}
        options = session.asked["options"]
        assert options.intel_openvino_options.graph_backend == Backend.CPU
        assert session.asked["environment"] == {
            "compiler_plugin_path": "/x/vendors/intel_openvino/compiler",
            "dispatch_library_path": "/x/vendors/intel_openvino/dispatch",
        }

    def test_fully_accelerated_and_all_on_the_cpu(self, opened: Opener) -> None:
        """The trap: nothing is raised, is_fully_accelerated() is True, and the CPU computes."""
        library = "libopenvino_intel_npu_compiler_loader.so"
        log = LOADING + SELECTED.format(3, 3, 1) + UNAPPLIED
        log += f'ERROR: [x.cc:714] Exception in compilation: y\nCannot load "/z/{library}": '
        log += f"/z/{library}: cannot open shared object file: No such file or directory\n"
        with pytest.raises(RuntimeError, match=rf"^its plug-in needs {library}, which is missing$"):
            opened(log, delegate=NPU, fully=True)

    def test_openvino_of_another_version(self, opened: Opener) -> None:
        log = (
            LOADING + "Could not load /y.so: libopenvino.so.2631: cannot open shared object file\n"
        )
        with pytest.raises(RuntimeError, match=r"libopenvino\.so\.2631, which is of another v"):
            opened(log, delegate=NPU)

    def test_several_parts(self, opened: Opener) -> None:
        log = LOADING + "INFO: [x.cc:497] op type 13 is not supported\n" + SELECTED.format(5, 7, 3)
        log += "INFO: [x.cc:77] Using Intel OpenVINO device: CPU\n"
        log += "INFO: [x.cc:77] Using Intel OpenVINO device: NPU\n" + UNAPPLIED
        said = "falls into 3 parts, .* for CPU and the next one for NPU: LOCAL_RESPONSE_NORM"
        with pytest.raises(RuntimeError, match=said):
            opened(log, delegate=NPU)

    def test_none_of_the_ops(self, opened: Opener) -> None:
        log = LOADING + "INFO: [x.cc:497] op type 13 is not supported\n" + SELECTED.format(0, 1, 0)
        with pytest.raises(RuntimeError, match="none of the model's ops: LOCAL_RESPONSE_NORM"):
            opened(log + UNAPPLIED, delegate=NPU)

    def test_the_plug_in_says_why(self, opened: Opener) -> None:
        log = LOADING + UNAPPLIED + "ERROR: [x.cc:1400] Plugin errs: Intel no memory\n"
        with pytest.raises(RuntimeError, match="^its plug-in fails: Intel no memory$"):
            opened(log, delegate=NPU)

    def test_some_ops_that_it_does_not_support(self, opened: Opener) -> None:
        whole = len(opened(WEBGPU).placement()[0])
        log = LOADING + "INFO: [x.cc:497] op type 25 is not supported\n"
        session = opened(log + SELECTED.format(whole - 1, whole, 1) + APPLIED, delegate=NPU)
        ops, _ = session.placement()
        assert [op[1] for op in ops if op[2] == "CPU"] == ["SOFTMAX"]

    @pytest.mark.parametrize(
        ("flags", "most", "said"),
        [
            (("avx2", "avx512_vnni"), "AVX512_CORE_VNNI", ""),
            (("avx2", "avx_vnni"), "AVX2_VNNI", ""),
            ((), "", ""),
            (("avx2",), "", "it has no VNNI"),
            (("avx512_vnni",), "AVX2_VNNI", "it has no VNNI"),
            (("avx512_vnni",), "AVX2", "ONEDNN_MAX_CPU_ISA is AVX2"),
        ],
    )
    def test_sums_that_overflow(
        self, drive: ModuleType, flags: tuple[str, ...], most: str, said: str
    ) -> None:
        assert drive._overflows(flags, most) == said

    def test_integers_on_such_a_processor(
        self, drive: ModuleType, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        log = LOADING + SELECTED.format(9, 9, 1) + APPLIED
        assert opened(log, delegate=NPU).ran() == "delegate"
        rows = [{"result_types": [np.int8]}]
        interpreter = SimpleNamespace(_get_ops_details=lambda: rows)
        with pytest.raises(RuntimeError, match="int8 sums overflow .*ISA is AVX2.; a float"):
            drive.Compiled._check_sums(SimpleNamespace(_native=interpreter))


class TestRefusals:
    @pytest.mark.parametrize(
        ("delegate", "said", "hint"),
        [
            ({"library": "GPU", "options": {"x": 1}}, "the option x is none", "precision"),
            ({"library": "GPU", "options": {"precision": "int4"}}, "precision 'int4'", "float32"),
            ({"library": "NPU", "options": {"vendor": "acme"}}, "vendor 'acme'", "intel-openvino"),
            ({"library": "NPU", "options": {"graph_backend": "X"}}, "graph_backend 'X'", "CPU"),
        ],
    )
    def test_options(self, opened: Opener, delegate: Any, said: str, hint: str) -> None:
        with pytest.raises(run.Fault, match=said) as refused:
            opened("", delegate=delegate)
        assert (refused.value.code, hint in refused.value.hint) == (2, True)

    def test_another_runtime(self, opened: Opener) -> None:
        module = SimpleNamespace(__name__="tflite_runtime.interpreter")
        with pytest.raises(RuntimeError, match="^tflite_runtime has no GPU, ai-edge-litert has$"):
            opened("", module=module)

    def test_reference_kernels(self, opened: Opener) -> None:
        with pytest.raises(RuntimeError, match="^the GPU has no reference kernels$"):
            opened("", kernels="reference")

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ({"name": "x", "dtype": "int64", "shape": [1]}, "'x' is int64, which it cannot pass"),
            ({"name": "x", "dtype": "int8", "shape": [None, None]}, "'x' has the open shape"),
        ],
    )
    def test_inputs(self, drive: ModuleType, spec: Mapping[str, Any], said: str) -> None:
        with pytest.raises(RuntimeError, match=said):
            drive.Compiled._check_inputs(SimpleNamespace(inputs=[spec], outputs=[]))

    def test_the_next_one_is_tried_and_the_attempt_kept(
        self, opened: Opener, monkeypatch: pytest.MonkeyPatch, drive: ModuleType
    ) -> None:
        opened(WEBGPU)  # Its fake module stays in place.
        fake: Any = sys.modules["ai_edge_litert.compiled_model"]

        def fails(path: str, **given: Any) -> Any:
            raise RuntimeError("no such device")

        monkeypatch.setattr(fake, "CompiledModel", SimpleNamespace(from_file=fails))
        session: Any = run.open_model(str(MODEL), runtimes=["ai_edge_litert"], delegates=[GPU])
        tried = [(one["what"], one["ok"]) for one in session.attempts]
        assert tried == [("GPU", False), ("ai_edge_litert", True)]
        assert session.attempts[0]["reason"].endswith("no such device")
        with pytest.raises(run.Fault, match="GPU: .*no such device") as refused:
            run.open_model(str(MODEL), runtimes=["ai_edge_litert"], delegates=[GPU], strict=True)
        assert refused.value.code == 1


def row(index: int, kind: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"index": index, "op_name": kind, "inputs": inputs, "outputs": outputs}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[dict[str, Any]], set[int]]:
    """Ops in an order in which they can run, and those that the accelerator cannot take."""
    count = draw(st.integers(1, 12))
    rows = [
        row(n, "OP", draw(st.lists(st.integers(0, n), min_size=1, max_size=2)), [n + 1])
        for n in range(count)
    ]
    return rows, draw(st.sets(st.integers(0, count - 1)))


class TestParts:
    @given(graphs())
    def test_parts_are_of_one_side_and_whole(self, graph: Any) -> None:
        drive = _module()
        rows, left = graph
        parts = drive._parts(rows, dict.fromkeys(left, "why"))
        found = [index for part in parts for index in part]
        assert sorted(found) == sorted({row["index"] for row in rows} - left)

    def test_the_largest_part(self) -> None:
        drive = _module()
        kinds = ["A", "NO", "A", "NO", "A", "A"]
        rows = [row(n, kind, [n], [n + 1]) for n, kind in enumerate(kinds)]
        log = drive.Log("", "GPU", [], {})
        log.taken, log.total, log.refused = 2, 6, [drive.Refusal("NO", "no kernel")]
        left = drive.on_cpu(rows, {}, log, one_part=True)
        assert {n: why[:9] for n, why in left.items()} == {
            0: "the GPU t", 1: "no kernel", 2: "the GPU t", 3: "no kernel"
        }  # fmt: skip
        assert drive.on_cpu(rows, {}, log, one_part=False) is None
        assert drive.on_cpu(rows[:-1], {}, log, one_part=True) is None, "two of one size"

    def test_a_graph_that_waits_for_itself(self) -> None:
        assert _module()._parts([row(0, "A", [1], [1])], {}) == []

    @given(st.text(max_size=400), st.sampled_from(["GPU", "NPU"]))
    def test_any_log(self, text: str, kind: str) -> None:
        log = _module().Log(PARTLY.format(1, 2) + text, kind, ["x", ""], {})
        assert (log.taken, log.total) == (1, 3)
        assert isinstance(log.failed({}) + log.wrong + log.gpu + log.plugin + log.why(), str)

    def test_a_number_without_a_name(self) -> None:
        log = _module().Log("op type 999 is not supported", "NPU", [], {})
        assert log.why() == ": op 999 (the plug-in does not support it)"


def _module() -> Any:
    sys.modules.setdefault("run", run)
    found = run.beside("drive_compiled", name="drive_compiled_of_a_test")
    del sys.modules["drive_compiled_of_a_test"]
    return found

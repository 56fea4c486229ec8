"""Chains of ops as .tflite files, and programs that stand for Vela, for tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgekit.devices import vela
from edgekit.devices._vela_compile import Compiler, compile_model
from edgekit.frameworks.isolated_folder import write_marker

__all__ = ["Compiler", "chain", "compile_model", "fake", "fake_environment", "model"]

OPTIONS = vela.Options("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram")
HEADER = "Original Operator,NNG Operator,Target,Op Cycles,Name\n"
SUMMARY = {
    "system_config": "Ethos_U55_High_End_Embedded",
    "core_clock": "500000000.0",
    "inference_time": "1.792e-06",
    "sram_memory_used": "0.75",
    "dram_memory_used": "0.0",
    "on_chip_flash_memory_used": "0.0",
    "off_chip_flash_memory_used": "0.5",
    "nn_macs": "18432",
    "cycles_total": "896",
}
REFUSED = (
    "\nWarning (supported operators) operator: TANH, ofm: 'y'\n"
    "Reason: Unsupported opType\n\nNetwork summary\n"
)

_FAKE = """
import os, shutil, sys, time
from pathlib import Path
here = Path(__file__).parent
assert Path(sys.argv[1]).is_file() and "--accelerator-config" in sys.argv
with (here / "runs").open("a") as runs:
    print(*sys.argv[1:], file=runs)
for path in (here / "files").iterdir():
    shutil.copy(path, path.name)
print((here / "log").read_text())
exec((here / "then").read_text())
"""


def chain(
    *ops: tuple[str, str], dtypes: Mapping[str, str] | None = None, **shape: Sequence[int]
) -> bytes:
    """A model in which each (kind, output) takes what the one before makes; the input is x.

    All tensors are int8 unless `dtypes` says otherwise; a kind such as ethos-u is a custom op.
    """
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    names = ["x", *(name for _, name in ops)]
    sizes, signature = shape.get("shape", (1, 4)), shape.get("signature")
    graph.tensors, graph.operators, model.operatorCodes = [], [], []

    def ints(values: Any) -> Any:
        return np.array(list(values), np.int32)

    for name in names:
        tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
        tensor.name, tensor.shape = name, ints(sizes)
        tensor.shapeSignature = None if signature is None else ints(signature)
        tensor.type = getattr(schema.TensorType, (dtypes or {}).get(name, "INT8"))
        quantization.scale = np.array([1 / 128 if name == "y" else 0.1], np.float32)
        quantization.zeroPoint = np.array([0], np.int64)
        tensor.quantization = quantization
        graph.tensors.append(tensor)
    for number, (kind, _) in enumerate(ops):
        op, code = schema.OperatorT(), schema.OperatorCodeT()
        known = getattr(schema.BuiltinOperator, kind, None)
        code.builtinCode = schema.BuiltinOperator.CUSTOM if known is None else known
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode, code.version = kind if known is None else None, 1
        op.opcodeIndex, op.inputs, op.outputs = number, ints([number]), ints([number + 1])
        graph.operators.append(op)
        model.operatorCodes.append(code)
    graph.inputs, graph.outputs = ints([0]), ints([len(ops)])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


RELU_TANH = chain(("RELU", "a"), ("TANH", "y"))
"""Two ops, of which the fakes leave the second one on the CPU, or none."""
ALL = chain(("ethos-u", "y"))
SOME = chain(("ethos-u", "a"), ("TANH", "y"))


def write_fake(
    folder: Path,
    *,
    made: bytes | None = ALL,
    cpu_rows: int = 0,
    log: str = "",
    then: str = "",
    summary: Mapping[str, str] = SUMMARY,
) -> Path:
    """A program that leaves these files, prints the log, and does what `then` says."""
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    for old in files.iterdir():
        old.unlink()
    if made is not None:
        (files / "model_vela.tflite").write_bytes(made)
    rows = "Conv2D,Conv2D,NPU,896,a\n" + "Tanh,Passthrough,CPU,0,y\n" * cpu_rows
    (files / "model_per-layer.csv").write_text(HEADER + rows)
    table = ",".join(summary) + "\n" + ",".join(summary.values()) + "\n"
    (files / "model_summary_Fake.csv").write_text(table)
    (folder / "log").write_text(log)
    (folder / "then").write_text(then)
    program = folder / "fake.py"
    program.write_text(_FAKE)
    return program


def fake(folder: Path, *, limit_seconds: float = 60, **how: Any) -> Compiler:
    """A compiler that starts such a program."""
    program = write_fake(folder, **how)
    return Compiler(
        command=(sys.executable, "-I", str(program)),
        arguments=("--accelerator-config", "ethos-u55-128"),
        version="9.9",
        limit_seconds=limit_seconds,
    )


def fake_environment(**how: Any) -> Path:
    """Vela's environment as if it had been made, with such a program in place of its Python."""
    root = Path(os.environ["EDGEKIT_CACHE"])
    folder = vela._requirements().folder(root, "3.11")
    program = write_fake(root / "fake", **how)
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    # Of the words for a Python (-I -B -X utf8 -m ethosu.vela) Vela's own are behind the sixth.
    python.write_text(f'#!/bin/sh\nshift 6\nexec "{sys.executable}" -I "{program}" "$@"\n')
    python.chmod(0o755)
    config = folder / "lib" / "python3.11" / "site-packages" / "ethosu" / "config_files" / "Arm"
    config.mkdir(parents=True)
    (config / "vela.ini").write_text(
        "[System_Config.Ethos_U55_High_End_Embedded]\n[System_Config.Ethos_U65_Embedded]\n"
        "[Memory_Mode.Shared_Sram]\n[Memory_Mode.Sram_Only]\n"
    )
    write_marker(folder, {"python": "3.11.1"})
    return root / "fake"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """RELU and TANH."""
    path = tmp_path / "relu_tanh.tflite"
    path.write_bytes(RELU_TANH)
    return path

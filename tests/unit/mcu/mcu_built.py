"""Builds generated C with the host's compiler, and compares it with LiteRT's reference kernels."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.mcu.generate import Sources, generate
from edgekit.runners import _litert

__all__ = ["Array", "build", "needs_gcc", "random_inputs", "reference", "run", "same_as_reference"]

Array = np.ndarray[Any, np.dtype[Any]]
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wmissing-prototypes")

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def sizes(specs: Any) -> str:
    return "{" + ",".join(str(math.prod(spec.shape)) for spec in specs) + "}"


def build(sources: Sources, folder: Path, *flags: str) -> Path:
    """Compiles everything with every warning an error."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sources.files.items():
        (folder / name).write_bytes(content)
    shutil.copy(Path(__file__).parent / "mcu_main.c", folder)
    files = sorted(name for name in (*sources.files, "mcu_main.c") if name.endswith(".c"))
    defines = (
        f"-DINPUT_BYTES={sizes(sources.inputs)}",
        f"-DOUTPUT_BYTES={sizes(sources.outputs)}",
    )
    command = ["gcc", *WARNINGS, *(flags or ("-O1",)), *defines, *files, "-o", "model"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "model"


def run(program: Path, sources: Sources, inputs: list[Array]) -> list[Array]:
    """The answers to samples: each input has one more axis in front, that of the samples."""
    count = len(inputs[0])
    rows = np.concatenate([item.reshape(count, -1) for item in inputs], axis=1)
    done = subprocess.run([program], input=rows.tobytes(), capture_output=True, check=True)
    lengths = [math.prod(size or 1 for size in spec.shape) for spec in sources.outputs]
    answers = np.frombuffer(done.stdout, np.int8).reshape(count, sum(lengths))
    parts = np.split(answers, np.cumsum(lengths)[:-1], axis=1)
    return [
        part.reshape(count, *[size or 1 for size in spec.shape])
        for part, spec in zip(parts, sources.outputs, strict=True)
    ]


def reference(model: Path, inputs: list[Array]) -> list[Array]:
    """What LiteRT's reference kernels answer, in the order of the subgraph."""
    interpreter = _litert.create(model, kernels="reference", threads=1)
    found = []
    for sample in zip(*inputs, strict=True):
        for detail, value in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        details = interpreter.get_output_details()
        found.append([interpreter.get_tensor(detail["index"]) for detail in details])
    return [np.stack(column) for column in zip(*found, strict=True)]


def random_inputs(sources: Sources, count: int, seed: int = 0) -> list[Array]:
    """Random samples of every range, and the edges: all low, all high, all zero point, stripes."""
    rng = np.random.default_rng(seed)
    arrays = []
    for spec in sources.inputs:
        shape = tuple(size or 1 for size in spec.shape)
        assert spec.quantization is not None
        edges = [np.full(shape, v) for v in (-128, 127, 0, spec.quantization.zero_point)]
        stripes = np.where(np.arange(math.prod(shape)) % 2, -128, 127).reshape(shape)
        wide = rng.integers(-128, 128, (count - len(edges) - 2, *shape))
        arrays.append(np.stack([*edges, stripes, -1 - stripes, *wide]).astype(np.int8))
    return arrays


def same_as_reference(model: Path, folder: Path, *, count: int, seed: int = 0) -> Sources:
    """Fails where an answer differs in a bit."""
    sources = generate(model)
    inputs = random_inputs(sources, count, seed)
    ours = run(build(sources, folder), sources, inputs)
    for mine, theirs in zip(ours, reference(model, inputs), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    return sources

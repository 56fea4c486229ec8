"""Builds the native runner in a temporary folder, and bundles for it to run."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.on_device.c_golden import golden_text

__all__ = [
    "SANITIZED",
    "SOURCES",
    "Bundle",
    "build",
    "compiler",
    "int8_model",
    "library_folder",
    "other_machine",
    "python_outputs",
    "run",
    "stored",
]

Array = np.ndarray[Any, Any]

SOURCES = Path(golden_text.__code__.co_filename).parent / "c"
SANITIZED = "-O1 -g -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"


def compiler(name: str = "gcc") -> str:
    """The compiler; the test is skipped where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def library_folder() -> Path:
    """Where the installed LiteRT has its C library; the test is skipped where it has none."""
    spec = importlib.util.find_spec("ai_edge_litert")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    if not (folder / "libLiteRt.so").is_file():
        pytest.skip("the installed ai-edge-litert has no libLiteRt.so")
    return folder


def build(folder: Path, cc: str, flags: str, litert: Path | str = "") -> Path:
    """The program, built in `folder` with the Makefile of the bundle."""
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    words = ["make", "-C", folder, f"CC={cc}", f"CFLAGS={flags}", f"LITERT={litert}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return folder / "run"


def run(program: Sequence[object], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the program."""
    command = [str(word) for word in (*program, *words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


class Bundle:
    """A bundle as the engine writes it, as far as the native runner reads it."""

    def __init__(
        self,
        folder: Path,
        model: bytes,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        **target: Any,
    ) -> None:
        self.folder = folder
        for name in ("golden", "c"):
            (folder / name).mkdir(parents=True)
        (folder / "model.tflite").write_bytes(model)
        sides = {"input": inputs, "output": outputs}
        files = {
            side: [f"golden/{side}_{i}.npy" for i in range(len(sides[side]))] for side in sides
        }
        for side, arrays in sides.items():
            for file, array in zip(files[side], arrays.values(), strict=True):
                np.save(folder / file, array)
        allowed = {"lsb": 2, "relative": 1e-4}
        self.manifest: dict[str, Any] = {
            "model": {"file": "model.tflite", "format": "tflite"},
            "inputs": [{"name": name} for name in inputs],
            "outputs": [{"name": name} for name in outputs],
            "target": {"machines": [], "threads": 1, "options": {}, **target},
            "golden": {
                "inputs": files["input"],
                "outputs": files["output"],
                "tolerance": {"xnnpack": dict(allowed), "builtin": dict(allowed)},
            },
        }
        self.seal()

    @property
    def golden(self) -> Path:
        """What the native runner reads of the manifest."""
        return self.folder / "c" / "golden.txt"

    def seal(self, text: str | None = None) -> None:
        """Writes golden.txt (another text than the manifest's, if given) and SHA256SUMS."""
        self.golden.write_text(golden_text(self.manifest) if text is None else text)
        names = sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "SHA256SUMS"
        )
        lines = [
            f"{hashlib.sha256((self.folder / n).read_bytes()).hexdigest()}  {n}" for n in names
        ]
        (self.folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")

    def selftest(self, program: Sequence[object], *words: object) -> tuple[int, str, str]:
        """`run selftest` on it."""
        return run(program, "selftest", "--bundle", self.folder, *words)


def other_machine() -> str:
    """A machine that this one is not."""
    return "riscv64" if platform.machine() != "riscv64" else "aarch64"


def int8_model(folder: Path) -> bytes:
    """tests/data/tiny_float.tflite, quantized: convolutions and a dense layer in int8."""
    from fake_work import FakeWork, artifact

    from edgekit.techniques.quantize import Parameters, tflite

    source = Path(__file__).resolve().parents[2] / "data" / "tiny_float.tflite"
    work = FakeWork(folder, artifact(source))
    tflite.apply(Parameters(scheme="int8"), work.source, work)
    return work.output.read_bytes()


def python_outputs(model: bytes, *inputs: Array, kernels: str = "AUTO") -> dict[str, Array]:
    """What LiteRT's Python interpreter answers, by the names of the signature."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=getattr(OpResolverType, kernels),
    )
    interpreter.allocate_tensors()
    names = next(iter(interpreter._get_full_signature_list().values()))["outputs"]
    details = interpreter.get_output_details()
    by_index = {index: name for name, index in names.items()}
    found: dict[str, list[Array]] = {by_index[d["index"]]: [] for d in details}
    for sample in range(len(inputs[0])):
        for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], array[sample : sample + 1])
        interpreter.invoke()
        for detail in details:
            found[by_index[detail["index"]]].append(interpreter.get_tensor(detail["index"]))
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def stored(images: Array) -> Array:
    return np.rint(images * 255 - 128).astype(np.int8)

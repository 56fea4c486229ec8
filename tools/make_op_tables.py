"""Asks LiteRT runtimes which built-in ops they have in which versions.

    python tools/make_op_tables.py [RUNTIME ...] [--check]

Writes targets/ops/RUNTIME.toml: each op with its highest version, in the usual kernels and in the
reference kernels. A runtime says that it lacks an op before it looks at anything else of a model,
so that a model of one operator code and no ops is enough to ask with. --check writes nothing and
fails where a file would change.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgekit.engine.progress import silent
from edgekit.frameworks import isolated
from edgekit.frameworks.isolated import Environment, Requirements

OPS = Path(__file__).resolve().parent.parent / "targets" / "ops"
VERSIONS = range(1, 21)
ASK = Path(__file__).resolve().with_name("ask_op_versions.py")

RUNTIMES = {
    "ai-edge-litert-2.3.0": Requirements(
        "ai-edge-litert",
        ("ai-edge-litert==2.3.0", "numpy==2.4.6"),
        ("3.11",),
        "ai_edge_litert.interpreter",
        35,
        "the table of ai-edge-litert's ops",
    ),
    "tflite-runtime-2.14.0": Requirements(
        "tflite-runtime",
        ("tflite-runtime==2.14.0", "numpy==1.26.4"),
        ("3.11",),
        "tflite_runtime.interpreter",
        25,
        "the table of tflite-runtime's ops",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runtime", nargs="*", choices=[*RUNTIMES, []], default=[])
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    stale = []
    for name in given.runtime or RUNTIMES:
        text, path = table(name), OPS / f"{name}.toml"
        if given.check:
            stale += [] if path.is_file() and path.read_text(encoding="utf-8") == text else [path]
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name}: written")
    for path in stale:
        print(f"{path}: not what the runtime says; make it again with tools/make_op_tables.py")
    return 1 if stale else 0


def table(name: str) -> str:
    """The file for one runtime."""
    requirements = RUNTIMES[name]
    ready = isolated.ensure(requirements, silent)
    known = ask(ready, requirements.module)
    package, _, version = requirements.pins[0].partition("==")
    ops, reference = highest(known["AUTO"]), highest(known["BUILTIN_REF"])
    lower = {op: reference.get(op, 0) for op, n in ops.items() if reference.get(op, 0) != n}
    return "\n".join(
        [
            f'summary = "The built-in ops of {package} {version}, with their highest versions"',
            *("", "[ops]", *rows(ops)),
            *("", "# Where the reference kernels have less: 0 is nothing.", "[reference]"),
            *(*rows(lower), ""),
        ]
    )


def rows(ops: dict[str, int]) -> list[str]:
    return [f"{op} = {version}" for op, version in sorted(ops.items())]


def ask(ready: Environment, module: str) -> dict[str, list[str]]:
    """The ops with their versions (NAME:VERSION) that the runtime has, by its set of kernels."""
    models = {
        f"{name}:{version}": base64.b64encode(model(code, version)).decode()
        for name, code in op_names().items()
        for version in VERSIONS
    }
    with tempfile.TemporaryDirectory() as folder:
        request = {"module": module, "models": models}
        found: dict[str, list[str]] = ready.run(
            ASK, request, folder=Path(folder), limit_seconds=600
        )["known"]
    return found


def highest(keys: list[str]) -> dict[str, int]:
    """Each op's highest version; fails where one is missing between two that are there."""
    versions: dict[str, list[int]] = {}
    for key in keys:
        name, _, version = key.partition(":")
        versions.setdefault(name, []).append(int(version))
    for name, found in versions.items():
        # BROADCAST_TO begins at 2: no file has it in version 1.
        if found != list(range(found[0], found[-1] + 1)) or found[0] > 2:
            raise SystemExit(f"{name}: the versions {found} have a gap: say so in the table")
        if found[-1] == VERSIONS[-1]:
            raise SystemExit(f"{name}: ask for more versions than {VERSIONS[-1]}")
    return {name: found[-1] for name, found in versions.items()}


def op_names() -> dict[str, int]:
    """The built-in ops that the newest schema knows."""
    from ai_edge_litert import schema_py_generated as schema

    given: dict[str, Any] = vars(schema.BuiltinOperator)
    odd = ("CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES", "DELEGATE")
    return {k: v for k, v in given.items() if isinstance(v, int) and k not in odd}


def model(code: int, version: int) -> bytes:
    """A model of one operator code and nothing that uses it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    made, graph, op = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    op.builtinCode, op.deprecatedBuiltinCode, op.version = code, min(code, 127), version
    made.version, made.buffers = 3, [schema.BufferT()]
    made.subgraphs, made.operatorCodes = [graph], [op]
    builder = flatbuffers.Builder(256)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    sys.exit(main())

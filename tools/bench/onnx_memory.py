"""How much memory `quantize` takes on a large .onnx file, in a fresh process.

    python tools/bench/onnx_memory.py --megabytes 1024 [--external] [--verify]

Makes a model of a few large MatMuls, quantizes it, and prints the peak of the process (ru_maxrss)
over the size of the model. The promise is 2.5.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_LIMIT = 2.5
_LAYERS = 8


def make(path: Path, megabytes: int, *, external: bool) -> int:
    """A stack of square MatMuls, written without holding more than one of them; returns bytes."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    side = int((megabytes * 2**20 / 4 / _LAYERS) ** 0.5)
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    for layer in range(_LAYERS):
        values = rng.standard_normal((side, side), np.float32) / side**0.5
        tensors.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(
            helper.make_node(
                "MatMul", [f"h{layer}", f"w{layer}"], [f"h{layer + 1}"], f"matmul{layer}"
            )
        )
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", side])
        for name in ("h0", f"h{_LAYERS}")
    ]
    graph = helper.make_graph(nodes, "large", [ends[0]], [ends[1]], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.data")
    return sum(file.stat().st_size for file in path.parent.iterdir())


def work_on(path: Path, scheme: str, *, verify: bool) -> None:
    """The child: quantizes and prints what it took."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from fake_work import FakeWork, artifact

    from edgekit.runners import onnxruntime as runner
    from edgekit.techniques.quantize import Parameters, onnx

    class Work(FakeWork):
        def predict(self, artifact, inputs):  # type: ignore[no-untyped-def]
            session = runner.open(
                artifact.path, self.describe(artifact).signature, runner.Options(threads=2)
            )
            return session.run(inputs)

    folder = path.parent / "work"
    folder.mkdir()
    work = Work(folder, artifact(path, "onnx"), suffix=".onnx")
    before, started = _peak(), time.perf_counter()
    onnx.apply(Parameters(scheme), work.source, work)
    seconds, applied = time.perf_counter() - started, _peak()
    if verify:
        onnx.verify(Parameters(scheme), work.source, artifact(work.output, "onnx"), work)
    made = sum(file.stat().st_size for file in folder.iterdir())
    found = {
        "before": before,
        "apply": applied,
        "verify": _peak(),
        "seconds": seconds,
        "made": made,
    }
    print(json.dumps(found))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--external", action="store_true")
    parser.add_argument("--scheme", default="dynamic-int8")
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work_on(options.child, options.scheme, verify=options.verify)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.onnx"
        # In a process of its own: a child starts with the peak of its parent.
        make_it = [sys.executable, "-c", _MAKE, str(path), str(options.megabytes)]
        subprocess.run([*make_it, str(int(options.external))], check=True)
        size = sum(file.stat().st_size for file in path.parent.iterdir())
        command = [sys.executable, __file__, "--child", str(path), "--scheme", options.scheme]
        command += ["--verify"] if options.verify else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    ratio = found["verify"] / size
    print(
        f"{options.scheme}, {size / 2**20:.0f} MiB, external={options.external}: "
        f"{found['before'] / 2**20:.0f} MiB at the start, apply {found['apply'] / size:.2f} x, "
        f"in all {ratio:.2f} x, {found['seconds']:.1f} s, result {found['made'] / size:.3f} x"
    )
    return int(ratio > _LIMIT)


_MAKE = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; "
    "from onnx_memory import make; "
    "make(Path(sys.argv[1]), int(sys.argv[2]), external=sys.argv[3] == '1')"
)

if __name__ == "__main__":
    raise SystemExit(main())

"""Runs in onnx2tf's own environment, and imports nothing of edgekit: simplify, then convert.

`python _onnx2tf_child.py ASK.json`, where ASK holds `model`, `folder`, `keep` and `answer`. The
answer is `{"tflite": PATH, "simplified": ""}`, or `{"error": TEXT, "op": KIND, "node": NAME}`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["answer", "main"]

_REPORTED = re.compile(r"op=(?P<op>\S+) node=(?P<node>\S+) .*?message=(?P<said>.*)", re.DOTALL)


def answer(asked: dict[str, Any]) -> dict[str, str]:
    """Converts, and says what came out or at which op it failed."""
    unsimplified = _simplify(Path(asked["model"]))
    try:
        _convert(asked)
    # onnx2tf raises its own undocumented kinds, and ends the process where it gives up.
    except (Exception, SystemExit) as error:
        return _failure(error)
    made = sorted(Path(asked["folder"]).glob("*_float32.tflite"))
    if not made:
        return {"error": "it wrote no .tflite", "op": "", "node": ""}
    return {"tflite": str(made[0]), "simplified": unsimplified}


def _simplify(path: Path) -> str:
    """Folds constants and shapes, which onnx2tf relies on; returns why it could not, or ''."""
    try:
        import onnx
        import onnxsim  # type: ignore[import-not-found,unused-ignore]

        model, _ = onnxsim.simplify(onnx.load(str(path)))
        onnx.save(model, str(path))
    except Exception as error:
        return _line(error)
    return ""


def _convert(asked: dict[str, Any]) -> None:
    import onnx2tf  # type: ignore[import-not-found,unused-ignore]

    onnx2tf.convert(
        input_onnx_file_path=asked["model"],
        output_folder_path=asked["folder"],
        keep_shape_absolutely_input_names=asked["keep"],
        not_use_onnxsim=True,
        not_use_opname_auto_generate=True,
        non_verbose=True,
    )


def _failure(error: BaseException) -> dict[str, str]:
    found = _REPORTED.search(str(error))
    if found:
        return {"error": _line(found["said"]), "op": found["op"], "node": found["node"]}
    op, node = _node(error.__traceback__)
    return {"error": _line(error), "op": op, "node": node}


def _node(trace: TracebackType | None) -> tuple[str, str]:
    """The op and the name of the node that was converted when it failed: a variable `node`."""
    found = ("", "")
    while trace is not None:
        node = trace.tb_frame.f_locals.get("node")
        op = getattr(node, "op", None) or getattr(node, "op_type", None)
        if isinstance(op, str):
            found = (op, str(getattr(node, "name", "")))
        trace = trace.tb_next
    return found


def _line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)[:300].rstrip(".")
    return text or type(error).__name__


def main() -> None:
    """Reads what is asked, and writes the answer beside it."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(asked["answer"]).write_text(json.dumps(answer(asked)), encoding="utf-8")


if __name__ == "__main__":
    main()

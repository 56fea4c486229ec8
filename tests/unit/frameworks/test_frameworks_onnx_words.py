"""The errors of ONNX Runtime in a user's words; the texts are those of version 1.31."""

from __future__ import annotations

import pytest

from edgekit.frameworks.onnx_words import runtime_words

_RUNNING = "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running "
_CORE = "/onnxruntime_src/onnxruntime/core/providers/cpu"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"{_RUNNING}Mul node. Name:'keep' Status Message: {_CORE}/math/element_wise_ops.h:583 "
            "void onnxruntime::BroadcastIterator::Append(ptrdiff_t, ptrdiff_t) axis == 1 || axis "
            "== largest was false. Attempting to broadcast an axis by a dimension other than 1. "
            "5 by 6\n",
            "node 'keep' (Mul): Attempting to broadcast an axis by a dimension other than 1. "
            "5 by 6",
        ),
        (
            f"{_RUNNING}MatMul node. Name:'mm' Status Message: matmul_helper.h:59 Compute MatMul "
            "dimension mismatch",
            "node 'mm' (MatMul): MatMul dimension mismatch",
        ),
        (
            f"{_RUNNING}Gather node. Name:'' Status Message: indices element out of data bounds",
            "node '' (Gather): indices element out of data bounds",
        ),
        (
            "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from m.onnx failed:Node (a) has "
            "no output.\nAnd more",
            "Node (a) has no output",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : ", ""),
        ("something else", ""),
    ],
)
def test_words(text: str, words: str) -> None:
    assert runtime_words(RuntimeError(text)) == words

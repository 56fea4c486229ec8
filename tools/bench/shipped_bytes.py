"""Says tensor by tensor what holds the shipped (xz) bytes of a compressed `.tflite`.

    PYTHONPATH=. python tools/bench/shipped_bytes.py MODEL.tflite [FLOAT.tflite]

For every constant: zeros, different values, the entropy of its values (what an ideal coder without
context needs for them), and its bytes after xz alone. "the rest" is the file with those bytes
taken out. The parts are compressed one by one, so they do not add up to the whole.
"""

from __future__ import annotations

import argparse
import lzma
from pathlib import Path

import numpy as np

from edgekit.frameworks.tflite import read_model

_RAW = [{"id": lzma.FILTER_LZMA2, "preset": 6}]


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("reference", type=Path, nargs="?")
    options = parser.parse_args()
    content, model = options.model.read_bytes(), read_model(options.model)
    print("| constant | shape | type | zeros | values | entropy | xz alone |")
    print("|---|---|---|---|---|---|---|")
    rest, total = content, 0
    for tensor in model.subgraphs[0].tensors:
        if not tensor.is_constant or not tensor.size_bytes:
            continue
        data = bytes(model.buffer(tensor.buffer))
        raw = np.frombuffer(data, tensor.dtype)
        rest = rest.replace(data, b"", 1)
        total += len(raw)
        counts = np.unique(raw, return_counts=True)[1]
        shares = counts / counts.sum()
        entropy = float(-(shares * np.log2(shares)).sum()) * len(raw) / 8
        shape = "x".join(map(str, tensor.shape)) or "1"
        print(
            f"| {tensor.name or f'tensor {tensor.index}'} | {shape} | {tensor.dtype} "
            f"| {100 * float((raw == 0).mean()):.1f} % | {len(counts)} | {entropy:,.0f} B "
            f"| {packed(raw.tobytes()):,} B |"
        )
    print(f"| the rest: graph, scales, names | | | | | | {packed(rest):,} B of {len(rest):,} |")
    whole = len(lzma.compress(content))
    print(f"| the file: {len(content):,} B, {total:,} constants | | | | | | {whole:,} B |")
    if options.reference:
        before = options.reference.read_bytes()
        small = len(lzma.compress(before))
        print(
            f"\nfloat: {len(before):,} B, {small:,} B after xz; {len(before) / whole:.0f}x and "
            f"{small / whole:.0f}x smaller"
        )


def packed(content: bytes) -> int:
    """Bytes after xz without the container's 60 or so."""
    return len(lzma.compress(content, lzma.FORMAT_RAW, filters=_RAW))


if __name__ == "__main__":
    main()

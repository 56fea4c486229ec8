"""C sources of invented models, as the generator gives them, for what builds and runs those."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edgekit.core.artifact import Quantization, TensorSpec
from edgekit.devices import _cortex_m_tools
from edgekit.devices._cortex_m_cores import CORES
from edgekit.mcu.generate import Sources

__all__ = ["HEADER", "INPUT", "OUTPUT", "needs_emulator", "sources", "two_tensors", "wanted"]

INPUT = TensorSpec("x", (1, 4), "int8", Quantization(0.5, 3))
OUTPUT = TensorSpec("y", (1, 2), "int16", Quantization(0.25, 0))

HEADER = b"""#ifndef EK_MODEL_H
#define EK_MODEL_H
#include <stdint.h>
#define EK_ARENA_BYTES 32
#define EK_INPUT_COUNT 1
#define EK_OUTPUT_COUNT 1
#define EK_INPUT_0_BYTES 4
#define EK_OUTPUT_0_BYTES 4
int8_t *ek_input(int index);
const int8_t *ek_output(int index);
void ek_invoke(void);
#endif
"""

_TENSORS = """#include "ek_model.h"
static int8_t arena[EK_ARENA_BYTES] __attribute__((aligned(16)));
int8_t *ek_input(int index) { (void)index; return arena; }
const int8_t *ek_output(int index) { (void)index; return arena + 16; }
"""

_SUMS = """static const int8_t weights[4] = {1, 2, 3, 4};
void ek_invoke(void) {
    int32_t sum = 0;
    for (int place = 0; place < 4; place++) { sum += arena[place] * weights[place]; }
    int16_t *into = (int16_t *)(void *)(arena + 16);
    into[0] = (int16_t)sum;
    into[1] = (int16_t)-sum;
    for (int place = 0; place < 4; place++) { arena[place] = 0; } /* As one that shares memory. */
}
"""


def wanted(x: np.ndarray) -> np.ndarray:
    """What the model computes: a weighted sum, and the same with the other sign."""
    total = x.astype(np.int16) @ np.array([1, 2, 3, 4], np.int16)
    return np.stack([total, -total], axis=1).astype(np.int16)


def sources(invoke: str = _SUMS, **files: bytes) -> Sources:
    """One input and one output; `invoke` is the C of ek_invoke()."""
    own = {"ek_model.h": HEADER, "ek_model.c": (_TENSORS + invoke).encode(), **files}
    return Sources(own, 32, 4, (INPUT,), (OUTPUT,), ("FULLY_CONNECTED", "NEG"))


def two_tensors() -> Sources:
    """The outputs are the inputs, the other way round: one int8, and one int32 with a shape."""
    header = HEADER.replace(b"COUNT 1", b"COUNT 2")
    code = """#include "ek_model.h"
static int8_t small[3];
static int8_t large[24] __attribute__((aligned(4)));
int8_t *ek_input(int index) { return index ? large : small; }
const int8_t *ek_output(int index) { return index ? small : large; }
void ek_invoke(void) { small[0]++; }
"""
    a, b = TensorSpec("a", (1, 3), "int8"), TensorSpec("b", (1, 2, 3), "int32")
    files = {"ek_model.h": header, "ek_model.c": code.encode()}
    return Sources(files, 27, 0, (a, b), (b, a), ("IDENTITY",))


_MISSING = _cortex_m_tools.problem(CORES["cortex-m4"]) or ("" if shutil.which("make") else "make")
needs_emulator = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)

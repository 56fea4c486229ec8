"""The C++ texts for TensorFlow Lite Micro; `$name` stands for what a model puts there."""

from __future__ import annotations

from string import Template

__all__ = ["GOLDEN_DATA_H", "GOLDEN_TEST", "MAKEFILE", "MODEL_DATA_H", "OP_RESOLVER", "README"]

MODEL_DATA_H = Template("""\
// Made by edgekit of $name, SHA-256 $sha256.
#ifndef EDGEKIT_MODEL_DATA_H_
#define EDGEKIT_MODEL_DATA_H_

#include <cstddef>

extern const unsigned char g_model[];
constexpr std::size_t kModelBytes = $model_bytes;

// What the interpreter needs for tensors and its own structures, by a build for 64 bits.
// On the microcontroller arena_used_bytes() says what it really takes.
constexpr std::size_t kTensorArenaBytes = $arena_bytes;

#endif  // EDGEKIT_MODEL_DATA_H_
""")

OP_RESOLVER = Template("""\
// Made by edgekit of $name: the ops of this model and no others, so that no other is linked.
#ifndef EDGEKIT_OP_RESOLVER_H_
#define EDGEKIT_OP_RESOLVER_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

// TFLM's classes are in tflite; releases since autumn 2026 have them in tflite::micro.
namespace tflite {
namespace micro {}
}  // namespace tflite

namespace edgekit {
using namespace tflite;
using namespace tflite::micro;

using ModelOpResolver = MicroMutableOpResolver<$count>;

// TfLiteStatus is 0 where all is well.
inline bool RegisterOps(ModelOpResolver& resolver) {
  return true$calls;
}
}  // namespace edgekit

#endif  // EDGEKIT_OP_RESOLVER_H_
""")

GOLDEN_DATA_H = Template("""\
// Made by edgekit of $name: inputs, and the outputs that they must give.
#ifndef EDGEKIT_GOLDEN_DATA_H_
#define EDGEKIT_GOLDEN_DATA_H_

#include <cstddef>

enum class GoldenType { kInt8, kUint8, kInt16, kInt32, kFloat32 };

struct GoldenTensor {
  const unsigned char* data;  // As in memory, little-endian.
  std::size_t bytes;
  GoldenType type;
};

constexpr int kGoldenSamples = $samples;
constexpr int kGoldenInputs = $inputs;
constexpr int kGoldenOutputs = $outputs;

// Integers may be off by so much; floats by so many millionths of the largest one.
constexpr long kGoldenLsb = $lsb;
constexpr long kGoldenMillionths = $millionths;

extern const GoldenTensor g_golden_inputs[kGoldenSamples][kGoldenInputs];
extern const GoldenTensor g_golden_outputs[kGoldenSamples][kGoldenOutputs];

#endif  // EDGEKIT_GOLDEN_DATA_H_
""")

GOLDEN_TEST = """\
// Made by edgekit: runs the golden inputs and compares the outputs. Returns 0 where all is well.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "golden_data.h"
#include "model_data.h"
#include "op_resolver.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace edgekit {
namespace {

alignas(16) std::uint8_t tensor_arena[kTensorArenaBytes];

template <typename T>
long LargestDifference(const void* found, const unsigned char* wanted, std::size_t bytes) {
  long largest = 0;
  for (std::size_t at = 0; at + sizeof(T) <= bytes; at += sizeof(T)) {
    T a, b;
    std::memcpy(&a, static_cast<const unsigned char*>(found) + at, sizeof(T));
    std::memcpy(&b, wanted + at, sizeof(T));
    const long long off = static_cast<long long>(a) - static_cast<long long>(b);
    const long long size = off < 0 ? -off : off;
    if (size > largest) largest = size > 2147483647LL ? 2147483647L : static_cast<long>(size);
  }
  return largest;
}

long DifferenceInMillionths(const void* found, const unsigned char* wanted, std::size_t bytes) {
  float largest = 0.0f, off = 0.0f;
  for (std::size_t at = 0; at + sizeof(float) <= bytes; at += sizeof(float)) {
    float a, b;
    std::memcpy(&a, static_cast<const unsigned char*>(found) + at, sizeof(float));
    std::memcpy(&b, wanted + at, sizeof(float));
    const float size = std::fabs(b), distance = std::fabs(a - b);
    if (!(distance <= 3.0e38f)) return 2147483647L;  // Not a number.
    if (size > largest) largest = size;
    if (distance > off) off = distance;
  }
  const float millionths = 1.0e6f * (largest > 0.0f ? off / largest : off);
  return millionths < 2.0e9f ? static_cast<long>(std::ceil(millionths)) : 2147483647L;
}

long Difference(const void* found, const GoldenTensor& wanted) {
  switch (wanted.type) {
    case GoldenType::kInt8:
      return LargestDifference<std::int8_t>(found, wanted.data, wanted.bytes);
    case GoldenType::kUint8:
      return LargestDifference<std::uint8_t>(found, wanted.data, wanted.bytes);
    case GoldenType::kInt16:
      return LargestDifference<std::int16_t>(found, wanted.data, wanted.bytes);
    case GoldenType::kInt32:
      return LargestDifference<std::int32_t>(found, wanted.data, wanted.bytes);
    default:
      return DifferenceInMillionths(found, wanted.data, wanted.bytes);
  }
}

bool CheckSample(MicroInterpreter& interpreter, int sample) {
  for (int i = 0; i < kGoldenInputs; ++i) {
    const GoldenTensor& golden = g_golden_inputs[sample][i];
    auto* input = interpreter.input(i);
    if (input == nullptr || input->bytes != golden.bytes) {
      MicroPrintf("input %d: takes another number of bytes", i);
      return false;
    }
    std::memcpy(input->data.raw, golden.data, golden.bytes);
  }
  if (static_cast<int>(interpreter.Invoke()) != 0) {
    MicroPrintf("sample %d: the inference failed", sample);
    return false;
  }
  bool good = true;
  for (int i = 0; i < kGoldenOutputs; ++i) {
    const GoldenTensor& golden = g_golden_outputs[sample][i];
    auto* output = interpreter.output(i);
    if (output == nullptr || output->bytes != golden.bytes) {
      MicroPrintf("output %d: has another number of bytes", i);
      return false;
    }
    const bool real = golden.type == GoldenType::kFloat32;
    const long off = Difference(output->data.raw, golden);
    const long allowed = real ? kGoldenMillionths : kGoldenLsb;
    MicroPrintf("sample %d, output %d: off by %d %s (%d allowed)", sample, i,
                static_cast<int>(off), real ? "millionths" : "LSB", static_cast<int>(allowed));
    good = good && off <= allowed;
  }
  return good;
}

int Run() {
  InitializeTarget();
  ModelOpResolver resolver;
  if (!RegisterOps(resolver)) {
    MicroPrintf("the op resolver does not take the ops of the model");
    return 1;
  }
  MicroInterpreter interpreter(GetModel(g_model), resolver, tensor_arena, kTensorArenaBytes);
  if (static_cast<int>(interpreter.AllocateTensors()) != 0) {
    MicroPrintf("the arena of %d bytes is too small, or an op refuses the model",
                static_cast<int>(kTensorArenaBytes));
    return 1;
  }
  MicroPrintf("arena: %d of %d bytes used", static_cast<int>(interpreter.arena_used_bytes()),
              static_cast<int>(kTensorArenaBytes));
  bool good = true;
  for (int sample = 0; sample < kGoldenSamples; ++sample) {
    good = CheckSample(interpreter, sample) && good;
  }
  MicroPrintf(good ? "golden test: ok" : "golden test: FAILED");
  return good ? 0 : 1;
}

}  // namespace
}  // namespace edgekit

int main() { return edgekit::Run(); }
"""

MAKEFILE = """\
# A part for your Makefile, which builds TensorFlow Lite Micro already: `include tflm.mk`, then add
# EDGEKIT_TFLM_SOURCES to what your program is made of, and EDGEKIT_TFLM_INCLUDES to its flags.
# EDGEKIT_TFLM_TEST is a program of its own, the golden test, which has a main().
EDGEKIT_TFLM := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
EDGEKIT_TFLM_SOURCES := $(EDGEKIT_TFLM)/model_data.cc
EDGEKIT_TFLM_TEST := $(EDGEKIT_TFLM_SOURCES) $(EDGEKIT_TFLM)/golden_data.cc \\
                     $(EDGEKIT_TFLM)/golden_test.cc
EDGEKIT_TFLM_INCLUDES := -I$(EDGEKIT_TFLM)
"""

README = Template("""\
# $name for TensorFlow Lite Micro

C++ sources that bring this model into a program with TensorFlow Lite Micro (TFLM), the library for
microcontrollers. TFLM itself is not here: you have it from your board's vendor, from Arduino or
Zephyr, or from github.com/tensorflow/tflite-micro.

| file | what it is |
|---|---|
| `model_data.cc`, `model_data.h` | the model, $model_bytes bytes, and its arena's size |
| `op_resolver.h` | the $count ops that the model has, so that no other is linked: $methods |
| `golden_data.cc`, `golden_data.h` | $samples samples with the outputs that they must give |
| `golden_test.cc` | a program that runs them and says how far the outputs are off |
| `tflm.mk` | a part for a Makefile |

## Use it

1. Put the files beside your own, and TFLM's root on the include path.
2. Build `golden_test.cc` with `model_data.cc` and `golden_data.cc` as a program, and run it on the
   board. It ends with `golden test: ok`. C++17 is needed, as for TFLM.
3. Then do in your program what `Run()` does there: resolver, interpreter, arena, `Invoke()`.

## The arena

`kTensorArenaBytes` is $arena_bytes: the least that the model ran in with TFLM's interpreter on a
64-bit computer. A microcontroller of 32 bits needs less, because pointers are half as long; kernels
for a processor (CMSIS-NN) may need more for scratch buffers. The golden test prints what is used;
give a little more than that.

## What was checked, and what was not

The names of the methods are those of TFLM of August 2026 (commit 90b983c). edgekit's tests compile
sources like these against small stand-ins for TFLM's headers only, because no TFLM comes with
edgekit. By hand, sources of five int8 models and a float one were compiled once with that TFLM on a
64-bit computer: all outputs were those of its Python package, bit by bit. These very files were not
compiled with yours: the golden test is what proves them on your board.
""")

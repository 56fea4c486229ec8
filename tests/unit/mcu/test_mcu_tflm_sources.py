"""C++ for TensorFlow Lite Micro: compiled against stand-ins for its headers, and run with them.

A stand-in's "model" copies the first values of its input. No TFLM is there to compile with.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.frameworks.tflite import parse, read_model
from edgekit.mcu.tflm_ops import BUILTIN, CUSTOM, resolver_methods
from edgekit.mcu.tflm_sources import tflm_sources

RESOLVER = """
#pragma once
typedef enum {{ kTfLiteOk = 0, kTfLiteError = 1 }} TfLiteStatus;
{open}
template <unsigned N> class MicroMutableOpResolver {{
 public:
  {methods}
 private:
  TfLiteStatus Add() {{ return added_++ < N ? kTfLiteOk : kTfLiteError; }}
  unsigned added_ = 0;
}};
{close}
"""
INTERPRETER = """
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
union TfLitePtrUnion {{ char* raw; }};
struct TfLiteTensor {{ TfLitePtrUnion data; size_t bytes; }};
{open}
class MicroInterpreter {{
 public:
  template <typename Resolver>
  MicroInterpreter(const tflite::Model*, const Resolver&, uint8_t* arena, size_t size)
      : size_(size), in_{{{{reinterpret_cast<char*>(arena)}}, 256}},
        out_{{{{reinterpret_cast<char*>(arena) + 256}}, 40}} {{}}
  TfLiteStatus AllocateTensors() {{ return size_ < 296 ? kTfLiteError : kTfLiteOk; }}
  TfLiteStatus Invoke() {{ std::memcpy(out_.data.raw, in_.data.raw, 40); return kTfLiteOk; }}
  TfLiteTensor* input(size_t) {{ return &in_; }}
  TfLiteTensor* output(size_t) {{ return &out_; }}
  size_t arena_used_bytes() const {{ return 296; }}
 private:
  size_t size_;
  TfLiteTensor in_, out_;
}};
{close}
"""
LOG = """
#pragma once
#include <cstdarg>
#include <cstdio>
inline void MicroPrintf(const char* format, ...) {{
  va_list args;
  va_start(args, format);
  std::vprintf(format, args);
  va_end(args);
  std::printf("\\n");
}}
"""
SCHEMA = """
#pragma once
namespace tflite {{
struct Model {{}};
inline const Model* GetModel(const void* data) {{ return static_cast<const Model*>(data); }}
}}
"""
SETUP = "#pragma once\n{open}\ninline void InitializeTarget() {{}}\n{close}\n"
HEADERS = {
    "micro/micro_mutable_op_resolver.h": RESOLVER,
    "micro/micro_interpreter.h": INTERPRETER,
    "micro/micro_log.h": LOG,
    "micro/system_setup.h": SETUP,
    "schema/schema_generated.h": SCHEMA,
}
NAMESPACES = {
    "tflite": ("namespace tflite {", "}"),
    "tflite::micro": ("namespace tflite { namespace micro {", "} }"),
}
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-DTF_LITE_STATIC_MEMORY")


def golden(samples: int = 2) -> tuple[list[Any], list[Any]]:
    """What the stand-in's model gives for tiny_float's shapes."""
    x = np.random.default_rng(0).normal(size=(samples, 8, 8, 1)).astype(np.float32)
    return [x], [x.reshape(samples, -1)[:, :10].copy()]


def written(folder: Path, path: Path, **own: Any) -> Path:
    asked: dict[str, Any] = {"arena_bytes": 1024, "golden": golden(), **own}
    for name, content in tflm_sources(path, **asked).items():
        (folder / name).write_bytes(content)
    return folder


def stand_ins(folder: Path, namespace: str) -> Path:
    opening, closing = NAMESPACES[namespace]
    methods = "\n  ".join(
        f"TfLiteStatus {name}() {{ return Add(); }}"
        for name in sorted({*BUILTIN.values(), *CUSTOM.values()})
    )
    for name, text in HEADERS.items():
        path = folder / "tensorflow" / "lite" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(open=opening, close=closing, methods=methods))
    return folder


def compiled(folder: Path, namespace: str = "tflite") -> subprocess.CompletedProcess[str]:
    """The golden test, built and run."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    program = folder / "golden"
    include = stand_ins(folder / "stand_ins", namespace)
    done = subprocess.run(
        [compiler, *FLAGS, f"-I{include}", *map(str, folder.glob("*.cc")), "-o", str(program)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return subprocess.run([program], capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_sources_compile_and_their_golden_test_passes(
    tmp_path: Path, tiny_float: Path, namespace: str
) -> None:
    done = compiled(written(tmp_path, tiny_float), namespace)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [
        "arena: 296 of 1024 bytes used",
        "sample 0, output 0: off by 0 millionths (10 allowed)",
        "sample 1, output 0: off by 0 millionths (10 allowed)",
        "golden test: ok",
    ]


def test_outputs_that_are_off_fail_the_golden_test(tmp_path: Path, tiny_float: Path) -> None:
    inputs, outputs = golden()
    outputs[0][1, 3] += 0.01 * abs(outputs[0][1]).max()
    done = compiled(written(tmp_path, tiny_float, golden=(inputs, outputs)))
    assert done.returncode == 1
    assert "sample 0, output 0: off by 0 millionths" in done.stdout
    assert "sample 1, output 0: off by 10" in done.stdout
    assert done.stdout.endswith("golden test: FAILED\n")


def test_an_output_that_is_no_number_fails_it(tmp_path: Path, tiny_float: Path) -> None:
    inputs, outputs = golden()
    inputs[0][0, 0, 0, 0] = np.nan
    done = compiled(written(tmp_path, tiny_float, golden=(inputs, outputs)))
    assert done.returncode == 1
    assert "off by 2147483647 millionths" in done.stdout


def test_an_arena_that_is_too_small_fails_it(tmp_path: Path, tiny_float: Path) -> None:
    done = compiled(written(tmp_path, tiny_float, arena_bytes=200))
    assert done.returncode == 1
    assert "the arena of 200 bytes is too small" in done.stdout


def test_the_model_is_in_there_byte_by_byte(tmp_path: Path, tiny_float: Path) -> None:
    files = tflm_sources(tiny_float, arena_bytes=1024, golden=golden())
    rows = files["model_data.cc"].decode().split("{\n")[1].split("};")[0]
    assert bytes(int(word, 16) for word in rows.replace(",", " ").split()) == (
        tiny_float.read_bytes()
    )
    assert f"kModelBytes = {tiny_float.stat().st_size};" in files["model_data.h"].decode()


def test_the_resolver_has_the_ops_of_the_model_and_no_others(tiny_float: Path) -> None:
    files = tflm_sources(tiny_float, arena_bytes=1024, golden=golden())
    text = files["op_resolver.h"].decode()
    assert "MicroMutableOpResolver<6>" in text
    assert re.findall(r"resolver\.(\w+)\(\)", text) == [
        *("AddConv2D", "AddDepthwiseConv2D", "AddMaxPool2D", "AddReshape"),
        *("AddFullyConnected", "AddSoftmax"),
    ]


def test_the_readme_says_what_was_not_checked(tiny_float: Path) -> None:
    text = tflm_sources(tiny_float, arena_bytes=1024, golden=golden())["README.md"].decode()
    assert "stand-ins for TFLM's headers only" in text
    assert "`kTensorArenaBytes` is 1024" in text
    assert "`AddSoftmax`" in text


def test_the_same_model_gives_the_same_bytes(tiny_float: Path) -> None:
    one, other = (tflm_sources(tiny_float, arena_bytes=9, golden=golden()) for _ in range(2))
    assert one == other


def test_the_makefile_part_finds_its_own_folder(tmp_path: Path, tiny_float: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    inner = tmp_path / "tflm"
    inner.mkdir()
    written(inner, tiny_float)
    (tmp_path / "Makefile").write_text("include tflm/tflm.mk\nall:\n\t@ls $(EDGEKIT_TFLM_TEST)\n")
    done = subprocess.run([make, "-C", tmp_path], capture_output=True, text=True, check=True)
    for name in ("model_data.cc", "golden_data.cc", "golden_test.cc"):
        assert f"tflm/{name}" in done.stdout


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *(("CONV_2D", "AddConv2D"), ("L2_POOL_2D", "AddL2Pool2D"), ("RELU6", "AddRelu6")),
        *(("PADV2", "AddPadV2"), ("SPLIT_V", "AddSplitV"), ("CUMSUM", "AddCumSum")),
        *(("BATCH_TO_SPACE_ND", "AddBatchToSpaceNd"), ("SELECT_V2", "AddSelectV2")),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
        ("RESIZE_NEAREST_NEIGHBOR", "AddResizeNearestNeighbor"),
    ],
)
def test_a_method_is_called_as_tflm_calls_it(kind: str, method: str) -> None:
    assert BUILTIN[kind] == method
    assert len(BUILTIN) == 100


def renamed(path: Path, *, kind: str = "SOFTMAX", custom: str = "") -> Any:
    """The parsed model with its last op replaced."""
    import dataclasses

    model = read_model(path)
    graph = model.subgraphs[0]
    last = dataclasses.replace(graph.operations[-1], kind=kind, custom_code=custom)
    operations = (*graph.operations[:-1], last)
    return dataclasses.replace(
        model, subgraphs=(dataclasses.replace(graph, operations=operations),)
    )


def test_a_custom_op_that_tflm_knows_is_taken(tiny_float: Path) -> None:
    model = renamed(tiny_float, kind="CUSTOM", custom="ethos-u")
    assert resolver_methods(model, "m")[-1] == "AddEthosU"


@pytest.mark.parametrize(
    ("kind", "custom", "sentence"),
    [
        ("ERF", "", r"^m: TensorFlow Lite Micro has no op 'ERF' \(op 5\)$"),
        ("CUSTOM", "Foo", r"^m: TensorFlow Lite Micro has no op 'Foo' \(op 5\)$"),
        ("VAR_HANDLE", "", r"^m: has VAR_HANDLE \(op 5\), which needs resource variables"),
    ],
)
def test_an_op_that_cannot_be_registered_is_named(
    tiny_float: Path, kind: str, custom: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        resolver_methods(renamed(tiny_float, kind=kind, custom=custom), "m")
    assert refused.value.hint


def test_golden_arrays_of_another_model_are_refused(tiny_float: Path) -> None:
    (x,), (y,) = golden()
    for given in (([x], [y[:, :9]]), ([x.astype(np.int8)], [y]), ([x, x], [y]), ([x], [])):
        with pytest.raises(UsageError, match="the model has 64 float32, 10 float32$"):
            tflm_sources(tiny_float, arena_bytes=1, golden=given)


def test_golden_arrays_of_different_lengths_are_refused(tiny_float: Path) -> None:
    (x,), (y,) = golden()
    with pytest.raises(UsageError, match=r"golden arrays of \[1, 2\] samples"):
        tflm_sources(tiny_float, arena_bytes=1, golden=([x], [y[:1]]))
    with pytest.raises(UsageError, match=r"golden arrays of \[65\] samples"):
        tflm_sources(tiny_float, arena_bytes=1, golden=golden(65))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"m\.tflite"):
        tflm_sources(path, arena_bytes=1, golden=golden())


def test_a_file_beyond_any_flash_is_refused(
    tmp_path: Path, tiny_float: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.mcu.tflm_sources._MOST_MODEL_BYTES", 4000)
    with pytest.raises(UsageError, match="more than the flash of any microcontroller"):
        tflm_sources(tiny_float, arena_bytes=1, golden=golden())


def test_an_output_that_cannot_be_compared_is_refused(
    tiny_float: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(
        __import__("edgekit.mcu.tflm_sources", fromlist=["_TYPES"])._TYPES, "float32"
    )
    with pytest.raises(UsageError, match="its input 0 is float32, which the golden test does not"):
        tflm_sources(tiny_float, arena_bytes=1, golden=golden())


def test_a_name_stays_in_its_comment(tmp_path: Path, tiny_float: Path) -> None:
    path = tmp_path / "a\nint x; *$name|.tflite"
    path.write_bytes(tiny_float.read_bytes())
    files = tflm_sources(path, arena_bytes=1024, golden=golden())
    assert files["model_data.cc"].decode().splitlines()[0] == (
        "// Made by edgekit of a_int x_ __name_.tflite."
    )
    assert parse(path.read_bytes(), where="m")

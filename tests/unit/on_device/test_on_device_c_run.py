"""The native runner over the installed libLiteRt.so: selftest, infer, bench, info."""

from __future__ import annotations

import json
import platform
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_runner import (
    SANITIZED,
    SOURCES,
    Bundle,
    build,
    compiler,
    int8_model,
    library_folder,
    other_machine,
    python_outputs,
    run,
    stored,
)

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)
IMAGES = RNG.random((8, 8, 8, 1), np.float32)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Built as a user builds it, with sanitizers."""
    folder = tmp_path_factory.mktemp("built") / "c"
    return [build(folder, compiler(), SANITIZED, library_folder())]


@pytest.fixture(scope="module")
def builder() -> Iterator[Any]:
    """The builder of small .tflite files that the tests of the runners use."""
    folder = str(Path(__file__).resolve().parents[1] / "runners")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import tflite_builder

        yield tflite_builder


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return int8_model(tmp_path_factory.mktemp("int8"))


@pytest.fixture
def digits(tmp_path: Path, int8: bytes) -> Bundle:
    """A bundle of the int8 model with golden outputs of the reference kernels."""
    expected = python_outputs(int8, stored(IMAGES), kernels="BUILTIN_REF")
    return Bundle(tmp_path / "b", int8, {"image": stored(IMAGES)}, expected)


# selftest


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
def test_selftest_of_a_good_bundle(program: list[Path], digits: Bundle, kernels: str) -> None:
    code, out, error = digits.selftest(program, "--kernels", kernels, "--threads", "2")
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "files: the 4 of SHA256SUMS are whole"
    assert lines[1].startswith("output 'probs': ok: largest difference ")
    assert " LSB, 2 allowed; " in lines[1]
    assert lines[2].startswith("placement: not checked")
    assert lines[3] == f"ok: 8 samples, kernels {kernels}, threads 2"


def test_the_folder_above_the_program_is_its_bundle(program: list[Path], digits: Bundle) -> None:
    own = digits.folder / "c" / "run"
    own.write_bytes(program[0].read_bytes())
    own.chmod(0o755)
    code, out, error = run([own], "selftest")
    assert (code, error) == (0, ""), out


def test_selftest_of_a_float_model(program: list[Path], tmp_path: Path, tiny_float: Path) -> None:
    model = tiny_float.read_bytes()
    expected = python_outputs(model, IMAGES, kernels="BUILTIN_REF")
    bundle = Bundle(tmp_path / "b", model, {"image": IMAGES}, expected)
    assert bundle.selftest(program)[0] == 0
    expected["probs"][3, 4] += 2e-4
    code, out, error = Bundle(tmp_path / "c", model, {"image": IMAGES}, expected).selftest(program)
    assert code == 1
    assert "output 'probs': OUTSIDE THE TOLERANCE: largest difference 0.000" in out
    assert error == "error: the outputs are outside the tolerance for the kernels xnnpack\n"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_outside_every_tolerance(
    program: list[Path], tmp_path: Path, tiny_float: Path, wrong: float
) -> None:
    expected = python_outputs(tiny_float.read_bytes(), IMAGES)
    expected["probs"][7, 9] = wrong
    bundle = Bundle(tmp_path / "b", tiny_float.read_bytes(), {"image": IMAGES}, expected)
    assert bundle.selftest(program)[0] == 1


def test_an_int8_output_three_off_is_outside_of_two(program: list[Path], digits: Bundle) -> None:
    file = digits.folder / "golden/output_0.npy"
    expected = np.load(file)
    expected[0, 0] += -3 if expected[0, 0] > 0 else 3
    expected[0, 0] += -2 if expected[0, 0] > 0 else 2
    np.save(file, expected)
    digits.seal()
    code, out, _ = digits.selftest(program)
    assert code == 1
    assert "OUTSIDE THE TOLERANCE" in out
    assert out.splitlines()[-1] == "failed: 8 samples, kernels xnnpack, threads 1"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b.folder / "model.tflite").write_bytes(b"x"), "/model.tflite: is damaged"),
        (lambda b: (b.folder / "golden/input_0.npy").unlink(), "input_0.npy: No such file"),
        (lambda b: b.golden.unlink(), "/c/golden.txt: No such file or directory"),
        (lambda b: (b.folder / "SHA256SUMS").unlink(), "/SHA256SUMS: No such file or directory"),
        (lambda b: b.seal("{}"), "/c/golden.txt: line 1 is not 'edgekit-golden/1'"),
    ],
)
def test_a_damaged_bundle_is_refused_and_nothing_runs(
    program: list[Path], digits: Bundle, damage: Callable[[Bundle], object], message: str
) -> None:
    damage(digits)
    # Nothing is executed: the library that it would need is not even looked for.
    code, out, error = digits.selftest(program, "--library", "/nowhere/libLiteRt.so")
    assert (code, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("input_0", stored(IMAGES)[..., 0], "is int8 of shape 8x8x8, the tensor 'image' takes"),
        ("input_0", IMAGES, "is float32 of shape 8x8x8x1, the tensor 'image' takes int8 of shape"),
        ("input_0", stored(IMAGES)[:0], "is int8 of shape 0x8x8x1, the tensor 'image' takes"),
        ("output_0", np.zeros((7, 10), np.int8), "has not one output for each of the 8 samples"),
        ("output_0", np.zeros((8, 9), np.int8), "is int8 of shape 8x9, the tensor 'probs' takes"),
    ],
)
def test_golden_arrays_that_are_not_the_models(
    program: list[Path], digits: Bundle, name: str, array: Array, message: str
) -> None:
    np.save(digits.folder / f"golden/{name}.npy", array)
    digits.seal()
    code, out, error = digits.selftest(program)
    assert (code, out) == (2, "")
    assert message in error


def test_another_machine_is_refused_unless_it_is_asked_for(
    program: list[Path], digits: Bundle
) -> None:
    digits.manifest["target"]["machines"] = [other_machine()]
    digits.seal()
    code, _, error = digits.selftest(program)
    assert (code, error) == (
        2,
        f"error: the bundle is for {other_machine()}, this machine is {platform.machine()}; "
        "--any-machine runs it all the same\n",
    )
    assert digits.selftest(program, "--any-machine")[0] == 0
    digits.manifest["target"]["machines"] += [platform.machine()]
    digits.seal()
    assert digits.selftest(program)[0] == 0


# The order of tensors


@pytest.mark.parametrize("order", ["abc", "bca", "cab"])
def test_tensors_go_by_their_names_whatever_their_order(
    program: list[Path], tmp_path: Path, builder: Any, order: str
) -> None:
    b = builder
    # (a + b) and then (a + b) + c + c: the inputs have shapes alike, only names tell them apart.
    names = {"a": "z", "b": "m", "c": "k", "d": "second", "e": "first"}
    graph = b.Graph(
        [b.Tensor(n, (1, 4)) for n in "abcdef"],
        [
            b.Node("ADD", ["a", "b"], ["d"]),
            b.Node("ADD", ["d", "c"], ["f"]),
            b.Node("ADD", ["f", "c"], ["e"]),
        ],
        list(order),
        ["e", "d"],
        names,
    )
    data = {n: RNG.random((3, 4), np.float32) for n in "abc"}
    expected = {"second": data["a"] + data["b"]}
    expected["first"] = expected["second"] + data["c"] + data["c"]
    inputs = {names[n]: data[n] for n in ("c", "a", "b")}  # An order of the manifest's own.
    bundle = Bundle(tmp_path / "b", b.build(graph), inputs, expected)
    code, out, error = bundle.selftest(program)
    assert code == 0, out + error
    inputs = {names[n]: data[n] for n in ("a", "c", "b")}
    swapped = dict(zip(inputs, [data["c"], data["a"], data["b"]], strict=True))
    assert Bundle(tmp_path / "c", b.build(graph), swapped, expected).selftest(program)[0] == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["z"], "golden.txt: has 1 inputs, the model has 2"),
        (["z", "other"], "golden.txt: names the tensor 'other', the model has none"),
        (["z", "z"], "golden.txt: names the tensor 'z' twice"),
    ],
)
def test_names_that_are_not_the_models(
    program: list[Path], tmp_path: Path, builder: Any, names: list[str], message: str
) -> None:
    b = builder
    model = b.build(
        b.Graph(
            [b.Tensor(n, (1, 2)) for n in "xyo"],
            [b.Node("ADD", ["x", "y"], ["o"])],
            ["x", "y"],
            ["o"],
            {"x": "z", "y": "w", "o": "sum"},
        )
    )
    ones = np.ones((1, 2), np.float32)
    bundle = Bundle(tmp_path / "b", model, {"z": ones, "w": ones}, {"sum": ones + ones})
    assert bundle.selftest(program)[0] == 0
    bundle.manifest["inputs"] = [{"name": name} for name in names]
    bundle.manifest["golden"]["inputs"] = bundle.manifest["golden"]["inputs"][: len(names)]
    bundle.seal()
    code, _, error = bundle.selftest(program)
    assert (code, error) == (2, f"error: {message}\n")


# infer


def test_int8_outputs_are_pythons_byte_for_byte(
    program: list[Path], digits: Bundle, tmp_path: Path, int8: bytes
) -> None:
    images = stored(RNG.random((20, 8, 8, 1), np.float32))
    np.save(tmp_path / "x.npy", images)
    (tmp_path / "x.bin").write_bytes(images.tobytes())
    expected = python_outputs(int8, images)["probs"]
    for source in ("x.npy", "x.bin"):
        words = ["infer", tmp_path / source, "--bundle", digits.folder, "--out", tmp_path / "y.npy"]
        assert run(program, *words) == (0, "", "")
        found = np.load(tmp_path / "y.npy")
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["tiny_float", "tiny_dynamic", "tiny_leaky"])
def test_float_outputs_are_pythons_byte_for_byte(
    program: list[Path], tmp_path: Path, repository: Path, name: str
) -> None:
    model = repository / "tests" / "data" / f"{name}.tflite"
    np.save(tmp_path / "x.npy", IMAGES)
    words = ["infer", "--model", model, tmp_path / "x.npy", "--out", tmp_path / "y.npy"]
    assert run(program, *words) == (0, "", "")
    expected = python_outputs(model.read_bytes(), IMAGES)["probs"]
    assert np.load(tmp_path / "y.npy").tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "float32"])
def test_each_dtype_as_json_lines(
    program: list[Path], tmp_path: Path, builder: Any, dtype: str
) -> None:
    b = builder
    q = {"scale": 0.5} if dtype in ("int8", "uint8", "int16") else {}
    model = tmp_path / "m.tflite"
    graph = b.Graph(
        [b.Tensor(n, (1, 3), dtype, **q) for n in ("x", "y", 'o"\\')],
        [b.Node("ADD", ["x", "y"], ['o"\\'])],
        ["x", "y"],
        ['o"\\'],
    )
    model.write_bytes(b.build(graph))
    np.save(tmp_path / "x.npy", np.array([[1, 2, 3], [9, 8, 7]], dtype))
    np.save(tmp_path / "y.npy", np.array([[4, 5, 100], [1, 1, 1]], dtype))
    words = ["infer", "--model", model, tmp_path / "x.npy", tmp_path / "y.npy"]
    code, out, error = run(program, *words)
    assert (code, error) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"sample": 0, "outputs": {'o"\\': {"largest": 2, "values": [5, 7, 103]}}},
        {"sample": 1, "outputs": {'o"\\': {"largest": 0, "values": [10, 9, 8]}}},
    ]


def test_one_sample_without_a_batch_axis_and_a_batch_that_is_not_full(
    program: list[Path], tmp_path: Path, builder: Any
) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(builder.relu((4, 2)))
    for array in (np.float32([-1, 5]), np.arange(-4, 8, dtype=np.float32).reshape(6, 2)):
        np.save(tmp_path / "x.npy", array)
        code, out, error = run(program, "infer", "--model", model, tmp_path / "x.npy")
        assert (code, error) == (0, "")
        found = [json.loads(line)["outputs"]["y"]["values"] for line in out.splitlines()]
        assert found == np.maximum(array, 0).reshape(-1, 2).tolist()


def test_what_is_no_number_is_null(program: list[Path], tmp_path: Path, builder: Any) -> None:
    (tmp_path / "m.tflite").write_bytes(builder.relu())
    np.save(tmp_path / "x.npy", np.float32([[np.inf, 1]]))
    words = ["infer", "--model", tmp_path / "m.tflite", tmp_path / "x.npy", "--kernels", "builtin"]
    assert json.loads(run(program, *words)[1])["outputs"]["y"]["values"] == [None, 1]


# What the runtime lacks


def test_what_the_runtime_lacks_is_named(program: list[Path], tmp_path: Path, builder: Any) -> None:
    b, model = builder, tmp_path / "m.tflite"
    x, y = b.Tensor("x", (1, 2)), b.Tensor("y", (1, 2))
    half = [b.Tensor(n, (1, 2), "float16") for n in "xy"]
    cases = {
        b.relu(op="NoSuchOp", custom=True): "Encountered unresolved custom op: NoSuchOp",
        b.relu(version=99): "Didn't find op for builtin opcode 'RELU' version '99'",
        b.build(b.Graph(half, [b.Node("RELU", ["x"], ["y"])], ["x"], ["y"])): (
            "the tensor 'x' has a dtype (LiteRT's number 10) that this runner cannot pass"
        ),
        b.build(b.Graph([x], [], ["x"], ["x"])): "the output 'x' is an input or another output",
        b.build(b.Graph([x, y], [b.Node("RELU", ["x"], ["y"])], ["x"], ["y", "y"])): (
            "the output 'y' is an input or another output"
        ),
    }
    for content, message in cases.items():
        model.write_bytes(content)
        code, out, error = run(program, "bench", "--model", model)
        assert (code, out) == (3, "")
        assert message in error
        assert error.count("\n") == 1, error


def test_a_model_that_is_none(program: list[Path], tmp_path: Path, tiny_float: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"hello")
    code, _, error = run(program, "info", "--model", model)
    assert code == 2
    assert error.startswith("error: the model is damaged or no .tflite file (LiteRT's status 500")
    # LiteRT reads past the end of a cut file, and finds a page of zeros there or nothing.
    model.write_bytes(tiny_float.read_bytes()[:3000])
    code, _, error = run(program, "bench", "--model", model)
    assert code in (2, 3)
    assert error.count("\n") == 1


@pytest.mark.parametrize("signal", ["SEGV", "ILL", "ABRT"])
def test_a_crash_of_the_runtime_is_a_sentence(
    program: list[Path], tmp_path: Path, tiny_float: Path, signal: str
) -> None:
    names = re.findall(r"F\((\w+), ?\(|F\((\w+),\s*\\", (SOURCES / "litert.h").read_text())
    crash = f"(void) {{ return raise(SIG{signal}); }}\n"
    functions = [f"int LiteRt{first or second}{crash}" for first, second in names]
    functions += [f"int LiteRtCompiledModelIsNonCpuFullyAccelerated{crash}"]
    (tmp_path / "l.c").write_text("#include <signal.h>\n" + "".join(functions))
    run([compiler()], "-shared", "-fPIC", "-o", tmp_path / "l.so", tmp_path / "l.c")
    code, out, error = run(program, "info", "--model", tiny_float, "--library", tmp_path / "l.so")
    assert (code, out, error) == (
        3,
        "",
        "error: the runtime crashed: is the model whole, and libLiteRt.so the 2.3.0 for this "
        "processor?\n",
    )


def test_a_library_that_is_missing_or_another(
    program: list[Path], tmp_path: Path, tiny_float: Path
) -> None:
    words = ["info", "--model", tiny_float, "--library"]
    code, _, error = run(program, *words, tmp_path / "libLiteRt.so")
    assert code == 3
    assert error.startswith("error: libLiteRt.so cannot be loaded: ")
    code, _, error = run(program, *words, "libm.so.6")
    assert code == 3
    assert error.startswith("error: libLiteRt.so: is older than 2.3.0")
    (tmp_path / "l.c").write_text("int LiteRtCompiledModelIsNonCpuFullyAccelerated;")
    run([compiler()], "-shared", "-o", tmp_path / "l.so", tmp_path / "l.c")
    code, _, error = run(program, *words, tmp_path / "l.so")
    assert code == 3
    assert error.startswith("error: libLiteRt.so: has no function LiteRtCreateEnvironment")


# bench and info


def test_bench_gives_raw_times_and_no_percentile_of_too_few(
    program: list[Path], digits: Bundle
) -> None:
    code, out, error = run(program, "bench", "--bundle", digits.folder, "--runs", "64")
    assert (code, error) == (0, "")
    found = json.loads(out)
    times = found.pop("samples_ns")
    assert len(times) == found["runs"] == 64
    assert all(isinstance(time, int) and time > 0 for time in times)
    assert abs(found["median_ns"] - statistics.median(times)) < 1
    assert found["p90_ns"] == sorted(times)[57]
    assert found["p99_ns"] is None
    assert found["peak_bytes"] > found["before_bytes"] > 0
    assert min(found["library_ns"], found["load_ns"], found["first_ns"]) > 0
    assert (found["kernels"], found["threads"], found["input"]) == ("xnnpack", 1, "golden")


def test_percentiles_come_with_enough_runs(program: list[Path], tiny_float: Path) -> None:
    found = json.loads(run(program, "bench", "--model", tiny_float, "--runs", "662")[1])
    times = sorted(found["samples_ns"])
    assert (found["p90_ns"], found["p99_ns"]) == (times[595], times[655])
    assert found["input"] == "zeros"
    few = json.loads(run(program, "bench", "--model", tiny_float, "--runs", "63")[1])
    assert few["p90_ns"] is None


def test_info_names_the_signature_and_the_library(program: list[Path], tiny_float: Path) -> None:
    code, out, error = run(program, "info", "--model", tiny_float, "--kernels", "builtin")
    assert (code, error) == (0, "")
    assert f"library: {library_folder() / 'libLiteRt.so'}\n" in out
    assert "input: float32 1x8x8x1 image\noutput: float32 1x10 probs\n" in out


# What the user gets wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "'': is no command; known: selftest, infer, bench, info"),
        (["inf"], "'inf': is no command; known: selftest, infer, bench, info"),
        (["selftest infer"], "'selftest infer': is no command; known: selftest, infer, bench, "),
        (["infer"], "infer: takes the files of the inputs"),
        (["bench", "x.npy"], "bench: takes no files"),
        (["bench", "--runs"], "--runs: needs a value"),
        (["bench", "--runs", "0"], "--runs 0: takes a whole number from 1 to 10000000"),
        (["bench", "--runs", "1e3"], "--runs 1e3: takes a whole number from 1 to 10000000"),
        (["bench", "--threads", "65"], "--threads 65: takes a whole number from 1 to 64"),
        (["bench", "--fast", "1"], "--fast: is no option of this program"),
        (["info", "--kernels", "reference"], "--kernels reference: is not one of xnnpack, builtin"),
        (["info", "--model", "no.tflite"], "no.tflite: No such file or directory"),
        (["info", "--bundle", "/no"], "/no/c/golden.txt: No such file or directory"),
        (["selftest", "--model", "m"], "--model m: has no golden outputs; give a --bundle, or not"),
        (["info", "--model", "m", "--bundle", "b"], "--model m: has no golden outputs; give a"),
        (["infer", *["x.npy"] * 65], "x.npy: is one file too many"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    program: list[Path], words: list[str], message: str
) -> None:
    code, out, error = run(program, *words)
    assert (code, out) == (2, "")
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["x.npy", "x.npy"], "the model takes 1 inputs, not 2 files"),
        (["short.bin"], "has 255 bytes, a sample of 'image' has 256"),
        (["empty.bin"], "has 0 bytes, a sample of 'image' has 256"),
        (["x.npy", "--out", "a.npy", "--out", "b.npy"], "--out: give it once for each of the 1"),
        (["x.npy", "--out", "no/a.npy"], "no/a.npy: cannot be written"),
    ],
)
def test_wrong_files_of_infer(
    program: list[Path],
    tmp_path: Path,
    tiny_float: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", IMAGES)
    Path("short.bin").write_bytes(bytes(255))
    Path("empty.bin").touch()
    code, out, error = run(program, "infer", "--model", tiny_float, *files)
    assert (code, out) == (2, "")
    assert message in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.bin", "short.bin", "x.npy"]


def test_samples_of_two_inputs_are_as_many(
    program: list[Path], tmp_path: Path, builder: Any
) -> None:
    b = builder
    tensors = [b.Tensor(n, (1, 2)) for n in "xyz"]
    graph = b.Graph(tensors, [b.Node("ADD", ["x", "y"], ["z"])], ["x", "y"], ["z"])
    (tmp_path / "m.tflite").write_bytes(b.build(graph))
    np.save(tmp_path / "x.npy", np.zeros((2, 2), np.float32))
    np.save(tmp_path / "y.npy", np.zeros((3, 2), np.float32))
    words = ["infer", "--model", tmp_path / "m.tflite", tmp_path / "x.npy", tmp_path / "y.npy"]
    code, _, error = run(program, *words)
    assert code == 2
    assert error.endswith("y.npy: has 3 samples, the files before it 2\n")


def test_a_full_disk_is_no_success(program: list[Path], tiny_float: Path) -> None:
    import subprocess

    with open("/dev/full", "wb") as full:
        words = [str(program[0]), "info", "--model", str(tiny_float)]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "error: stdout: cannot be written\n")

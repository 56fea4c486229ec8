"""`serve.py`: the protocol edgekit-serve/1 as bytes on pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import RUN, bundle, edit, runner
from onnx_models import cnn, images


class Client:
    """Speaks to one server."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-B", RUN.with_name("serve.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        self.hello, _ = self.receive()

    def receive(self) -> tuple[dict[str, Any], list[Any]]:
        out = self.process.stdout
        assert out is not None
        reply = json.loads(out.readline())
        arrays = []
        for spec in reply.pop("arrays"):
            dtype = np.dtype(spec["dtype"]).newbyteorder("<")
            size = int(np.prod(spec["shape"])) * dtype.itemsize
            arrays.append(np.frombuffer(out.read(size), dtype).reshape(spec["shape"]))
        return reply, arrays

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, op: str, *arrays: Any, **rest: Any) -> tuple[dict[str, Any], list[Any]]:
        listed = [{"dtype": a.dtype.name, "shape": list(a.shape)} for a in arrays]
        line = json.dumps({"op": op, **rest, "arrays": listed}).encode() + b"\n"
        self.send(line + b"".join(a.tobytes() for a in arrays))
        return self.receive()


@contextmanager
def serving(folder: Path) -> Iterator[Client]:
    client = Client(folder)
    try:
        yield client
    finally:
        assert client.process.stdin is not None
        assert client.process.stdout is not None
        client.process.stdin.close()
        assert client.process.wait(10) == 0
        client.process.stdout.close()


@pytest.fixture
def tflite(tmp_path: Path, tiny_float: Path) -> Iterator[Client]:
    (tmp_path / "model.tflite").write_bytes(tiny_float.read_bytes())
    with serving(tmp_path) as client:
        yield client


def test_hello_says_what_there_is(tflite: Client) -> None:
    hello = tflite.hello
    assert hello["schema"] == "edgekit-serve/1"
    assert hello["runtimes"]["ai_edge_litert"] == "2.3.0"
    assert hello["rss_bytes"] > 2**20
    assert hello["numpy"] == np.__version__
    keys = {"schema", "python", "numpy", "machine", "system", "glibc", "cpu", "runtimes"}
    assert keys < set(hello)


def test_a_model_is_opened_run_timed_placed_and_closed(tflite: Client, tiny_float: Path) -> None:
    opened, _ = tflite.ask(
        "open",
        model="model.tflite",
        format="tflite",
        runtimes=["ai_edge_litert"],
        threads=1,
        options={"kernels": "xnnpack"},
        delegates=[],
        strict=False,
    )
    assert (opened["ok"], opened["id"], opened["runtime"]) == (True, 0, "ai_edge_litert")
    assert (opened["version"], opened["load_ns"] > 0) == ("2.3.0", True)
    assert opened["attempts"] == [{"what": "ai_edge_litert", "ok": True, "reason": ""}]
    (spec,) = opened["inputs"]
    assert (spec["name"], spec["shape"], spec["dtype"]) == ("image", [1, 8, 8, 1], "float32")
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    reply, (found,) = tflite.ask("run", x, id=0)
    assert reply["ok"]
    assert np.array_equal(found, runner().Model(str(tiny_float)).predict(x))
    reply, _ = tflite.ask("time", id=0, runs=7)
    assert len(reply["samples_ns"]) == 7
    assert all(isinstance(ns, int) and ns > 0 for ns in reply["samples_ns"])
    reply, _ = tflite.ask("placement", id=0)
    assert reply["ops"][0] == [0, "CONV_2D", "XNNPACK", "float32", ""]
    assert reply["reason"] == ""
    reply, _ = tflite.ask("peak")
    assert reply["peak_bytes"] > reply["before_bytes"] > 0
    assert tflite.ask("close", id=0)[0]["ok"]
    reply, _ = tflite.ask("run", x, id=0)
    assert (reply["ok"], reply["exit"]) == (False, 2)


def test_onnx_is_served_too(tmp_path: Path) -> None:
    cnn(tmp_path / "model.onnx")
    with serving(tmp_path) as client:
        opened, _ = client.ask(
            "open", model="model.onnx", format="onnx", options={"optimization": "disabled"}
        )
        assert opened["inputs"][0]["shape"] == [None, 1, 12, 12]
        _, (found,) = client.ask("run", images(4), id=0)
        assert found.shape == (4, 4)
        assert len(client.ask("time", id=0, runs=3)[0]["samples_ns"]) == 3
        ops = client.ask("placement", id=0)[0]["ops"]
        assert {op[2] for op in ops} == {"CPU"}
        first, _ = client.ask("open", model="model.onnx", format="onnx")
        assert first["id"] == 1
        reply, _ = client.ask("time", id=1, runs=3)
        assert (reply["ok"], reply["exit"] in (2, 3)) == (False, True)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"op": "open", "model": "none.tflite"}, "none.tflite: is no .tflite"),
        ({"op": "open", "model": "model.tflite", "options": {"x": 1}}, "the option x = 1 is none"),
        ({"op": "open", "model": "model.tflite", "runtimes": ["onnxruntime"]}, "no runtime of"),
        ({"op": "fly"}, "op 'fly'"),
        ({"op": "time", "id": 3, "runs": 1}, "no model is open there"),
        ({"op": "open"}, "model"),
        ({"op": "peak", "arrays": [{"dtype": "float32"}]}, "shape"),
        ([], ""),
    ],
)
def test_a_wrong_request_is_answered(tflite: Client, ask: Any, message: str) -> None:
    tflite.send(json.dumps(ask).encode() + b"\n")
    reply, _ = tflite.receive()
    assert reply["ok"] is False
    assert message in reply["error"]
    assert tflite.ask("peak")[0]["ok"]


def test_inputs_that_do_not_fit_are_answered(tflite: Client) -> None:
    tflite.ask("open", model="model.tflite", runtimes=["ai_edge_litert"])
    for x in (np.zeros((1, 8, 8, 2), np.float32), np.zeros((1, 8, 8, 1), np.int8)):
        reply, _ = tflite.ask("run", x, id=0)
        assert (reply["ok"], reply["exit"]) == (False, 2)
        assert "the model does not take the input" in reply["error"]
    good = np.zeros((1, 8, 8, 1), np.float32)
    assert tflite.ask("run", good, id=0)[0]["ok"]


def test_strict_is_a_broken_promise(tflite: Client) -> None:
    delegate = {"library": "/nowhere/libnpu.so", "options": {}}
    reply, _ = tflite.ask("open", model="model.tflite", delegates=[delegate], strict=True)
    assert (reply["ok"], reply["exit"]) == (False, 1)


def test_a_bundle_is_tested_there(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    with serving(folder) as client:
        reply = client.ask("selftest", bundle=".")[0]["result"]
        assert (reply["ok"], len(reply["checks"])) == (True, 5), reply
        edit(folder, target__machines=["m68k"])
        reply = client.ask("selftest", bundle=".")[0]["result"]
        assert (reply["ok"], reply["exit"]) == (False, 2)
        assert "the bundle is for m68k" in reply["error"]


def test_the_end_of_stdin_ends_it_in_the_middle_of_an_inference(tflite: Client) -> None:
    tflite.ask("open", model="model.tflite", runtimes=["ai_edge_litert"])
    tflite.ask("run", np.zeros((1, 8, 8, 1), np.float32), id=0)
    tflite.send(json.dumps({"op": "time", "id": 0, "runs": 5_000_000}).encode() + b"\n")
    time.sleep(0.2)
    assert tflite.process.poll() is None
    assert tflite.process.stdin is not None
    tflite.process.stdin.close()
    assert tflite.process.wait(5) == 0


def test_what_a_runtime_prints_is_not_among_the_answers(tmp_path: Path) -> None:
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("import os; os.write(1, b'noise'); print('noise')")
    (tmp_path / "model.tflite").touch()
    for name in ("run.py", "serve.py"):
        os.symlink(RUN.with_name(name), tmp_path / name)
    done = subprocess.Popen(
        [sys.executable, "-B", "-c", "import serve; serve.Server().run()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    assert done.stdin is not None
    assert done.stdout is not None
    with done.stdin, done.stdout:
        assert done.stdout.readline().startswith(b'{"schema"')
        ask = {"op": "open", "model": "model.tflite", "runtimes": ["tflite_runtime"]}
        done.stdin.write(json.dumps(ask).encode() + b"\n")
        done.stdin.flush()
        assert done.stdout.readline().startswith(b'{"ok": false')
        done.stdin.close()
        assert done.wait(5) == 0

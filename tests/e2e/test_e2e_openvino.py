"""OpenVINO through LiteRT's NPU interface, in its environment: values, placement, fall-backs.

`edgekit doctor --target intel-openvino --install` makes the environment.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import int8_model
from support import edgekit

from edgekit.core.target import load_target
from edgekit.devices import environment
from edgekit.engine.device_session import DeviceSession, open_on_device
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.runners import litert

_USERS_CACHE = os.environ.get("EDGEKIT_CACHE")
NAME = "intel-openvino"
_FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8").split() if os.name == "posix" else []


@pytest.fixture(autouse=True)
def _its_environment(_own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own cache, where the environment is."""
    if _USERS_CACHE is None:
        monkeypatch.delenv("EDGEKIT_CACHE")
    else:
        monkeypatch.setenv("EDGEKIT_CACHE", _USERS_CACHE)
    target = load_target(NAME)
    assert target.device is not None
    if problem := environment.unavailable(target.device.options):
        pytest.skip(problem)


def opened(path: Path, *, variables: Any = None, **options: str) -> DeviceSession:
    device = load_target(NAME).device
    assert device is not None
    (own,) = device.delegates
    delegate = dataclasses.replace(own, options={**own.options, **options})
    where = device.options
    if variables is not None:
        where = dataclasses.replace(where, variables=variables)
    device = dataclasses.replace(device, delegates=(delegate,), options=where)
    signature = describe(open_model(path)).signature
    files = {"model.tflite": path}
    return open_on_device(device, files, format="tflite", signature=signature, options={})


def ran(path: Path, x: Any, **how: Any) -> tuple[Any, Any]:
    session = opened(path, **how)
    try:
        return session.run((x,))[0], session.placement()
    finally:
        session.close()


def on_cpu(path: Path, x: Any) -> Any:
    signature = describe(open_model(path)).signature
    return litert.open(path, signature, litert.Options()).run((x,))[0]


@pytest.fixture
def x() -> Any:
    return np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)


@pytest.fixture
def int8(tmp_path: Path) -> Path:
    path = tmp_path / "int8.tflite"
    path.write_bytes(int8_model())
    return path


@pytest.mark.parametrize("variables", [None, {}])
def test_floats_are_within_1e_5_of_the_cpu(tiny_float: Path, x: Any, variables: Any) -> None:
    """Also without the target's variable: run.py's driver sets it for a bundle on a device."""
    found, placed = ran(tiny_float, x, variables=variables)
    wanted = on_cpu(tiny_float, x)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert {op.where for op in placed.ops} == {"OpenVINO"}


def test_int8_is_within_2_lsb_of_the_cpu(int8: Path) -> None:
    if not {"avx512_vnni", "avx_vnni"} & {*_FLAGS}:
        pytest.skip("this processor has no VNNI, without which OpenVINO's int8 sums overflow")
    x = np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 1)).astype(np.int8)
    found, placed = ran(int8, x)
    assert np.abs(found.astype(int) - on_cpu(int8, x)).max() <= 2
    assert placed.delegated == 1.0


def test_int8_where_its_sums_overflow_is_refused(int8: Path) -> None:
    x = np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 1)).astype(np.int8)
    found, placed = ran(int8, x, variables={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert "int8 sums overflow on this processor (ONEDNN_MAX" in placed.attempts[0].reason
    assert {op.where for op in placed.ops} <= {"CPU", "XNNPACK"}
    assert np.array_equal(found, on_cpu(int8, x))


def test_a_plug_in_that_fails_is_no_silent_cpu(tiny_float: Path, x: Any) -> None:
    """LiteRT says nothing then, computes on the CPU, and is_fully_accelerated() is True."""
    if Path("/dev/accel").exists():
        pytest.skip("this machine may have an NPU")
    _, placed = ran(tiny_float, x, graph_backend="NPU")
    failed, cpu = placed.attempts
    assert (failed.what, failed.ok, cpu.ok) == ("NPU", False, True)
    assert "its plug-in needs libopenvino_intel_npu_compiler_loader.so" in failed.reason
    assert {op.where for op in placed.ops} <= {"CPU", "XNNPACK"}


@pytest.mark.slow
def test_a_bundle_proves_itself(tiny_float: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "tiny.ekb"
    made = edgekit("bundle", tiny_float, "--target", NAME, "--out", bundle)
    assert made.code == 0, made.err
    found = edgekit("validate", bundle, "--targets", NAME)
    assert found.code == 0, found.err + found.out
    assert "OpenVINO 6" in found.out

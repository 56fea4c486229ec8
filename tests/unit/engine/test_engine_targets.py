"""Targets as a run uses them: on a device, on this machine, and on neither."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fake_device import SERVE, fake_device
from support import edgekit

from edgekit.core.target import load_target
from edgekit.engine import device_session, fit, targets
from edgekit.engine.models import open_artifact
from edgekit.errors import UnmeasuredError, UsageError

FOREIGN = 'summary = "Another machine"\ninherit = "cpu-litert"\nmachines = ["toaster"]\n'


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "foreign.toml").write_text(FOREIGN)
    return tmp_path / "foreign.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[device]\nvia = "sshh"', "device: unknown way 'sshh'"),
        ("[device]\npython = '3'", "device: the key 'via' is missing"),
        ('[device]\nvia = "host"\nspeed = 1', "device: unknown key 'speed'"),
        ('runtimes = ["ai_edge_lite"]', "the runner 'litert' does not run in 'ai_edge_lite'"),
        (
            '[[board]]\nname = "b"\npython = "2.7"\nrequires = []',
            "python must be a version such as",
        ),
    ],
)
def test_a_target_file_is_strict_about_devices(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f'summary = "x"\ninherit = "cpu-litert"\n{text}\n')
    with pytest.raises(UsageError) as caught:
        load_target(str(path))
    assert said in str(caught.value)
    assert caught.value.hint or "python must" in said


def test_on_puts_the_target_s_runtimes_on_another_device() -> None:
    target = targets.open_target("cpu-litert", on="ssh://pi@board/tmp/e")
    assert target.device is not None
    assert (target.device.via, target.device.runtimes) == (
        "ssh",
        load_target("cpu-litert").runtimes,
    )
    assert "board" in target.device.label
    assert targets.open_target("raspberry-pi-5", on="this-machine").device is None


def test_a_runner_that_no_device_has_stays_here() -> None:
    with pytest.raises(UsageError, match="runs in no runtime that a device can have"):
        targets.open_target("null", on="ssh://pi@board")


def test_figures_of_this_machine_are_not_those_of_another(foreign: Path) -> None:
    target = load_target(str(foreign))
    (note,) = targets.elsewhere_notes(target)
    assert (note.what, note.item) == ("not executed", "on foreign")
    assert "not on foreign (toaster)" in note.reason
    assert targets.elsewhere(load_target("cpu-litert")) == ""


def test_a_limit_on_time_or_memory_of_another_machine_is_unmeasured(
    foreign: Path, tiny_float: Path
) -> None:
    foreign.write_text(f'{FOREIGN}[limits]\nmax_memory = "9 GB"\nmax_latency = "9 s"\n')
    found = edgekit("bench", tiny_float, "--target", foreign)
    assert found.code == 3
    assert found.out.count("UNMEASURED") == 2
    assert "max_size" in found.out


def test_a_device_that_cannot_be_used_is_said_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, device = fake_device(monkeypatch)
    target = dataclasses.replace(load_target("cpu-litert"), device=spec)
    device.unavailable = lambda options: "it is switched off: press --target NAME"  # type: ignore[method-assign]
    with pytest.raises(UnmeasuredError) as caught:
        targets.check_runs(target)
    assert "does not work here: it is switched off: press --target cpu-litert" in str(caught.value)
    assert "this-machine" in caught.value.hint


def test_a_device_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.py").write_text("")
    monkeypatch.setattr(device_session, "RUN_PY", tmp_path / "run.py")
    spec, device = fake_device(monkeypatch, SERVE)
    target = dataclasses.replace(load_target("cpu-litert"), device=spec)
    assert targets.device_facts(target) == {"device": "a toaster", "machine": "toaster"}
    targets.device_facts(target)
    assert device.log == ["closed"], "it is asked once"


class TestFit:
    def test_what_a_target_cannot_run_is_said_with_what_to_change(
        self, tmp_path: Path, tiny_float: Path
    ) -> None:
        path = tmp_path / "npu.toml"
        path.write_text(
            'summary = "x"\ninherit = "cpu-litert"\ndtypes = ["int8"]\nram = "1 kB"\n'
            'op_table = "tflite-runtime-2.14.0"\n'
        )
        found = edgekit("inspect", tiny_float, "--target", path)
        assert found.code == 1
        assert "1 CONV_2D: works on float32; the target takes int8" in found.out
        assert "what to change: quantize the model" in found.out
        assert "is larger than the target's memory of 1.00 kB" in found.out
        assert "placement   XNNPACK" in found.out

    def test_ops_that_are_too_new_or_missing_are_named(
        self, tiny_float: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "MAX_POOL_2D": 1, "RESHAPE": 1, "SOFTMAX": 0}
        monkeypatch.setattr(fit, "load_op_table", lambda name: known)
        found = fit.fit(open_artifact(tiny_float), load_target("cpu-litert"))
        assert [(misfit.what, misfit.reason) for misfit in found.misfits] == [
            ("FULLY_CONNECTED", "is not among the ops of ai-edge-litert-2.3.0"),
            ("SOFTMAX", "has version 1; ai-edge-litert-2.3.0 has it up to version 0"),
        ]

    def test_a_model_of_another_format(self, tiny_float: Path) -> None:
        found = edgekit("inspect", tiny_float, "--target", "cpu-onnxruntime")
        assert found.code == 1
        assert "the format tflite: the target takes onnx" in found.out

    def test_a_model_that_fits(self, tiny_float: Path) -> None:
        found = edgekit("inspect", tiny_float, "--target", "cpu-litert")
        assert found.code == 0
        assert "cannot run" not in found.out
        assert "on cpu-litert\n  placement   XNNPACK" in found.out

    def test_what_cannot_be_tried_here_is_said(self, foreign: Path, tiny_float: Path) -> None:
        foreign.write_text(FOREIGN + '[device]\nvia = "ssh"\nhost = "no.such.host.invalid"\n')
        found = edgekit("inspect", tiny_float, "--target", foreign)
        assert "placement   unmeasured: " in found.out


class TestDoctor:
    def test_install_names_a_target(self) -> None:
        found = edgekit("doctor", "--install")
        assert (found.code, found.out) == (2, "")
        assert "name it with --target" in found.err

    def test_install_of_a_target_without_a_device(self) -> None:
        found = edgekit("doctor", "--target", "cpu-litert", "--install")
        assert found.code == 2
        assert "needs no device of its own\nhint: it works here already" in found.err

    def test_the_command_that_installs_names_the_target(self) -> None:
        found = edgekit("doctor", "--target", "raspberry-pi-5")
        assert found.code == 0 or "--target raspberry-pi-5 --install" in found.out

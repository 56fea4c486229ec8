"""A microcontroller: what is missing is said, and C that is built for it runs and is counted."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_scripts import Bars
from mcu_sources import needs_emulator, sources, two_tensors, wanted

from edgekit.core.schema import build as build_options
from edgekit.devices import _cortex_m_build, _cortex_m_qemu, _cortex_m_session, cortex_m
from edgekit.devices import _cortex_m_tools as tools
from edgekit.devices._cortex_m_build import build
from edgekit.devices._cortex_m_cores import CORES
from edgekit.devices._cortex_m_session import opener
from edgekit.devices.cortex_m import Options
from edgekit.errors import PromiseError, UnmeasuredError, UsageError
from edgekit.mcu import generate
from edgekit.mcu.generate import Sources
from edgekit.on_device.run import Fault

M4 = Options("cortex-m4")
CORE = CORES["cortex-m4"]

Invent = Callable[[Sources], None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def invent(monkeypatch: pytest.MonkeyPatch) -> Invent:
    """Has the generator give these sources for any file."""

    def give(made: Sources) -> None:
        monkeypatch.setattr(generate, "generate", lambda path: made)

    return give


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with nothing but what lies in the returned folder (on its PATH)."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "sleep"):
        (folder / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(folder))
    tools._output.cache_clear()
    yield folder
    tools._output.cache_clear()


def fake(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


GCC = """case "$*" in
  *print-file-name*) echo /lib/libc.a;;
  *dumpfullversion*) echo 12.2.1;;
  *) echo "$FAKE_SAID" >&2; echo elf > firmware.elf; exit "$FAKE_CODE";;
esac"""
QEMU = (
    'case "$*" in *--version*) echo "QEMU emulator version 9.8.7 (x)";; *) echo mps2-an386;; esac'
)


@pytest.fixture
def fakes(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with programs that are there, and do nothing."""
    monkeypatch.setenv("FAKE_CODE", "0")
    monkeypatch.setenv("FAKE_SAID", "")
    fake(programs, "arm-none-eabi-gcc", GCC)
    fake(programs, "arm-none-eabi-nm", "echo '00000040 A _flash_used'; echo '00000020 A _ram_used'")
    fake(programs, "qemu-system-arm", QEMU)
    return programs


class TestWhatIsMissing:
    def test_every_program_is_named_with_its_package(self, programs: Path) -> None:
        assert cortex_m.unavailable(M4) == (
            "arm-none-eabi-gcc and arm-none-eabi-nm and qemu-system-arm are not installed: "
            "on Debian and Ubuntu `apt install gcc-arm-none-eabi libnewlib-arm-none-eabi "
            "binutils-arm-none-eabi qemu-system-arm`"
        )

    def test_the_emulator_alone(self, fakes: Path) -> None:
        (fakes / "qemu-system-arm").unlink()
        assert cortex_m.unavailable(M4) == (
            "qemu-system-arm is not installed: on Debian and Ubuntu `apt install qemu-system-arm`"
        )

    def test_a_compiler_without_its_library(self, fakes: Path) -> None:
        fake(fakes, "arm-none-eabi-gcc", "echo libc.a")
        assert cortex_m.unavailable(M4) == (
            "arm-none-eabi-gcc's C library newlib is not installed: on Debian and Ubuntu "
            "`apt install libnewlib-arm-none-eabi`"
        )

    def test_an_emulator_that_lacks_the_board(self, fakes: Path) -> None:
        problem = cortex_m.unavailable(Options("cortex-m7"))
        assert problem.startswith("qemu-system-arm 9.8.7 does not know the board mps2-an500")

    def test_a_program_that_does_not_start(self, fakes: Path) -> None:
        (fakes / "qemu-system-arm").write_text("\0")
        assert "qemu-system-arm (not installed) does not know" in cortex_m.unavailable(M4)

    def test_nothing_is_missing(self, fakes: Path) -> None:
        assert cortex_m.unavailable(M4) == ""
        cortex_m.install(M4, Bars())
        assert cortex_m.describe(M4) == (
            "Cortex-M4 emulated by qemu-system-arm 9.8.7 (board mps2-an386), "
            "C built by arm-none-eabi-gcc 12.2.1"
        )

    def test_install_and_connect_say_it_too(self, programs: Path) -> None:
        with pytest.raises(UsageError, match="^cortex-m: arm-none-eabi-gcc .* not installed"):
            cortex_m.install(M4, Bars())
        with pytest.raises(UnmeasuredError, match="^cortex-m: arm-none-eabi-gcc .* not installed"):
            cortex_m.connect(M4)

    def test_no_time_counts(self) -> None:
        assert cortex_m.untimed(M4) == "emulated by qemu-system-arm: no timing"


class TestOptions:
    def test_sizes_have_units(self) -> None:
        made = build_options(Options, {"cpu": "cortex-m3", "flash": "1 MiB"}, where="test")
        assert made == Options("cortex-m3", 1 << 20, None)

    @pytest.mark.parametrize(
        ("key", "value", "sentence"),
        [
            ("cpu", "cortex-m33", "unknown value 'cortex-m33'"),
            ("flash", "0 B", "flash must be more than 0 bytes"),
            ("ram", "many", "'many'"),
        ],
    )
    def test_a_wrong_one_is_one_sentence(self, key: str, value: str, sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            build_options(Options, {"cpu": "cortex-m4", key: value}, where="test")


class TestBuild:
    def test_a_compiler_that_fails_is_quoted(
        self, fakes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_CODE", "1")
        monkeypatch.setenv("FAKE_SAID", "ek_model.c:3: error: no such thing")
        with pytest.raises(UnmeasuredError, match="C sources: ek_model.c:3: error: no such thing"):
            build(sources(), CORE)
        monkeypatch.setenv("FAKE_SAID", "")
        with pytest.raises(UnmeasuredError, match="it says nothing"):
            build(sources(), CORE)

    @pytest.mark.parametrize(
        ("region", "sentence"),
        [("FLASH", "needs 4.19 MB of flash"), ("RAM", "needs 4.19 MB of RAM")],
    )
    def test_a_model_that_no_board_holds(
        self, fakes: Path, monkeypatch: pytest.MonkeyPatch, region: str, sentence: str
    ) -> None:
        monkeypatch.setenv("FAKE_CODE", "1")
        monkeypatch.setenv("FAKE_SAID", f"ld: region `{region}' overflowed by 100 bytes")
        with pytest.raises(PromiseError, match=sentence):
            build(sources(), CORE)

    def test_a_compiler_that_hangs_or_does_not_start(
        self, fakes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_cortex_m_build, "_LIMIT_SECONDS", 0.2)
        hanging = GCC.replace("; echo elf", "; exec sleep 60")
        fake(fakes, "arm-none-eabi-gcc", hanging)
        with pytest.raises(UnmeasuredError, match=r"arm-none-eabi-gcc did not end within 0.2 s"):
            build(sources(), CORE)
        (fakes / "arm-none-eabi-gcc").unlink()
        with pytest.raises(UnmeasuredError, match="does not start: No such file"):
            build(sources(), CORE)

    def test_symbols_that_are_not_there(self, fakes: Path) -> None:
        fake(fakes, "arm-none-eabi-nm", "echo '00000040 A _flash_used'")
        with pytest.raises(UnmeasuredError, match="does not find '_ram_used'"):
            build(sources(), CORE)

    @pytest.mark.parametrize("name", ["../x.c", "startup.c", ".x", "a/b.c"])
    def test_sources_cannot_take_a_place_that_is_not_theirs(self, fakes: Path, name: str) -> None:
        with pytest.raises(UnmeasuredError, match="have a file of the name"):
            build(sources(**{name: b""}), CORE)

    def test_the_same_sources_are_built_once(self, fakes: Path) -> None:
        first = build(sources(), CORE)
        assert (first.flash, first.ram) == (0x40, 0x20)
        fake(fakes, "arm-none-eabi-gcc", GCC.replace("echo elf", "echo other"))
        tools._output.cache_clear()
        assert build(sources(), CORE) == first
        assert build(sources(), CORES["cortex-m3"]).path != first.path
        first.path.write_text("damaged")
        assert build(sources(), CORE).path.read_text() == "other\n"

    def test_a_cache_that_cannot_be_written(
        self, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file"))
        with pytest.raises(UsageError, match="^EDGEKIT_CACHE .* firmware cannot be kept"):
            build(sources(), CORE)


class TestWhatTheEmulatorSays:
    """Without an emulator: a script plays it."""

    def run(self, folder: Path, script: str, limit: float = 20) -> Any:
        fake(folder, "qemu-system-arm", script)
        return _cortex_m_qemu.execute(Path("x.elf"), CORE, b"1234", limit_seconds=limit)

    COUNTS = r"printf 'exact 1\ninstructions 7\nstack 8\nsamples 1\nend 0\n' > counts.txt"

    def test_counts_and_answers(self, fakes: Path) -> None:
        found = self.run(fakes, f"cat in.bin > out.bin; {self.COUNTS}")
        assert found == _cortex_m_qemu.Answers(b"1234", (7,), True, 8)

    @pytest.mark.parametrize(
        ("script", "sentence"),
        [
            ("echo 'fault 1024 4096' >&2; exit 23", "faults .CFSR 0x00000400, BFAR 0x00001000"),
            ("exit 24", "needs more than 65.5 kB of stack"),
            ("exit 20", r"cannot read its samples or write its answers \(code 20\)"),
            ("echo Lockup >&2; exit 6", "ended with exit code 6: Lockup"),
            ("exit 7", "ended with exit code 7$"),
            ("sleep 0", "counts.txt cannot be read: No such file"),
            ("echo rubbish > counts.txt", "counts.txt has the line 'rubbish'"),
            ("echo exact 1 > counts.txt", "counts.txt is not whole"),
            (r"printf 'exact 1\nstack 8\nsamples 1\nend 0\n' > counts.txt", "is not whole"),
            (COUNTS, "out.bin cannot be read: No such file"),
        ],
    )
    def test_what_is_wrong_is_one_sentence(self, fakes: Path, script: str, sentence: str) -> None:
        with pytest.raises(UnmeasuredError, match=sentence) as caught:
            self.run(fakes, script)
        assert caught.value.hint

    def test_files_that_are_too_large(self, fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_cortex_m_qemu, "_FILES_BYTES", 3)
        with pytest.raises(UnmeasuredError, match="counts.txt has over"):
            self.run(fakes, self.COUNTS)

    def test_one_that_hangs_is_ended(self, fakes: Path) -> None:
        with pytest.raises(UnmeasuredError, match="the Cortex-M4 did not end within 1 s"):
            self.run(fakes, "exec sleep 60", 1)

    def test_no_folder_for_its_files(self, fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*words: object, **more: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(_cortex_m_qemu.subprocess, "run", full)
        with pytest.raises(UnmeasuredError, match="on the samples: No space left on device"):
            self.run(fakes, "exit 0")

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
    def test_it_dies_with_the_process_that_started_it(self, fakes: Path, tmp_path: Path) -> None:
        fake(fakes, "qemu-system-arm", f"echo $$ > {tmp_path}/pid; exec sleep 60")
        code = (
            "from pathlib import Path; from edgekit.devices import _cortex_m_qemu as q; "
            "from edgekit.devices._cortex_m_cores import CORES; "
            "q.execute(Path('x'), CORES['cortex-m4'], b'', limit_seconds=60)"
        )
        own = {**os.environ, "TMPDIR": str(tmp_path)}
        with subprocess.Popen([sys.executable, "-c", code], env=own) as parent:
            pid = _number(tmp_path / "pid")
            parent.kill()
        for _ in range(100):
            if not _is_alive(pid):
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the emulator went on")


def _number(path: Path) -> int:
    for _ in range(200):
        if path.exists() and path.read_text().strip():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{path} was never written")


def _is_alive(pid: int) -> bool:
    """Whoever has lost its parent may be a zombie for a while."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestRequestsThatAreRefused:
    @pytest.mark.parametrize(
        ("request_", "sentence"),
        [
            ({"delegates": [{"library": "x"}]}, "takes no delegate"),
            ({"options": {"kernels": "reference"}}, "options kernels are none of C"),
            ({"format": "onnx"}, "from .tflite models, not from .onnx"),
        ],
    )
    def test_one_sentence(self, request_: dict[str, Any], sentence: str) -> None:
        with pytest.raises(Fault, match=sentence):
            opener(M4)("model.tflite", **request_)

    def test_what_the_generator_refuses_cannot_run_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path) -> Sources:
            raise UsageError(f"{path}: has the op GATHER", hint="replace it")

        monkeypatch.setattr(generate, "generate", refuse)
        with pytest.raises(Fault, match=r"model.tflite: has the op GATHER") as caught:
            opener(M4)("model.tflite")
        assert (caught.value.code, caught.value.hint) == (3, "replace it")


@needs_emulator
class TestSession:
    X = np.array([[1, 2, 3, 4], [-128, 127, 5, 0], [0, 0, 0, 1]], np.int8)

    @pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4", "cortex-m7"])
    def test_it_computes_and_counts_the_same_twice(self, cpu: Any, invent: Invent) -> None:
        invent(sources())
        first, second = (opener(Options(cpu))("model.tflite") for _ in range(2))
        assert [*first.run([self.X])[0].tolist()] == wanted(self.X).tolist()
        second.run([self.X])
        assert first.figures() == second.figures()  # type: ignore[attr-defined]
        figures = {row["name"]: row for row in first.figures()}  # type: ignore[attr-defined]
        assert {row["kind"] for row in figures.values()} == {"measured"}
        assert figures["arena"]["value"] == 32
        assert figures["RAM"]["value"] == 32
        assert 1000 < figures["flash"]["value"] < 8000
        assert 50 < figures["stack"]["value"] < 1000
        assert figures["memory"]["value"] == 32 + figures["stack"]["value"]
        assert 10 < figures["instructions per inference"]["value"] < 100
        assert first.placement()[0][1] == [1, "NEG", CORES[cpu].title, "int8", ""]
        assert first.ran() == "reference"

    @pytest.mark.parametrize("count", [0, 1, 39, 40, 41, 1000])
    def test_counts_are_exact(self, count: int, invent: Invent) -> None:
        body = f'__asm volatile(".rept {count}\\nnop\\n.endr\\nbx lr\\n");'
        invent(sources(f"__attribute__((naked)) void ek_invoke(void) {{ {body} }}"))
        session: Any = opener(M4)("model.tflite")
        assert session._last.instructions == (count + 1,)
        assert session._last.exact

    def test_a_count_that_is_not_proven_is_an_estimate(self, invent: Invent) -> None:
        invent(sources())
        session: Any = opener(M4)("model.tflite")
        session._last = dataclasses.replace(session._last, exact=False)
        kinds = {row["name"]: row["kind"] for row in session.figures()}
        assert kinds.pop("instructions per inference") == "estimated"
        assert set(kinds.values()) == {"measured"}

    def test_many_samples_run_in_several_processes_and_in_order(
        self, invent: Invent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_cortex_m_session.os, "sched_getaffinity", lambda pid: {0, 1, 2})
        invent(sources())
        x = np.random.default_rng(0).integers(-128, 128, (50, 4), np.int8)
        session = opener(M4)("model.tflite")
        assert session.run([x])[0].tolist() == wanted(x).tolist()

    def test_tensors_keep_their_order_dtype_and_shape(self, invent: Invent) -> None:
        invent(two_tensors())
        named = [{"name": "b"}, {"name": "a"}]
        session = opener(M4)("model.tflite", inputs=named, outputs=named[::-1])
        a, b = np.full((2, 3), 4, np.int8), np.arange(12, dtype=np.int32).reshape(2, 2, 3)
        found = session.run([b, a])
        assert [array.dtype.name for array in found] == ["int8", "int32"]
        assert found[0].tolist() == [[5, 4, 4], [5, 4, 4]]
        assert found[1].tolist() == b.tolist()

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ([], "takes 1 inputs, of one sample at least"),
            ([np.zeros((0, 4), np.int8)], "takes 1 inputs, of one sample at least"),
            ([np.zeros((1, 4), np.float32)], r"'x' is int8 \(4,\) for each sample, .* float32"),
            ([np.zeros((1, 5), np.int8)], r"and was given int8 \(1, 5\)"),
        ],
    )
    def test_samples_of_another_kind(
        self, arrays: list[Any], sentence: str, invent: Invent
    ) -> None:
        invent(sources())
        with pytest.raises(Fault, match=sentence):
            opener(M4)("model.tflite").run(arrays)

    def test_it_has_no_time(self, invent: Invent) -> None:
        invent(sources())
        with pytest.raises(Fault, match="emulated by qemu-system-arm: no timing"):
            opener(M4)("model.tflite").repeat()

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ("*(volatile int *)0x60000001u = 1;", "the Cortex-M4 faults"),
            ("__builtin_trap();", r"the Cortex-M4 faults \(CFSR 0x00010000"),
            (
                "volatile char many[70000]; for (int i = 0; i < 70000; i++) { many[i] = 1; } "
                "(void)many[0];",
                "needs more than 65.5 kB of stack",
            ),
        ],
    )
    def test_code_that_fails(self, body: str, sentence: str, invent: Invent) -> None:
        invent(sources(f"void ek_invoke(void) {{ {body} }}"))
        with pytest.raises(Fault, match=sentence) as caught:
            opener(M4)("model.tflite")
        assert caught.value.code == 3

    def test_code_that_hangs(self, invent: Invent, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_cortex_m_session, "_FIRST_SECONDS", 0.5)
        invent(sources("void ek_invoke(void) { for (;;) { } }"))
        with pytest.raises(Fault, match="the Cortex-M4 did not end within"):
            opener(M4)("model.tflite")

    def test_samples_that_fail_though_the_first_did_not(self, invent: Invent) -> None:
        invent(sources("void ek_invoke(void) { if (arena[0]) { __builtin_trap(); } }"))
        with pytest.raises(Fault, match="the Cortex-M4 faults"):
            opener(M4)("model.tflite").run([self.X])

    def test_answers_of_another_size_are_refused(
        self, invent: Invent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invent(sources())
        session: Any = opener(M4)("model.tflite")
        execute = _cortex_m_session.execute
        for change, sentence in (
            ({"outputs": b"1"}, "gave 1 bytes for 3 samples of 4"),
            ({"instructions": (1,)}, "did not run all samples"),
        ):
            monkeypatch.setattr(
                _cortex_m_session,
                "execute",
                lambda *a, c=change, **k: dataclasses.replace(execute(*a, **k), **c),
            )
            with pytest.raises(Fault, match=sentence):
                session.run([self.X])

    @pytest.mark.parametrize(
        ("limits", "sentence"),
        [
            ({"flash": 1000}, r"needs 2\.\d+ kB of flash, and the target has 1.00 kB"),
            ({"ram": 16}, "needs 32 B of RAM, and the target has 16 B"),
            ({"ram": 40}, r"needs \d+ B of RAM \(with the stack\), and the target has 40 B"),
        ],
    )
    def test_a_chip_that_is_too_small(
        self, limits: dict[str, int], sentence: str, invent: Invent
    ) -> None:
        invent(sources())
        with pytest.raises(Fault, match=sentence) as caught:
            opener(Options("cortex-m4", **limits))("model.tflite")
        assert caught.value.code == 1
        assert "how much" in caught.value.hint


@needs_emulator
class TestLink:
    def test_it_answers_the_protocol_and_leaves_nothing(self, tmp_path: Path) -> None:
        model = tmp_path / "model.tflite"
        model.write_bytes(b"no model")
        link = cortex_m.connect(M4)
        try:
            link.put({"model.tflite": model})
            server = link.start(["serve.py"])
            assert server.stdin
            assert server.stdout
            hello = json.loads(server.stdout.readline())
            assert hello["schema"] == "edgekit-serve/1"
            server.stdin.write(b'{"op": "open", "model": "model.tflite", "format": "tflite"}\n')
            server.stdin.flush()
            answer = json.loads(server.stdout.readline())
            assert (answer["ok"], answer["exit"]) == (False, 3)
            assert "model.tflite" in answer["error"]
        finally:
            link.close()
        assert server.poll() is not None

    def test_a_server_that_ends_is_one_sentence(self) -> None:
        link: Any = cortex_m.connect(M4)
        try:
            error = link.ended(1, "Traceback\nMemoryError: no more\n", during="while it did 'run'")
            silent = link.ended(-9, "", during="while it started")
        finally:
            link.close()
        assert str(error) == (
            "Cortex-M4: the process that builds and runs the model ended while it did 'run' "
            "(exit code 1): MemoryError: no more"
        )
        assert str(silent).endswith("ended while it started (exit code -9)")

"""The folder of C that a user gets: it builds without a warning, and its test can fail."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mcu_sources import needs_emulator, sources, two_tensors, wanted

from edgekit.errors import UsageError
from edgekit.mcu import generate
from edgekit.mcu.generate import Sources
from edgekit.mcu.package import write_sources

X = np.random.default_rng(0).integers(-128, 128, (5, 4), np.int8)

needs_make = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("gcc")), reason="make and gcc are not installed"
)
Unpack = Callable[..., Path]


@pytest.fixture
def unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unpack:
    """Writes the folder of a model that was invented."""

    def write(made: Sources | None = None, y: np.ndarray | None = None) -> Path:
        monkeypatch.setattr(generate, "generate", lambda path: made or sources())
        folder = tmp_path / "c"
        folder.mkdir()
        answers = wanted(X) if y is None else y
        for name, content in write_sources(
            tmp_path / "m.tflite", inputs=[X], outputs=[answers], name="tiny"
        ).items():
            (folder / name).write_bytes(content)
        return folder

    return write


def make(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        ["make", "-s", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
    )
    return done.returncode, done.stdout + done.stderr


CROSS = ("CROSS=arm-none-eabi-", "CPU=cortex-m4")


@needs_make
class TestOnThisComputer:
    def test_the_golden_samples_are_right(self, unpack: Unpack) -> None:
        code, said = make(unpack(), "test")
        assert (code, "ok: 5 of 5 golden samples are right\n" in said) == (0, True)

    def test_one_wrong_answer_is_found(self, unpack: Unpack) -> None:
        off = wanted(X)
        off[3, 1] += 1
        code, said = make(unpack(y=off), "test")
        assert code != 0
        assert "BAD: 4 of 5 golden samples are right\n" in said

    def test_a_warning_is_an_error(self, unpack: Unpack) -> None:
        code, said = make(unpack(sources("void ek_invoke(void) { int idle; }")), "test")
        assert code != 0
        assert "unused variable" in said

    def test_everything_goes_with_clean(self, unpack: Unpack) -> None:
        folder = unpack()
        before = {path.name for path in folder.iterdir()}
        make(folder)
        assert (folder / "build/host/libek_model.a").is_file()
        assert make(folder, "clean")[0] == 0
        assert {path.name for path in folder.iterdir()} == before

    def test_sizes_are_those_of_a_microcontroller(self, unpack: Unpack) -> None:
        code, said = make(unpack(), "size")
        assert code != 0
        assert "give CROSS=arm-none-eabi- and CPU" in said

    def test_another_core_is_refused(self, unpack: Unpack) -> None:
        code, said = make(unpack(), "CROSS=arm-none-eabi-", "CPU=cortex-a53")
        assert code != 0
        assert "CPU=cortex-a53 is not known here: cortex-m3, cortex-m4 or cortex-m7" in said


@needs_make
@needs_emulator
class TestOnAMicrocontroller:
    @pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4", "cortex-m7"])
    def test_the_firmware_runs(self, cpu: str, unpack: Unpack) -> None:
        code, said = make(unpack(), "CROSS=arm-none-eabi-", f"CPU={cpu}", "run")
        assert code == 0, said
        assert re.search(
            r"ok: 5 of 5 golden samples are right, \d+ bytes of stack were in use\n", said
        )

    def test_one_wrong_answer_is_found(self, unpack: Unpack) -> None:
        off = wanted(X)
        off[0, 0] += 1
        code, said = make(unpack(y=off), *CROSS, "test")
        assert code != 0
        assert "BAD: 4 of 5 golden samples are right" in said

    def test_a_fault_is_said(self, unpack: Unpack) -> None:
        made = sources("void ek_invoke(void) { __builtin_trap(); }")
        code, said = make(unpack(made), *CROSS, "run")
        assert code != 0
        assert "BAD: a fault, CFSR 65536, BFAR " in said

    def test_a_stack_that_is_too_small_is_said(self, unpack: Unpack) -> None:
        big = "volatile char b[4000]; for (int i = 0; i < 4000; i++) { b[i] = 0; } (void)b[0];"
        made = sources(f"void ek_invoke(void) {{ {big} }}")
        code, said = make(unpack(made), *CROSS, "STACK_SIZE=2K", "run")
        assert code != 0
        assert "BAD: 0 of 5 golden samples" in said

    def test_sizes(self, unpack: Unpack) -> None:
        helper = "__attribute__((noinline)) static void deep(volatile int8_t *p) {"
        helper += " volatile char own[200]; for (int i = 0; i < 200; i++) { own[i] = *p; }"
        helper += " (void)own[0]; }"
        invoke = "void ek_invoke(void) { volatile int8_t own[100]; own[0] = *arena;"
        invoke += " deep(own); (void)own[0]; }"
        code, said = make(unpack(sources(f"{helper}\n{invoke}\n")), *CROSS, "size")
        assert code == 0, said
        flash, ram, stack = (int(number) for number in re.findall(r" (\d+) bytes", said))
        assert 50 < flash < 500
        assert ram == 32
        assert 300 <= stack < 400
        assert "at least" not in said

    def test_a_stack_without_a_bound_is_said(self, unpack: Unpack) -> None:
        invoke = (
            "__attribute__((noinline, noclone)) static int down(volatile int n) {"
            " volatile int own = n; return n > 0 ? down(n - 1) + own : 0; }\n"
            "void ek_invoke(void) { arena[16] = (int8_t)down(arena[0]); }\n"
        )
        code, said = make(unpack(sources(invoke)), *CROSS, "size")
        assert code == 0, said
        assert "stack at least " in said

    def test_a_chip_that_is_too_small_is_refused_by_the_linker(self, unpack: Unpack) -> None:
        folder = unpack()
        memory = ("SEMIHOSTING=0", "FLASH_START=0x08000000", "RAM_SIZE=2K", "STACK_SIZE=1K")
        code, said = make(folder, *CROSS, *memory, "FLASH_SIZE=4K")
        assert code == 0, said
        assert make(folder, "clean")[0] == 0
        code, said = make(folder, *CROSS, *memory, "FLASH_SIZE=1K")
        assert code != 0
        assert "region `FLASH' overflowed" in said


class TestWhatIsWritten:
    def test_numbers_stand_in_the_readme(self, unpack: Unpack) -> None:
        readme = (unpack() / "README.md").read_text()
        for text in (
            "# tiny as C for a microcontroller",
            "memcpy(ek_input(0), my_input_0, EK_INPUT_0_BYTES);",
            "| input 0 `x` | int8, 1 x 4, real = 0.5 * (stored - 3) |",
            "| arena (RAM that activations share) | 32 bytes |",
            "| weights and other constants (flash) | 4 bytes |",
            "| ops | FULLY_CONNECTED 1, NEG 1 |",
            "$ make test ",
        ):
            assert text in readme

    def test_golden_data_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(generate, "generate", lambda path: sources())
        many = np.zeros((20_000, 4), np.int8)
        files = write_sources(tmp_path, inputs=[many], outputs=[wanted(many)])
        assert b"#define GOLDEN_SAMPLES 8192\n" in files["golden_data.h"]

    @needs_make
    def test_several_tensors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(generate, "generate", lambda path: two_tensors())
        a, b = np.full((2, 3), 4, np.int8), np.arange(12, dtype=np.int32).reshape(2, 2, 3)
        after = a + np.array([1, 0, 0], np.int8)
        for name, content in write_sources(tmp_path, inputs=[a, b], outputs=[b, after]).items():
            (tmp_path / name).write_bytes(content)
        code, said = make(tmp_path, "test")
        assert (code, "ok: 2 of 2 golden samples are right\n" in said) == (0, True)

    @pytest.mark.parametrize(
        ("inputs", "outputs", "sentence"),
        [
            ([X, X], [wanted(X)], "golden inputs: the model has 1 inputs, and 2 are given"),
            ([X], [], "golden outputs: the model has 1 outputs, and 0 are given"),
            ([X[:2]], [wanted(X)], "golden samples: .* the same number, one at least"),
            ([X[:0]], [wanted(X[:0])], "golden samples: .* the same number, one at least"),
            ([X.astype("f4")], [wanted(X)], r"golden inputs: 'x' is int8 \(4,\).* float32 \(4,\)"),
            ([X], [wanted(X)[:, :1]], r"golden outputs: 'y' is int16 \(2,\).* int16 \(1,\)"),
        ],
    )
    def test_golden_data_of_another_model(
        self,
        inputs: list[np.ndarray],
        outputs: list[np.ndarray],
        sentence: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(generate, "generate", lambda path: sources())
        with pytest.raises(UsageError, match=sentence):
            write_sources(Path("m.tflite"), inputs=inputs, outputs=outputs)

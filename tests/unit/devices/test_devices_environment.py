"""This machine with packages of its own: a folder, a process with pipes, and nothing left over."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from local_scripts import ECHO, REFERENCE, Bars, int8_convolution, ready, script

from edgekit.core.schema import build
from edgekit.devices import environment
from edgekit.devices._local import ISOLATED, LocalLink
from edgekit.devices.environment import Options
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.frameworks.isolated import own_variables
from edgekit.frameworks.isolated_folder import write_marker

TINY = Options(("tiny==1.0", "numpy==1.26.4"), ("3.99",), "tiny", 7)
TABLE = {"packages": ["tiny==1.0"], "pythons": ["3.11"], "module": "tiny.part"}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files: empty, and so it has to be in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def made() -> Path:
    """TINY's environment as if it had been made, with this Python."""
    folder = environment._requirements(TINY).folder(Path(os.environ["EDGEKIT_CACHE"]), "3.99")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    write_marker(folder, {"python": "3.99.1"})
    return folder


def link() -> LocalLink:
    return LocalLink([sys.executable, *ISOLATED], own_variables(), device="this machine")


class TestLink:
    def test_talks_and_leaves_nothing(self, temporary: Path, tmp_path: Path) -> None:
        open_link = link()
        open_link.put({"run.py": script(tmp_path, ECHO)})
        process = open_link.start(["run.py"])
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        process.stdin.write(b"abc\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"cba\n"
        assert list(temporary.iterdir())
        open_link.close()
        assert process.returncode == -9
        assert not list(temporary.iterdir())
        open_link.close()
        with pytest.raises(UnmeasuredError, match="'run.py' cannot be copied to its folder"):
            open_link.put({"run.py": tmp_path / "run.py"})
        assert not list(temporary.iterdir())

    def test_ends_with_its_stdin(self, tmp_path: Path) -> None:
        open_link = link()
        open_link.put({"run.py": script(tmp_path, ECHO)})
        process = open_link.start(["run.py"])
        out, err = process.communicate(timeout=60)
        open_link.close()
        assert (process.returncode, out, err) == (0, b"hello\n", b"")

    def test_what_was_not_written_is_dropped(self, tmp_path: Path) -> None:
        open_link = link()
        open_link.put({"run.py": script(tmp_path, "import time; time.sleep(60)")})
        process = open_link.start(["run.py"])
        assert process.stdin is not None
        process.stdin.write(b"x" * 100)
        open_link.close()
        assert process.stdin.closed

    def test_kills_what_the_process_started(self, tmp_path: Path) -> None:
        text = "import subprocess as s\nprint(s.Popen(['sleep', '60']).pid, flush=True)\ninput()"
        open_link = link()
        open_link.put({"run.py": script(tmp_path, text)})
        process = open_link.start(["run.py"])
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        open_link.close()
        assert gone(pid)

    def test_sees_the_files_and_no_modules_of_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        script(tmp_path, "raise SystemExit('not to be imported')", "json.py")
        text = "import json, os, tempfile\nprint(json.dumps([sorted(os.listdir('a')), "
        text += "os.path.relpath(tempfile.gettempdir()), os.listdir()]))"
        open_link = link()
        run = script(tmp_path, text)
        open_link.put({"run.py": run, "json.py": tmp_path / "json.py", "a/b/c.txt": run})
        out, err = open_link.start(["run.py"]).communicate(timeout=60)
        open_link.close()
        assert not err
        inside, temporary, names = json.loads(out)
        assert (inside, temporary) == (["b"], "../tmp")
        assert sorted(names) == ["a", "json.py", "run.py"]

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a//x", "", "a b", "./x", "x\n"])
    def test_a_name_that_leads_out_of_the_folder(
        self, temporary: Path, tmp_path: Path, name: str
    ) -> None:
        open_link = link()
        with pytest.raises(UsageError, match="not a name that a file may have"):
            open_link.put({name: script(tmp_path, ECHO)})
        open_link.close()
        assert not list(temporary.iterdir())

    def test_a_file_that_is_gone(self, tmp_path: Path) -> None:
        open_link = link()
        with pytest.raises(UnmeasuredError, match="this machine: 'x' cannot be copied .* No such"):
            open_link.put({"x": tmp_path / "gone"})
        open_link.close()

    def test_no_python(self, tmp_path: Path) -> None:
        open_link = LocalLink([str(tmp_path / "gone")], {}, device="this machine")
        with pytest.raises(UnmeasuredError, match="gone does not start: No such file"):
            open_link.start(["run.py"])
        open_link.close()

    def test_no_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        with pytest.raises(UnmeasuredError, match="no folder can be made for it") as error:
            link()
        assert "TMPDIR" in error.value.hint

    def test_no_folder_in_it(self, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(path: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "mkdir", full)
        with pytest.raises(UnmeasuredError, match="No space left on device"):
            link()
        monkeypatch.undo()
        assert not list(temporary.iterdir())


class TestOptions:
    def test_from_a_table(self) -> None:
        assert build(Options, TABLE, where="x").packages == ("tiny==1.0",)

    @pytest.mark.parametrize(
        ("key", "value", "sentence"),
        [
            ("packages", [], "packages must name one package at least"),
            ("packages", ["tiny"], "packages must be pins such as 'numpy==1.26.4', not 'tiny'"),
            ("packages", ["--index-url=x"], "not '--index-url=x'"),
            ("packages", ["tiny==1.0 -r x"], "must be pins"),
            ("packages", ["tiny @ http://x/y.whl"], "must be pins"),
            ("pythons", [], "pythons must name one version at least"),
            ("pythons", ["3"], "pythons must be versions such as '3.11', not '3'"),
            ("module", "os; import x", "module must be a name such as 'numpy.linalg'"),
        ],
    )
    def test_refused(self, key: str, value: object, sentence: str) -> None:
        with pytest.raises(UsageError) as error:
            build(Options, {**TABLE, key: value}, where="t.toml: device")
        assert sentence in error.value.message


class TestDevice:
    def test_not_made_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        monkeypatch.setenv("EDGEKIT_ISOLATED_PYTHON", sys.executable)
        options = Options(TINY.packages, (here,), "tiny", 7)
        found = environment.unavailable(options)
        assert found == (
            "the environment with tiny 1.0, numpy 1.26.4 is not made yet: `edgekit doctor --target "
            "NAME --install` makes it (a download of about 7 MB)"
        )
        with pytest.raises(UnmeasuredError, match="is not made yet"):
            environment.connect(options)
        assert "no Python yet" in environment.describe(options)

    def test_no_python_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGEKIT_ISOLATED_PYTHON", sys.executable)
        assert "is Python 3." in environment.unavailable(TINY)
        with pytest.raises(UsageError, match="is Python 3."):
            environment.install(TINY, Bars())

    def test_not_on_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "win32")
        assert "Linux and macOS only" in environment.unavailable(TINY)

    def test_made(self, made: Path, tmp_path: Path) -> None:
        assert not environment.unavailable(TINY)
        environment.install(TINY, Bars())
        assert "Python 3.99.1 of an environment with tiny 1.0" in environment.describe(TINY)
        open_link = environment.connect(TINY)
        text = "import os, sys\nprint(os.environ['PATH'].split(os.pathsep)[0], sys.flags.isolated)"
        open_link.put({"run.py": script(tmp_path, text)})
        out, err = open_link.start(["run.py"]).communicate(timeout=60)
        open_link.close()
        assert (out.decode().split(), err) == ([str(made / "bin"), "1"], b"")

    def test_it_sees_the_variables_of_the_target(self, made: Path, tmp_path: Path) -> None:
        options = replace(TINY, variables={"ONEDNN_MAX_CPU_ISA": "AVX2"}, untimed="emulated")
        assert environment.untimed(options) == "emulated"
        assert environment.untimed(TINY) == ""
        open_link = environment.connect(options)
        text = "import os\nprint(os.environ['ONEDNN_MAX_CPU_ISA'])"
        open_link.put({"run.py": script(tmp_path, text)})
        out, _ = open_link.start(["run.py"]).communicate(timeout=60)
        open_link.close()
        assert out == b"AVX2\n"
        with pytest.raises(ValueError, match="'PATH=x' is no name of an environment variable"):
            replace(TINY, variables={"PATH=x": "1"})

    def test_what_the_machine_lacks_is_said_before_any_download(self, tmp_path: Path) -> None:
        options = replace(TINY, needs=(str(tmp_path / "nvidia0"),), needs_reason="no NVIDIA GPU")
        assert environment.unavailable(options) == "no NVIDIA GPU"
        assert "nvidia0 is there" in environment.unavailable(replace(options, needs_reason=""))
        with pytest.raises(UsageError, match="no NVIDIA GPU"):
            environment.install(options, Bars())
        (tmp_path / "nvidia0").touch()
        assert "NVIDIA" not in environment.unavailable(options)

    def test_one_whose_python_is_gone_is_not_there(self, made: Path) -> None:
        (made / "bin" / "python").unlink()
        with pytest.raises(UnmeasuredError):
            environment.connect(TINY)

    @pytest.mark.slow
    def test_tflite_runtime(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        """The real wheels give what LiteRT's reference kernels give."""
        spec = ready("cpu-tflite-runtime", request)
        (tmp_path / "model.tflite").write_bytes(int8_convolution())
        x = np.random.default_rng(1).integers(-128, 128, (1, 8, 8, 4)).astype(np.int8)
        np.save(tmp_path / "x.npy", x)
        files = {name: tmp_path / name for name in ("model.tflite", "x.npy")}
        found = []
        for open_link, module in (
            (link(), "ai_edge_litert.interpreter"),
            (environment.connect(spec.options), "tflite_runtime.interpreter"),
        ):
            open_link.put({"run.py": script(tmp_path, REFERENCE), **files})
            out, err = open_link.start(["run.py", module]).communicate(timeout=60)
            open_link.close()
            assert out, err
            found.append(json.loads(out)["y"])
        assert found[0] == found[1]
        assert len(set(found[0])) > 20


def gone(pid: int) -> bool:
    """A killed orphan may stay as a zombie until init takes it."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False

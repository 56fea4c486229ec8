"""Isolated environments: which Python, made once and whole, and errors that say the cause."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.frameworks import _isolated_python, isolated
from edgekit.frameworks._isolated_python import VARIABLE, find_python
from edgekit.frameworks._isolated_run import RunError, run_lines
from edgekit.frameworks.isolated import Environment, Requirements

FAKE = f"""#!{sys.executable}
import json, os, shutil, sys
args = sys.argv[1:]
if "-c" in args:
    code = args[args.index("-c") + 1]
    if "json.dumps" in code:
        found = {{"version": "3.99.1", "path": __file__, "usual": True, "venv": True}}
        print(json.dumps({{**found, **json.loads(os.environ.get("FAKE_SAYS", "{{}}"))}}))
    sys.exit(0 if "json.dumps" in code else int(os.environ.get("FAKE_IMPORT", "0")))
if args[:2] == ["-m", "venv"]:
    os.makedirs(args[2] + "/bin")
    shutil.copy(__file__, args[2] + "/bin/python")
    sys.exit(0)
if args[:2] == ["-m", "pip"]:
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write("pip\\n")
    print(os.environ.get("FAKE_PIP", "Collecting tiny==1.0\\nProcessing ./other-2.0.whl"))
    sys.exit(int(os.environ.get("FAKE_PIP_CODE", "0")))
os.execv(sys.executable, [sys.executable, *args])
"""
TINY = Requirements("tiny", ("tiny==1.0", "other==2.0"), ("3.99",), "tiny", 1, "making tiny")


class Bars:
    """What was shown."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.advanced: list[str] = []

    @contextlib.contextmanager
    def __call__(self, text: str, total: int) -> Iterator[Bars]:
        self.texts.append(text)
        yield self

    def advance(self, count: int = 1, text: str = "") -> None:
        self.advanced.append(text)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no other Python than the one that runs the tests."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return tmp_path


def fake(path: Path, text: str = FAKE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def python(nowhere: Path) -> Path:
    """A Python 3.99 on PATH whose venv and pip do nothing real."""
    return fake(nowhere / "bin" / "python3.99")


class TestFindPython:
    def test_this_one_where_it_fits(self, nowhere: Path) -> None:
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
        found = find_python(("3.99", minor), needed_for="it")
        assert found.minor == minor
        assert found.path.exists()

    def test_on_path(self, python: Path) -> None:
        assert find_python(("3.99",), needed_for="it").path == python

    @pytest.mark.parametrize(
        "place", [".pyenv/versions/3.99.1", ".local/share/uv/python/cpython-3.99.1-linux-x86_64"]
    )
    def test_of_pyenv_and_uv(self, nowhere: Path, place: str) -> None:
        path = fake(nowhere / place / "bin" / "python3.99")
        assert find_python(("3.99",), needed_for="it").path == path

    def test_of_the_py_launcher(self, nowhere: Path) -> None:
        real = fake(nowhere / "hidden" / "python")
        fake(nowhere / "bin" / "py", f"#!/bin/sh\necho {real}\n")
        assert find_python(("3.99",), needed_for="it").path == real

    def test_a_shim_that_does_not_start_is_passed_over(self, nowhere: Path) -> None:
        fake(nowhere / "bin" / "python3.99", "#!/bin/sh\necho no such version; exit 127\n")
        path = fake(nowhere / ".pyenv/versions/3.99.1/bin/python3.99")
        assert find_python(("3.99",), needed_for="it").path == path

    def test_none(self, nowhere: Path) -> None:
        with pytest.raises(UsageError, match="it needs Python 3.99, and none is found") as error:
            find_python(("3.99",), needed_for="it")
        assert VARIABLE in error.value.hint

    def test_without_venv(self, python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_SAYS", '{"venv": false}')
        with pytest.raises(UsageError, match="has no module 'venv'") as error:
            find_python(("3.99",), needed_for="it")
        assert "apt install python3.99-venv" in error.value.hint

    def test_named(self, python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "python3.99")
        assert find_python(("3.99",), needed_for="it").path == python

    def test_the_one_of_several_that_fits(
        self, python: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(VARIABLE, os.pathsep.join((sys.executable, str(python))))
        assert find_python(("3.99",), needed_for="it").path == python
        with pytest.raises(UsageError, match=r"is Python 3\.1\d.*, '.*' is Python 3\.99\.1"):
            find_python(("3.98",), needed_for="it")

    @pytest.mark.parametrize(
        ("says", "reason"),
        [
            ('{"version": "3.8.1"}', "is Python 3.8.1"),
            ('{"usual": false}', "is not CPython"),
            ('{"venv": false}', "has no module 'venv'"),
            ('{"version": null}', "is no Python that starts"),
        ],
    )
    def test_named_and_unfit(
        self, python: Path, monkeypatch: pytest.MonkeyPatch, says: str, reason: str
    ) -> None:
        monkeypatch.setenv(VARIABLE, str(python))
        monkeypatch.setenv("FAKE_SAYS", says)
        if "null" in says:
            monkeypatch.setattr(_isolated_python, "_output", lambda command: "no JSON")
        with pytest.raises(UsageError, match=reason):
            find_python(("3.99",), needed_for="it")


class TestEnsure:
    def test_is_made_once(self, python: Path, tmp_path: Path) -> None:
        bars = Bars()
        made = isolated.ensure(TINY, bars, tmp_path / "cache")
        assert made.python.is_file()
        assert bars.texts == ["install tiny (once, about 1 MB)"]
        assert "tiny" in bars.advanced
        again = Bars()
        assert isolated.ensure(TINY, again, tmp_path / "cache") == made
        assert not again.texts
        assert (tmp_path / "log").read_text() == "pip\n"

    def test_other_pins_are_another_one(self, python: Path, tmp_path: Path) -> None:
        other = Requirements("tiny", ("tiny==2.0",), ("3.99",), "tiny", 1, "it")
        made = [isolated.ensure(wanted, Bars(), tmp_path).folder for wanted in (TINY, other)]
        assert made[0] != made[1]

    def test_what_was_interrupted_is_made_anew(self, python: Path, tmp_path: Path) -> None:
        folder = TINY.folder(tmp_path, "3.99")
        (folder / "bin").mkdir(parents=True)
        (folder / "half").touch()
        isolated.ensure(TINY, Bars(), tmp_path)
        assert not (folder / "half").exists()

    def test_one_whose_python_is_gone_is_made_anew(self, python: Path, tmp_path: Path) -> None:
        made = isolated.ensure(TINY, Bars(), tmp_path)
        made.python.unlink()
        made.python.symlink_to(tmp_path / "gone")
        assert isolated.ensure(TINY, Bars(), tmp_path).python.exists()

    def test_a_second_process_waits(self, python: Path, tmp_path: Path) -> None:
        folder = TINY.folder(tmp_path, "3.99")
        folder.parent.mkdir(parents=True)
        bars, made = Bars(), []
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            second = threading.Thread(
                target=lambda: made.append(isolated.ensure(TINY, bars, tmp_path))
            )
            second.start()
            while not bars.texts:
                time.sleep(0.01)
            assert not made
        second.join(20)
        assert bars.texts == [
            "wait for another run to install tiny",
            "install tiny (once, about 1 MB)",
        ]
        assert made

    @pytest.mark.parametrize(
        ("said", "cause", "hint"),
        [
            (
                "WARNING: Retrying after connection broken by 'NewConnectionError: Temporary "
                "failure in name resolution'\nERROR: No matching distribution found",
                "pip cannot reach the package index",
                "go online once",
            ),
            (
                "Collecting tiny\nERROR: No matching distribution found for tiny==1.0\nERROR: x",
                "exit code 1: No matching distribution found for tiny==1.0",
                VARIABLE,
            ),
            ("something odd", "exit code 1: something odd", VARIABLE),
        ],
    )
    def test_pip_fails(
        self,
        python: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        said: str,
        cause: str,
        hint: str,
    ) -> None:
        monkeypatch.setenv("FAKE_PIP", said)
        monkeypatch.setenv("FAKE_PIP_CODE", "1")
        with pytest.raises(UsageError) as error:
            isolated.ensure(TINY, Bars(), tmp_path)
        assert error.value.message.startswith("making tiny needs an environment of its own")
        assert cause in error.value.message
        assert hint in error.value.hint
        assert not TINY.folder(tmp_path, "3.99").exists()

    def test_what_cannot_be_imported_is_not_kept(
        self, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_IMPORT", "3")
        with pytest.raises(UsageError, match="python ended with exit code 3"):
            isolated.ensure(TINY, Bars(), tmp_path)
        assert not TINY.folder(tmp_path, "3.99").exists()

    def test_a_cache_that_cannot_be_written(self, python: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="EDGEKIT_CACHE .* cannot be made there"):
            isolated.ensure(TINY, Bars(), tmp_path / "file")

    @pytest.mark.slow
    def test_with_a_real_venv_and_pip(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
        wheel = tmp_path / "tiny_edge-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tiny_edge.py", "value = 7\n")
            archive.writestr(
                "tiny_edge-1.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: tiny-edge\nVersion: 1.0\n",
            )
            archive.writestr(
                "tiny_edge-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
            )
            archive.writestr("tiny_edge-1.0.dist-info/RECORD", "")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        wanted = Requirements("real", ("tiny-edge==1.0",), (minor,), "tiny_edge", 1, "it")
        made = isolated.ensure(wanted, Bars(), tmp_path / "cache")
        script = tmp_path / "script.py"
        script.write_text(
            "import json, sys, tiny_edge\nasked = json.load(open(sys.argv[1]))\n"
            "json.dump({'found': tiny_edge.value + asked['one']}, open(asked['answer'], 'w'))\n"
        )
        found = made.run(script, {"one": 1}, folder=tmp_path / "work", limit_seconds=60)
        assert found == {"found": 8}
        status = isolated.status(wanted, tmp_path / "cache")
        assert status.is_present
        assert status.size_mb is not None


class TestStatus:
    def test_there(self, python: Path, tmp_path: Path) -> None:
        isolated.ensure(TINY, Bars(), tmp_path)
        found = isolated.status(TINY, tmp_path)
        assert found.is_present
        assert "made with Python 3.99.1" in found.summary

    def test_can_be_made(self, python: Path, tmp_path: Path) -> None:
        found = isolated.status(TINY, tmp_path)
        assert not found.is_present
        assert not found.problem
        assert f"made on first use with {python}" in found.summary

    def test_cannot(self, nowhere: Path, tmp_path: Path) -> None:
        found = isolated.status(TINY, tmp_path)
        assert "needs Python 3.99" in found.problem
        assert VARIABLE in found.hint


class TestRun:
    def script(self, folder: Path, text: str) -> list[str]:
        path = folder / "script.py"
        path.write_text(text, encoding="utf-8")
        return [sys.executable, "-s", "-P", str(path)]

    def test_no_stdin_and_our_packages_are_not_seen(self, tmp_path: Path) -> None:
        (tmp_path / "zip.py").write_text("")
        text = "import os, sys\nprint(len(sys.stdin.read()), os.environ.get('PYTHONPATH'))\n"
        text += "print(os.path.dirname(__file__) in sys.path)"
        environment = _isolated_python.own_variables()
        lines = run_lines(
            self.script(tmp_path, text), cwd=tmp_path, environment=environment, limit_seconds=60
        )
        assert lines == ["0 None", "False"]

    def test_own_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", "ours")
        monkeypatch.setenv("VIRTUAL_ENV", "ours")
        assert "ours" not in _isolated_python.own_variables().values()

    def test_no_answer(self, tmp_path: Path) -> None:
        self.script(tmp_path, "print('hello')")
        ready = Environment(tmp_path, Path(sys.executable))
        with pytest.raises(RunError, match="without an answer") as error:
            ready.run(tmp_path / "script.py", {}, folder=tmp_path / "w", limit_seconds=60)
        assert error.value.lines == ["hello"]

    @pytest.mark.parametrize(
        ("text", "how"),
        [
            ("import sys; sys.exit(3)", "ended with exit code 3"),
            ("import os; os.kill(os.getpid(), 11)", "crashed with SIGSEGV"),
            ("import os; os.kill(os.getpid(), 40)", "crashed with signal 40"),
        ],
    )
    def test_how_it_ended(self, tmp_path: Path, text: str, how: str) -> None:
        with pytest.raises(RunError, match=how):
            run_lines(self.script(tmp_path, text), cwd=tmp_path, environment={}, limit_seconds=60)

    def test_does_not_start(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="did not start"):
            run_lines([str(tmp_path / "no")], cwd=tmp_path, environment={}, limit_seconds=60)

    SLEEPER = (
        "import subprocess, sys\nchild = subprocess.Popen(['sleep', '60'])\n"
        "print(child.pid, flush=True)\nchild.wait()"
    )

    def test_its_children_are_killed_when_the_time_is_up(self, tmp_path: Path) -> None:
        heard: list[str] = []
        with pytest.raises(RunError, match="did not end within 1 s"):
            run_lines(
                self.script(tmp_path, self.SLEEPER),
                cwd=tmp_path,
                environment=os.environ,
                limit_seconds=1,
                heard=heard.append,
            )
        assert gone(int(heard[0]))

    def test_its_children_are_killed_on_ctrl_c(
        self, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        # A process that was started in the background ignores Ctrl-C.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
        pids: list[int] = []

        def heard(line: str) -> None:
            pids.append(int(line))
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            run_lines(
                self.script(tmp_path, self.SLEEPER),
                cwd=tmp_path,
                environment=os.environ,
                limit_seconds=60,
                heard=heard,
            )
        assert gone(pids[0])


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

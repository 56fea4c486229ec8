"""An emulated arm board: what is missing is said, what it runs on is made once, and it computes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from local_scripts import ECHO, REFERENCE, Bars, int8_convolution, ready, script

from edgekit.core.schema import build
from edgekit.devices import _qemu, _sysroot_debian, _sysroot_wheels, qemu_user
from edgekit.devices._local import ISOLATED, LocalLink
from edgekit.devices._qemu_cpus import CPUS
from edgekit.devices.qemu_user import Options
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.frameworks.isolated import own_variables

TABLE = {"machine": "aarch64", "cpu": "cortex-a76", "packages": ["tiny==1.0"], "module": "tiny"}
TINY = build(Options, TABLE, where="test")

QEMU = f"""#!/bin/sh
[ "$1" = --version ] && echo 'qemu-aarch64 version 9.8.7 (Debian)' && exit
[ "$2" = help ] && printf 'Available CPUs:\\n  cortex-a53\\n  cortex-a76\\n' && exit
case "$*" in *platform.python_version*) echo 3.11.2; exit $FAKE_CODE;; esac
shift 5
exec {sys.executable} "$@"
"""
APT = """#!/bin/sh
echo "$*" >> "$FAKE_LOG"
case "$1" in indextargets) cat "$FAKE_TARGETS"; exit;; esac
for word in "$@"; do case "$word" in Dir::Cache::archives=*) to=${word#*=};; esac; done
case "$*" in *install*) touch "$to/a_arm64.deb" "$to/b_arm64.deb";; esac
echo "$FAKE_APT"
exit $FAKE_APT_CODE
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin" "$3/usr/lib/arm/blas" "$3/etc"
touch "$3/usr/bin/python3.11" "$3/usr/lib/arm/blas/libblas.so.3"
"""
TARGETS = """http://one.example/ubuntu/|Ubuntu|$(SIGNED_BY)
http://one.example/debian-security/|Debian|$(SIGNED_BY)
http://one.example/debian/|Debian|$(SIGNED_BY)
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with nothing but what lies in the returned folder (on its PATH)."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cat", "touch", "mkdir", "sleep", "true"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("EDGEKIT_DEBIAN", raising=False)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAKE_TARGETS", str(tmp_path / "targets"))
    (tmp_path / "targets").write_text(TARGETS)
    _qemu._say.cache_clear()
    yield programs
    _qemu._say.cache_clear()


def fake(folder: Path, **programs: str) -> None:
    for name, text in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)


@pytest.fixture
def able(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with qemu and an apt that downloads nothing; pip has a folder with one wheel."""
    fake(machine, qemu_aarch64_static=QEMU, apt_get=APT, dpkg_deb=DPKG)
    wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return machine


def wheel(folder: Path, tag: str = "cp311-cp311-manylinux_2_28_aarch64", **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"tiny-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {
            "tiny.py": "value = 7\n",
            "tiny-1.0.data/platlib/more.py": "",
            "tiny-1.0.data/scripts/run": "",
            "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            "tiny-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
            "tiny-1.0.dist-info/RECORD": "",
            **files,
        }.items():
            archive.writestr(name, text)
    return path


class TestOptions:
    @pytest.mark.parametrize(
        ("key", "value", "sentence"),
        [
            ("packages", ["tiny"], "packages must be pins such as 'numpy==1.26.4', not 'tiny'"),
            ("debs", ["-o x"], "debs must be names such as 'python3-numpy', not '-o x'"),
            ("module", "a b", "module must be a name"),
            ("cpu", "cortex-a7", "cpu of aarch64 must be cortex-a76 or cortex-a72 or cortex-a53"),
            ("cpu", "max", "unknown value 'max'"),
            ("python", "3.7", "unknown value '3.7'"),
        ],
    )
    def test_refused(self, key: str, value: object, sentence: str) -> None:
        with pytest.raises(UsageError) as error:
            build(Options, {**TABLE, key: value}, where="t.toml: device")
        assert sentence in error.value.message


class TestMissing:
    def test_qemu(self, machine: Path) -> None:
        found = qemu_user.unavailable(TINY)
        assert found.startswith("qemu-aarch64-static is not installed: ")
        assert "apt install qemu-user-static" in found
        assert "qemu-aarch64 (not installed)" in qemu_user.describe(TINY)
        with pytest.raises(UsageError, match="qemu-user: qemu-aarch64-static is not installed"):
            qemu_user.install(TINY, Bars())
        with pytest.raises(UnmeasuredError, match="qemu-user: qemu-aarch64-static is not"):
            qemu_user.connect(TINY)

    def test_linux(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert "for Linux only" in qemu_user.unavailable(TINY)

    def test_a_qemu_that_knows_the_processor(self, machine: Path) -> None:
        fake(machine, qemu_aarch64=QEMU)
        found = qemu_user.unavailable(replace(TINY, cpu="cortex-a72"))
        assert "qemu-aarch64 9.8.7 does not know the processor cortex-a72" in found

    def test_a_qemu_that_does_not_start(self, machine: Path) -> None:
        fake(machine, qemu_aarch64="no program")
        assert "that is installed does not know" in qemu_user.unavailable(TINY)

    def test_apt(self, machine: Path) -> None:
        fake(machine, qemu_aarch64_static=QEMU)
        found = qemu_user.unavailable(TINY)
        assert found.startswith("the Debian 12 arm64 system that it runs cannot be made here: ")
        assert "apt-get is not there" in found
        fake(machine, apt_get="#!/bin/sh\n")
        assert "dpkg-deb is not there" in qemu_user.unavailable(TINY)

    def test_debian(self, able: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "targets").write_text(TARGETS.splitlines()[0])
        found = qemu_user.unavailable(TINY)
        assert "apt is not set up for Debian here" in found
        monkeypatch.setenv("EDGEKIT_DEBIAN", "x y")
        assert "EDGEKIT_DEBIAN 'x y' is not the address" in qemu_user.unavailable(TINY)
        monkeypatch.setenv("EDGEKIT_DEBIAN", "http://two.example/debian")
        assert "is not made yet" in qemu_user.unavailable(TINY)

    def test_an_apt_that_does_not_start(self, able: Path) -> None:
        fake(able, apt_get="no program")
        assert "apt is not set up for Debian here" in qemu_user.unavailable(TINY)

    def test_pip(self, able: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_sysroot_wheels.lazy, "version", lambda name: "")
        assert "pip is not there" in qemu_user.unavailable(TINY)

    def test_only_the_system(self, able: Path) -> None:
        assert qemu_user.unavailable(TINY) == (
            "the Debian 12 arm64 system that it runs is not made yet: `edgekit doctor --target "
            "NAME --install` makes it (a download of about 50 MB)"
        )


class TestInstall:
    def test_is_made_once(self, able: Path, tmp_path: Path) -> None:
        bars = Bars()
        qemu_user.install(TINY, bars)
        assert bars.texts == ["install Debian 12 arm64 (once, about 50 MB)"]
        assert bars.advanced == 6
        assert not qemu_user.unavailable(TINY)
        folder = qemu_user._sysroot(TINY).folder()
        assert {path.name for path in folder.iterdir()} == {
            *("root", "edgekit.json", "cortex-a53", "cortex-a72", "cortex-a76")
        }
        site = folder / "root/usr/local/lib/python3.11/dist-packages"
        assert {path.name for path in site.iterdir()} == {
            "tiny.py",
            "more.py",
            "tiny-1.0.dist-info",
        }
        assert (folder / "root/usr/lib/arm/libblas.so.3").exists()
        again, log = Bars(), (tmp_path / "log").read_text()
        qemu_user.install(TINY, again)
        assert not again.texts
        assert (tmp_path / "log").read_text() == log

    def test_apt_is_private(self, able: Path, tmp_path: Path) -> None:
        qemu_user.install(TINY, Bars())
        lines = (tmp_path / "log").read_text().splitlines()
        asked = [line for line in lines if "indextargets" not in line]
        assert len(asked) == 2
        work = f"{qemu_user._sysroot(TINY).folder()}/work/apt"
        for line in asked:
            for key in ("State::lists", "State::status", "Cache::archives", "Etc::sourcelist"):
                assert f"Dir::{key}={work}/" in line
        assert (
            "--download-only install python3.11-minimal libpython3.11-stdlib libstdc++6"
            in lines[-1]
        )

    @pytest.mark.parametrize(
        ("named", "line"),
        [
            ("", "deb http://one.example/debian/ bookworm main\n"),
            (
                "http://two.example/debian",
                "deb [signed-by=/keys] http://two.example/debian bookworm main\n",
            ),
        ],
    )
    def test_the_archive(
        self,
        able: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        named: str,
        line: str,
    ) -> None:
        monkeypatch.setenv("EDGEKIT_DEBIAN", named)
        monkeypatch.setattr(_sysroot_debian, "_KEYRING", Keys("/keys"))
        suite = _sysroot_debian.Suite("bookworm", "arm64")
        _sysroot_debian.download(suite, (), tmp_path / "apt", lambda command: [])
        assert (tmp_path / "apt/sources.list").read_text() == line

    def test_keys_that_the_system_names(self, able: Path, tmp_path: Path) -> None:
        (tmp_path / "targets").write_text("http://one.example/debian/|Debian|/etc/apt/k.gpg\n")
        assert _sysroot_debian._archive() == _sysroot_debian._Archive(
            "http://one.example/debian/", "/etc/apt/k.gpg"
        )

    @pytest.mark.parametrize(
        ("variables", "sentence", "hint"),
        [
            (
                {"FAKE_APT_CODE": "100", "FAKE_APT": "E: Unable to locate package x"},
                "apt-get ended with exit code 100: Unable to locate package x",
                "disk is full",
            ),
            (
                {"FAKE_APT_CODE": "100", "FAKE_APT": "E: Temporary failure resolving 'h'"},
                "apt-get cannot reach its server (Temporary failure resolving)",
                "go online once",
            ),
            (
                {"PIP_FIND_LINKS": "/nonexistent"},
                "pip ended with exit code 1: Could not find",
                "disk",
            ),
            ({"FAKE_CODE": "3"}, "qemu-aarch64-static ended with exit code 3: 3.11.2", "disk"),
        ],
    )
    def test_fails(
        self,
        able: Path,
        monkeypatch: pytest.MonkeyPatch,
        variables: dict[str, str],
        sentence: str,
        hint: str,
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UsageError) as error:
            qemu_user.install(TINY, Bars())
        begin = "the Debian 12 arm64 system that qemu-user runs could not be made: "
        assert error.value.message.startswith(begin + sentence)
        assert hint in error.value.hint
        assert not qemu_user._sysroot(TINY).folder().exists()

    def test_a_wheel_that_the_board_cannot_load(self, able: Path, tmp_path: Path) -> None:
        (tmp_path / "index").joinpath("tiny-1.0-cp311-cp311-manylinux_2_28_aarch64.whl").unlink()
        for tag in ("manylinux_2_39_aarch64", "manylinux_2_17_x86_64"):
            wheel(tmp_path / "index", f"cp311-cp311-{tag}")
        with pytest.raises(UsageError, match="satisfies the requirement tiny==1.0"):
            qemu_user.install(TINY, Bars())

    def test_an_interrupted_one_is_made_anew(self, able: Path) -> None:
        folder = qemu_user._sysroot(TINY).folder()
        (folder / "root/half").mkdir(parents=True)
        qemu_user.install(TINY, Bars())
        assert not (folder / "root/half").exists()

    def test_ctrl_c_leaves_nothing(
        self, able: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
        fake(able, dpkg_deb=f"#!/bin/sh\nexec {sys.executable} -c '{INTERRUPT}'\n")
        monkeypatch.setenv("FAKE_PARENT", str(os.getpid()))
        with pytest.raises(KeyboardInterrupt):
            qemu_user.install(TINY, Bars())
        assert not qemu_user._sysroot(TINY).folder().exists()

    def test_a_second_process_waits(self, able: Path) -> None:
        folder = qemu_user._sysroot(TINY).folder()
        folder.parent.mkdir(parents=True)
        bars = Bars()
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            second = threading.Thread(target=lambda: qemu_user.install(TINY, bars))
            second.start()
            until = time.monotonic() + 30
            while not bars.texts and time.monotonic() < until:
                time.sleep(0.01)
            assert bars.texts == ["wait for another run to install Debian 12 arm64"]
        second.join(60)
        assert not qemu_user.unavailable(TINY)

    def test_a_cache_that_cannot_be_written(
        self, able: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file"))
        with pytest.raises(UsageError, match="EDGEKIT_CACHE .* cannot be made there"):
            qemu_user.install(TINY, Bars())

    def test_what_it_holds_is_its_key(self) -> None:
        others = [
            replace(TINY, packages=("tiny==2.0",)),
            replace(TINY, debs=("x1",)),
            build(Options, {**TABLE, "machine": "armv7l", "cpu": "cortex-a7"}, where="test"),
        ]
        folders = {qemu_user._sysroot(options).folder() for options in (TINY, *others)}
        assert len(folders) == 4
        other = qemu_user._sysroot(replace(TINY, cpu="cortex-a53"))
        assert other.folder() == qemu_user._sysroot(TINY).folder()


INTERRUPT = 'import os, time; os.kill(int(os.environ["FAKE_PARENT"]), 2); time.sleep(60)'


class Keys(type(Path())):  # type: ignore[misc]
    def is_file(self) -> bool:
        return True


class TestWheels:
    @pytest.mark.parametrize("name", ["../x.py", "/x.py", "a/../../x.py", "a\\x.py"])
    def test_a_path_that_leads_out(self, tmp_path: Path, name: str) -> None:
        path = wheel(tmp_path / "index", **{name: ""})
        with pytest.raises(UsageError, match="which no wheel may hold"):
            _sysroot_wheels.unpack(path, tmp_path / "site")

    def test_a_link(self, tmp_path: Path) -> None:
        path = wheel(tmp_path / "index")
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo("link")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(UsageError, match="holds 'link'"):
            _sysroot_wheels.unpack(path, tmp_path / "site")

    def test_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = wheel(tmp_path / "index")
        for name in ("_MOST_BYTES", "_MOST_FILES"):
            with monkeypatch.context() as patch:
                patch.setattr(_sysroot_wheels, name, 1)
                with pytest.raises(UsageError, match="more files or bytes than any has"):
                    _sysroot_wheels.unpack(path, tmp_path / "site")

    @pytest.mark.parametrize("damage", ["content", "all"])
    def test_damaged(self, tmp_path: Path, damage: str) -> None:
        path = wheel(tmp_path / "index")
        found = path.read_bytes()
        path.write_bytes(found.replace(b"value = 7", b"value = 8") if damage == "content" else b"x")
        with pytest.raises(UsageError, match="a damaged wheel"):
            _sysroot_wheels.unpack(path, tmp_path / "site")


class TestConnect:
    def test_runs_as_the_named_processor(
        self, able: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        qemu_user.install(TINY, Bars())
        folder = qemu_user._sysroot(TINY).folder()
        root = folder / "cortex-a53"
        command = qemu_user._sysroot(TINY).python_command("cortex-a53")
        assert command[1:] == ["-cpu", "cortex-a53", "-L", str(root), f"{root}/usr/bin/python3.11"]
        assert (root / "usr/bin/python3.11").exists()
        assert "0xd03" in (root / "proc/cpuinfo").read_text()
        monkeypatch.setenv("QEMU_CPU", "max")
        monkeypatch.setenv("LD_PRELOAD", "")
        open_link = qemu_user.connect(TINY)
        text = "import os\nprint(sorted(os.environ))"
        open_link.put({"run.py": script(tmp_path, text), "echo.py": script(tmp_path, ECHO, "e")})
        out, err = open_link.start(["run.py"]).communicate(timeout=60)
        names = set(json.loads(out.replace(b"'", b'"')))
        assert names - {"LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD"} == {
            *("HOME", "LANG", "PATH", "TMPDIR")
        }
        assert not err
        open_link.close()
        found = qemu_user.describe(TINY)
        assert found == (
            "Cortex-A76 emulated by qemu-aarch64 9.8.7: Debian 12 arm64, Python 3.11.2, tiny 1.0"
        )

    @pytest.mark.parametrize("name", CPUS)
    def test_what_linux_says_of_a_processor(self, name: str) -> None:
        cpu = CPUS[name]  # type: ignore[index]
        cores = cpu.files["proc/cpuinfo"].strip().split("\n\n")
        assert [core.splitlines()[0] for core in cores] == [f"processor\t: {n}" for n in range(4)]
        assert all(f"CPU part\t: {cpu.part}" in core for core in cores)
        assert cpu.files["sys/devices/system/cpu/possible"] == "0-3\n"


@pytest.fixture
def system(request: pytest.FixtureRequest) -> Options:
    """What a shipped target is run on, ready."""
    options: Options = ready(request.param, request).options
    return options


@pytest.mark.parametrize(
    ("system", "cpu"),
    [
        ("raspberry-pi-5", "cortex-a76"),
        ("raspberry-pi-4", "cortex-a72"),
        ("raspberry-pi-3", "cortex-a53"),
        ("armv7-linux", "cortex-a7"),
    ],
    indirect=["system"],
)
@pytest.mark.slow
def test_the_reference_kernels_compute_what_they_do_here(
    system: Options, cpu: str, tmp_path: Path
) -> None:
    """int8, on the real arm wheels: every output identical to this machine's."""
    assert system.cpu == cpu
    (tmp_path / "model.tflite").write_bytes(int8_convolution())
    x = np.random.default_rng(1).integers(-128, 128, (1, 8, 8, 4)).astype(np.int8)
    np.save(tmp_path / "x.npy", x)
    files = {name: tmp_path / name for name in ("model.tflite", "x.npy")}
    files["run.py"] = script(tmp_path, REFERENCE)
    here = LocalLink([sys.executable, *ISOLATED], own_variables(), device="this machine")
    found = []
    for link, module in (
        (here, "ai_edge_litert.interpreter"),
        (qemu_user.connect(system), system.module),
    ):
        link.put(files)
        out, err = link.start(["run.py", module]).communicate(timeout=120)
        link.close()
        assert out, err
        found.append(json.loads(out))
    assert found[1]["y"] == found[0]["y"]
    assert len(set(found[0]["y"])) > 20
    assert found[1]["machine"] == system.machine
    assert found[1]["part"] == [CPUS[system.cpu].part] * 4


@pytest.mark.parametrize("system", ["raspberry-pi-5"], indirect=True)
@pytest.mark.slow
def test_closing_ends_the_emulator(system: Options, tmp_path: Path) -> None:
    link = qemu_user.connect(system)
    link.put({"run.py": script(tmp_path, ECHO)})
    process = link.start(["run.py"])
    assert process.stdout is not None
    assert process.stdout.readline() == b"hello\n"
    link.close()
    assert process.returncode == -9

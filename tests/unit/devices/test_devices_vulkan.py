"""A GPU through Vulkan, or SwiftShader in its place: which is found, and what a process sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from local_scripts import Bars, script

from edgekit.core.schema import build
from edgekit.devices import _swiftshader, _sysroot_debian, _vulkan_drivers, environment, vulkan
from edgekit.devices.vulkan import Options
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.frameworks.isolated_folder import read_marker, write_marker

TINY = Options(("tiny==1.0",), ("3.99",), "tiny", 7)
FIND = _vulkan_drivers.find
NAMES = ("libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json")


def icd(folder: Path, name: str, library: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"ICD": {"library_path": library}}), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, a browser, or a loader."""
    for name in (*_vulkan_drivers.VARIABLES, "LD_LIBRARY_PATH", "VK_ADD_DRIVER_FILES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_vulkan_drivers, "find", lambda: None)
    monkeypatch.setattr(_swiftshader, "_BROWSERS", ())
    monkeypatch.setattr(_swiftshader, "LOADER", "libno_such_vulkan.so.1")


@pytest.fixture
def made() -> Path:
    """SwiftShader as if it had been made."""
    folder = _swiftshader._folder()
    folder.mkdir(parents=True)
    write_marker(folder, {"package": "chromium-common 1.2", "python": "3.11"})
    return folder


class TestDrivers:
    def root(self, tmp_path: Path, node: str = "dri/renderD128") -> Path:
        path = tmp_path / "dev" / node
        path.parent.mkdir(parents=True)
        path.touch()
        return tmp_path

    def test_a_gpu_and_its_driver(self, tmp_path: Path) -> None:
        root, folder = self.root(tmp_path), tmp_path / "usr/share/vulkan/icd.d"
        real = icd(folder, "intel_icd.x86_64.json", "libvulkan_intel.so")
        icd(folder, "lvp_icd.x86_64.json", "libvulkan_lvp.so")
        (folder / "broken.json").write_text("{", encoding="utf-8")
        found = FIND({}, root=root)
        assert found == _vulkan_drivers.Drivers((real,))
        assert found.title == "intel_icd.x86_64"

    def test_a_gpu_without_a_driver(self, tmp_path: Path) -> None:
        icd(tmp_path / "etc/vulkan/icd.d", "lvp.json", "libvulkan_lvp.so")
        assert FIND({}, root=self.root(tmp_path, "nvidia0")) is None

    def test_a_driver_without_a_gpu(self, tmp_path: Path) -> None:
        icd(tmp_path / "etc/vulkan/icd.d", "nvidia_icd.json", "libGLX_nvidia.so.0")
        assert FIND({}, root=tmp_path) is None

    @pytest.mark.parametrize("variable", _vulkan_drivers.VARIABLES)
    def test_what_the_user_names(self, tmp_path: Path, variable: str) -> None:
        real = icd(tmp_path, "nvidia_icd.json", "libGLX_nvidia.so.0")
        software = icd(tmp_path, "mine.json", "/x/libvk_swiftshader.so")
        one = FIND({variable: str(real)})
        both = FIND({variable: f"{real}{os.pathsep}{software}{os.pathsep}"})
        lost = FIND({variable: str(tmp_path / "gone.json")})
        assert one == _vulkan_drivers.Drivers((real,), False, variable)
        assert both is not None
        assert both.are_software
        assert lost is not None
        assert lost.are_software, "what cannot be read is no GPU"


class TestOptions:
    def test_of_a_file(self) -> None:
        assert build(Options, {}, where="t") == Options()
        table = {"packages": ["tiny==1.0"], "pythons": ["3.11"], "module": "tiny"}
        assert build(Options, table, where="t").packages == ("tiny==1.0",)

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ({"packages": ["tiny"]}, "packages must be pins"),
            ({"packages": ["tiny==1"], "module": "a"}, "pythons must name one"),
            ({"module": "tiny"}, "are those of packages, and there are none"),
            ({"pythons": ["3.11"]}, "are those of packages, and there are none"),
        ],
    )
    def test_refused(self, table: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            build(Options, table, where="t")


class TestEmulated:
    def test_not_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_swiftshader, "problem", lambda: "")
        said = vulkan.unavailable(Options())
        assert "SwiftShader, which emulates one, is not made yet: `edgekit doctor --target" in said
        assert vulkan.untimed(Options()) == "emulated by SwiftShader: no timing"
        assert vulkan.describe(Options()).startswith("a GPU emulated by SwiftShader, Python 3.")
        with pytest.raises(UnmeasuredError, match="^vulkan: no GPU with a Vulkan driver is here"):
            vulkan.connect(Options())

    def test_made(self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LD_LIBRARY_PATH", "/before")
        monkeypatch.setenv("VK_ADD_DRIVER_FILES", "/other.json")
        assert vulkan.unavailable(Options()) == ""
        assert "SwiftShader of chromium-common 1.2" in vulkan.describe(Options())
        text = "import json, os\nprint(json.dumps(dict(os.environ)))"
        link = vulkan.connect(Options())
        link.put({"run.py": script(tmp_path, text)})
        out, err = link.start(["run.py"]).communicate(timeout=60)
        link.close()
        assert not err
        seen = json.loads(out)
        assert seen["LD_LIBRARY_PATH"] == f"{made}:/before"
        assert {seen[name] for name in _vulkan_drivers.VARIABLES} == {str(made / NAMES[2])}
        assert "VK_ADD_DRIVER_FILES" not in seen
        vulkan.install(Options(), Bars())  # Nothing is missing.

    def test_a_browser_has_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_swiftshader, "_BROWSERS", (str(tmp_path / "no"), str(tmp_path)))
        for name in NAMES[::2]:
            (tmp_path / name).touch()
        assert _swiftshader.find() is None, "there is no loader"
        monkeypatch.setattr(_swiftshader, "LOADER", NAMES[1])
        (tmp_path / NAMES[1]).touch()
        found = _swiftshader.find()
        assert found is not None
        assert (found.icd, found.loader) == (tmp_path / NAMES[2], tmp_path)
        assert found.title == f"SwiftShader of {tmp_path}", "no package owns it"

    def test_a_package_owns_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        said = {"--search": "chromium-common: /x", "--show": "chromium-common 9"}
        monkeypatch.setattr(_swiftshader, "_say", lambda command: said[command[1]])
        assert _swiftshader._owner(tmp_path) == "chromium-common 9"

    def test_a_program_that_is_not_there_says_nothing(self) -> None:
        assert _swiftshader._say(["no-such-program"]) == ""


class TestGpu:
    @pytest.fixture
    def real(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = icd(tmp_path, "radeon_icd.json", "libvulkan_radeon.so")
        monkeypatch.setattr(_vulkan_drivers, "find", lambda: _vulkan_drivers.Drivers((path,)))
        return path

    def test_it_is_timed(self, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_swiftshader, "has_loader", lambda: True)
        assert vulkan.unavailable(Options()) == ""
        assert vulkan.untimed(Options()) == ""
        assert vulkan.untimed(Options(untimed="of another device")) == "of another device"
        assert "this machine's GPU by the Vulkan driver radeon_icd" in vulkan.describe(Options())
        seen = vulkan._variables()
        assert seen is not None
        assert (seen["VK_ICD_FILENAMES"], seen.get("LD_LIBRARY_PATH")) == (str(real), None)

    def test_with_the_loader_of_swiftshader(self, real: Path, made: Path) -> None:
        seen = vulkan._variables()
        assert seen is not None
        assert (seen["VK_ICD_FILENAMES"], seen["LD_LIBRARY_PATH"]) == (str(real), str(made))

    def test_without_a_loader(self, real: Path) -> None:
        assert "radeon_icd is here, and a loader for it (lib" in vulkan.unavailable(Options())

    def test_software_that_the_user_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drivers = _vulkan_drivers.Drivers((Path("/x/lvp.json"),), True, "VK_DRIVER_FILES")
        monkeypatch.setattr(_vulkan_drivers, "find", lambda: drivers)
        assert vulkan.untimed(Options()) == "emulated by lvp (VK_DRIVER_FILES): no timing"
        assert vulkan.describe(Options()).startswith("a GPU emulated by the Vulkan driver lvp (VK")


class TestEnvironment:
    def test_it_is_asked_first(self, made: Path) -> None:
        assert "needs Python 3.99" in vulkan.unavailable(TINY)

    def test_its_python_runs(self, made: Path, tmp_path: Path) -> None:
        requirements = environment._requirements(vulkan._environment(TINY))
        folder = requirements.folder(Path(os.environ["EDGEKIT_CACHE"]), "3.99")
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        write_marker(folder, {"python": "3.99.1"})
        assert vulkan.unavailable(TINY) == ""
        known = "a GPU emulated by SwiftShader of chromium-common 1.2, Python 3.99.1 of an environ"
        assert vulkan.describe(TINY).startswith(known)
        link = vulkan.connect(TINY)
        link.put({"run.py": script(tmp_path, "import os; print(os.environ['PATH'])")})
        out, err = link.start(["run.py"]).communicate(timeout=60)
        link.close()
        assert not err
        assert out.decode().startswith(f"{folder}/bin:")
        vulkan.install(TINY, Bars())  # Both are there.


class TestMake:
    @pytest.fixture
    def debian(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
        """An archive whose only package holds `files`; `said` are the commands."""
        known: dict[str, Any] = {"files": NAMES[:2], "said": [], "deb": True}

        def runner(what: str, *, folder: Path, held: Any) -> Any:
            def run(command: list[str]) -> list[str]:
                known["said"].append(" ".join(command[-3:]))
                if "download" in command and known["deb"]:
                    (folder / "chromium-common_9_amd64.deb").touch()
                if "-x" in command:
                    for name in known["files"]:
                        path = Path(command[-1]) / "usr/lib/chromium" / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(b"x" * 5)
                return ["9~deb"] if "--field" in command else []

            return run

        monkeypatch.setattr(_swiftshader, "LOADER", NAMES[1])
        monkeypatch.setattr(_swiftshader, "has_loader", lambda: False)
        monkeypatch.setattr(_swiftshader, "runner", runner)
        monkeypatch.setattr(_sysroot_debian, "problem", lambda: "")
        archive = _sysroot_debian._Archive("file:///debian")
        monkeypatch.setattr(_sysroot_debian, "_archive", lambda: archive)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        return known

    def test_two_files_are_kept(self, debian: dict[str, Any]) -> None:
        bars = Bars()
        vulkan.install(Options(), bars)
        folder = _swiftshader._folder()
        assert sorted(p.name for p in folder.iterdir()) == sorted((*NAMES, "edgekit.json"))
        known = json.loads((folder / NAMES[2]).read_text(encoding="utf-8"))
        assert known["ICD"]["library_path"] == str(folder / NAMES[0])
        assert read_marker(folder)["package"] == "chromium-common 9~deb"
        assert (bars.texts, bars.advanced) == (["install SwiftShader (once, about 42 MB)"], 4)
        assert any(words.endswith("download chromium-common") for words in debian["said"])
        before = len(debian["said"])
        _swiftshader.make(bars)
        assert len(debian["said"]) == before, "once is enough"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"deb": False}, "apt-get downloaded no chromium-common"),
            ({"files": NAMES[:1]}, "Debian's chromium-common has no libvulkan.so.1"),
        ],
    )
    def test_nothing_half_made(
        self, debian: dict[str, Any], change: dict[str, Any], said: str
    ) -> None:
        debian.update(change)
        with pytest.raises(UsageError, match=f"SwiftShader could not be made: {said}"):
            vulkan.install(Options(), Bars())
        assert not _swiftshader._folder().exists()

    def test_no_room(self, debian: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(_swiftshader, "_make", full)
        with pytest.raises(UsageError, match="EDGEKIT_CACHE .* cannot be put there: No space"):
            vulkan.install(Options(), Bars())

    @pytest.mark.parametrize(
        ("patch", "value", "said"),
        [
            ("platform.machine", lambda: "riscv64", "and this machine is riscv64"),
            ("sys.platform", "darwin", "works on Linux only"),
        ],
    )
    def test_where_there_is_none(
        self, debian: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
        patch: str, value: object, said: str,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(patch, value)
        with pytest.raises(UsageError, match=f"^vulkan: the software GPU .*{said}"):
            vulkan.install(Options(), Bars())
        assert said in vulkan.unavailable(Options())

    def test_apt_is_for_another_system(
        self, debian: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_sysroot_debian, "problem", lambda: "apt is not set up")
        assert "cannot be taken from Debian: apt is not set up" in vulkan.unavailable(Options())


def test_the_loader_of_this_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _swiftshader.has_loader()
    monkeypatch.setattr(_swiftshader, "LOADER", "libc.so.6")
    assert _swiftshader.has_loader() == (subprocess.run(["true"], check=True).returncode == 0)

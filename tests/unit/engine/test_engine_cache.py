"""The step cache returns whole, undamaged entries, or none."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.notes import Note
from edgekit.core.training import Curve, Epoch
from edgekit.engine.cache import CachedStep, StepCache, content_digest, key_of
from edgekit.errors import UsageError
from edgekit.frameworks.files import cache_root


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made(cache: StepCache) -> CachedStep:
    path = Path(tempfile.mkdtemp(dir=cache.root)) / "model.x"
    path.write_text("weights")
    return CachedStep(path, digest(path), 1.5, (Note("skipped", "conv1", "why"),))


def test_finds_what_was_stored(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    assert cache.find("key", digest_of=digest) is None
    stored = cache.store("key", made(cache), digest_of=digest)
    assert cache.find("key", digest_of=digest) == stored
    assert stored.path.read_text() == "weights"
    assert stored.notes == (Note("skipped", "conv1", "why"),)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_damaged_entry_is_none_and_is_replaced(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    stored = cache.store("key", made(cache), digest_of=digest)
    stored.path.write_text("cut")
    assert cache.find("key", digest_of=digest) is None
    assert cache.store("key", made(cache), digest_of=digest).path.read_text() == "weights"
    stored.path.write_text("WEIGHTS")  # as long as before
    assert cache.find("key", digest_of=digest) is None
    assert cache.store("key", made(cache), digest_of=digest).path.read_text() == "weights"
    (stored.path.parent / "step.json").write_text("{")
    assert cache.find("key", digest_of=digest) is None


def test_an_entry_that_its_format_cannot_read_is_none(tmp_path: Path) -> None:
    def refuse(path: Path) -> str:
        raise UsageError(f"{path}: is cut off")

    cache = StepCache(tmp_path)
    cache.store("key", made(cache), digest_of=digest)
    assert cache.find("key", digest_of=refuse) is None


def test_a_record_cannot_point_out_of_its_entry(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    stored = cache.store("key", made(cache), digest_of=digest)
    record = stored.path.parent / "step.json"
    record.write_text(record.read_text().replace('"model.x"', '"../../secret"'))
    (tmp_path / "secret").write_text("weights")
    assert cache.find("key", digest_of=digest) is None


def test_a_twin_stored_meanwhile_is_kept(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    first = cache.store("key", made(cache), digest_of=digest)
    inode = first.path.stat().st_ino
    assert cache.store("key", made(cache), digest_of=digest).path.stat().st_ino == inode


def test_the_parts_of_a_model_go_along(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    step = made(cache)
    part = step.path.parent / "model.x.data"
    part.write_text("more")
    stored = cache.store("key", step, digest_of=digest, parts=[part])
    assert (stored.path.parent / "model.x.data").read_text() == "more"
    assert not part.exists()


def test_many_at_once_all_succeed(tmp_path: Path) -> None:
    """Over a damaged entry too, which each of them may be the one to replace."""

    def store(number: int) -> str:
        cache = StepCache(tmp_path)
        return cache.store(f"key{number // 8}", made(cache), digest_of=digest).path.read_text()

    for number in range(0, 10, 2):
        (tmp_path / "steps" / f"key{number}").mkdir(parents=True)
        (tmp_path / "steps" / f"key{number}" / "step.json").write_text("{")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(store, range(80))) == {"weights"}


@pytest.mark.parametrize(("folder", "days"), [("scratch", 7), ("training", 30)])
def test_what_a_killed_run_left_is_swept_when_it_is_old(
    tmp_path: Path, folder: str, days: int
) -> None:
    cache = StepCache(tmp_path)
    for name, age in (("old", days + 1), ("new", days - 1)):
        (cache.root / folder / name).mkdir()
        moment = time.time() - age * 86400
        os.utime(cache.root / folder / name, (moment, moment))
    StepCache(tmp_path)
    assert [path.name for path in (tmp_path / folder).iterdir()] == ["new"]


def test_scratch_is_gone_after_a_crash(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    with pytest.raises(KeyboardInterrupt), cache.scratch() as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert not list((tmp_path / "scratch").iterdir())


def test_keys_differ_with_every_part_and_not_with_order() -> None:
    assert key_of({"a": 1, "b": (2,)}) == key_of({"b": (2,), "a": 1})
    assert len({key_of({"a": value}) for value in (1, "1", None, [1], 1.5)}) == 5


def test_the_place_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "here"))
    assert cache_root() == tmp_path / "here"
    monkeypatch.delenv("EDGEKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "edgekit"


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="EDGEKIT_CACHE '.*file/cache'"):
        StepCache(tmp_path / "file/cache")


def test_curves_survive(tmp_path: Path) -> None:
    epochs = (
        Epoch(1.0, 0.5, 0.9, 0.6, 2.0, {"f1": 0.25}),
        Epoch(0.5, None, 0.4, None, 2.0),
    )
    curves = (Curve("prune", "accuracy", epochs, 2, {"temperature": 4.0}), Curve("b", "", (), 0))
    cache = StepCache(tmp_path)
    stored = cache.store("key", replace(made(cache), curves=curves), digest_of=digest)
    assert stored.curves == curves
    found = cache.find("key", digest_of=digest)
    assert found is not None
    assert found.curves == curves


@pytest.mark.parametrize("curves", ['"x"', "[1]", '[{"epochs": []}]', '[{"epochs": [{"no": 1}]}]'])
def test_damaged_curves_make_no_entry(tmp_path: Path, curves: str) -> None:
    cache = StepCache(tmp_path)
    stored = cache.store("key", made(cache), digest_of=digest)
    record = stored.path.parent / "step.json"
    record.write_text(record.read_text().replace('"curves": []', f'"curves": {curves}'))
    assert cache.find("key", digest_of=digest) is None


def test_an_entry_of_an_older_version_without_curves_is_none(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    stored = cache.store("key", made(cache), digest_of=digest)
    record = stored.path.parent / "step.json"
    table = json.loads(record.read_text())
    del table["curves"]
    record.write_text(json.dumps(table))
    assert cache.find("key", digest_of=digest) is None


def test_a_training_has_its_folder_until_it_is_done(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    with pytest.raises(KeyboardInterrupt), cache.training("key") as folder:
        (folder / "epoch").write_text("1")
        raise KeyboardInterrupt
    with StepCache(tmp_path).training("key") as again:
        assert (again / "epoch").read_text() == "1"
        assert again == folder


def test_a_second_run_of_the_same_training_waits(tmp_path: Path) -> None:
    import threading

    cache, order = StepCache(tmp_path), []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with cache.training("key"):
            inside.set()
            leave.wait(10)
            order.append("first")

    def second() -> None:
        with cache.training("key"):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    time.sleep(0.1)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]


def test_a_file_that_is_gone_counts_as_empty(tmp_path: Path) -> None:
    path, gone = tmp_path / "mine.py", tmp_path / "gone.py"
    path.write_text("a = 1")
    first = content_digest([path, gone])
    assert first == content_digest([path])
    path.write_text("a = 2")
    assert first != content_digest([path])

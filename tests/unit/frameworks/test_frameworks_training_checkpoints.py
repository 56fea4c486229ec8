"""Checkpoints: what is kept, and that a damaged or foreign one is noted and never used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.training import Epoch
from edgekit.frameworks._checkpoints import Checkpoints, plan_digest

EPOCH = Epoch(1.0, 0.5, 2.0, 0.5, 1.5, {"f1": 0.25})


def filled(folder: Path, *losses: float, first: int = 1) -> Checkpoints:
    """A training whose epoch n has left the value n."""
    made = Checkpoints(folder, "plan", first_epoch=first)
    assert made.load() is None
    for number, loss in enumerate(losses, 1):
        made.add([np.full(3, number), np.float32(number)], replace(EPOCH, select_loss=loss))
    return made


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("epoch-*.npz"))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    made = filled(tmp_path, 3.0, 2.0)
    again = Checkpoints(tmp_path, "plan")
    values = again.load()
    assert values is not None
    np.testing.assert_array_equal(values[0], [2, 2, 2])
    assert values[1].dtype == np.float32
    assert (again.history, again.notes) == (made.history, [])
    assert again.history[0].others == {"f1": 0.25}


@pytest.mark.parametrize(
    ("losses", "first", "best", "kept"),
    [
        ((3.0,), 1, 1, [1]),
        ((3.0, 1.0, 2.0, 2.0), 1, 2, [2, 3, 4]),
        ((1.0, 1.0, 1.0, 1.0), 1, 1, [1, 3, 4]),  # of equals the first
        ((1.0, 3.0, 2.0, 4.0), 3, 3, [3, 4]),
        ((1.0, 3.0), 3, 0, [1, 2]),
    ],
)
def test_the_best_that_counts_and_the_last_two_stay(
    tmp_path: Path, losses: tuple[float, ...], first: int, best: int, kept: list[int]
) -> None:
    made = filled(tmp_path, *losses, first=first)
    assert made.best_epoch == best
    assert files(tmp_path) == [f"epoch-{number:04d}.npz" for number in kept]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.json", b"{"),
        ("history.json", b"[]"),
        ("history.json", b'{"plan": "plan", "epochs": []}'),
        ("history.json", b'{"plan": "plan", "epochs": [{"loss": 1}]}'),
        ("history.json", b"[" * 100_000),
        ("history.json", b"\xff\xfe"),
        ("history.json", b" " * 10_000_001),
        ("epoch-0002.npz", b"PK\x03\x04 cut off"),
        ("epoch-0002.npz", b""),
        ("epoch-0002.npz", None),
        ("epoch-0001.npz", b"PK"),  # the best one
    ],
)
def test_a_damaged_one_is_not_used_and_that_is_noted(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    filled(tmp_path, 1.0, 2.0)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    again = Checkpoints(tmp_path, "plan")
    assert again.load() is None
    assert again.history == []
    assert [(note.what, note.item) for note in again.notes] == [
        ("restarted", "training checkpoint")
    ]
    assert again.notes[0].reason
    assert "\n" not in again.notes[0].reason


def test_losses_that_are_no_numbers_are_no_figures(tmp_path: Path) -> None:
    filled(tmp_path, 1.0)
    history = tmp_path / "history.json"
    history.write_text(history.read_text().replace('"select_loss": 1.0', '"select_loss": NaN'))
    again = Checkpoints(tmp_path, "plan")
    assert again.load() is None
    assert [note.reason for note in again.notes] == ["history.json has no figures"]


def test_one_of_another_training_is_not_used(tmp_path: Path) -> None:
    filled(tmp_path, 1.0)
    again = Checkpoints(tmp_path, "another plan")
    assert again.load() is None
    assert "other options, seed, data or weights" in again.notes[0].reason


def test_a_kill_between_weights_and_history_leaves_the_epoch_before(tmp_path: Path) -> None:
    """The weights of epoch 3 are there already; history.json is the truth."""
    filled(tmp_path, 2.0, 1.0)
    (tmp_path / "epoch-0003.npz").write_bytes(b"half")
    (tmp_path / ".partial-3.npz").write_bytes(b"half")
    again = Checkpoints(tmp_path, "plan")
    values = again.load()
    assert values is not None
    assert (values[0][0], len(again.history), again.notes) == (2, 2, [])
    again.add([np.full(3, 3)], EPOCH)
    assert again.values(3)[0][0] == 3


def test_rewinding_goes_back_one_epoch_and_no_further(tmp_path: Path) -> None:
    made = filled(tmp_path, 4.0, 3.0, 2.0)
    values = made.rewind(2)
    assert values is not None
    assert (values[0][0], len(made.history)) == (2, 2)
    assert made.rewind(0) is None
    again = Checkpoints(tmp_path, "plan")
    again.load()
    assert again.rewind(1) is None  # epoch 1 went when epoch 3 came
    assert again.history == []


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4))
def test_the_plan_does_not_depend_on_the_order_of_its_settings(table: dict[str, Any]) -> None:
    turned = dict(reversed(table.items()))
    assert plan_digest(table, []) == plan_digest(turned, [])
    assert plan_digest({**table, "more": 1}, []) != plan_digest(table, [])


def test_the_plan_differs_with_every_value() -> None:
    base = np.zeros(4, np.float32)
    others = [base + 1, base.reshape(2, 2), base.astype(np.int32), base[:3]]
    digests = {plan_digest({}, [array]) for array in (base, *others)}
    assert len(digests) == 5
    assert plan_digest({}, [base, base]) not in digests


def test_history_is_json_that_says_which_epochs_were(tmp_path: Path) -> None:
    filled(tmp_path, 1.0)
    table = json.loads((tmp_path / "history.json").read_text())
    assert table["plan"] == "plan"
    assert table["epochs"][0]["select_loss"] == 1.0

"""Distillation: targets of one and several teachers, kept in a file, and layers of a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_cases import LIBRARIES, OPTIONS, Bars, builder, digest, halves, library, trained

from edgekit.frameworks._hooks import Hooks
from edgekit.frameworks._objectives import Objective
from edgekit.frameworks._teachers import Features, Teacher


class Oracle:
    """A teacher that knows the answer; counts the samples it is asked for."""

    def __init__(self, strength: float = 8.0, *, turned: bool = False) -> None:
        self.strength, self.sign = strength, -1 if turned else 1
        self.asked = 0

    def __call__(self, x: tuple[Any, ...]) -> tuple[Any, ...]:
        self.asked += len(x[0])
        left, right = (x[0][:, :, part].mean((1, 2, 3)) for part in (slice(0, 2), slice(2, 4)))
        score = self.sign * self.strength * (left - right)
        return (np.stack([score, -score], axis=1).astype(np.float32),)


def said(model: Any) -> Any:
    return np.asarray(model(halves().x_select[0])).argmax(axis=1)


class TestTargets:
    def test_are_those_of_all_samples_in_order(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(0).normal(size=(1100, 4, 4, 1)).astype(np.float32)
        oracle = Oracle()
        teacher = Teacher((oracle,), Objective("classes", 2, 0.0, ()), 4.0)
        steps: list[int] = []
        made = teacher.all_targets((rows,), tmp_path / "teacher.npy", steps.append)
        assert (made.shape, made.dtype, steps) == ((1100, 2), np.float32, [512, 512, 76])
        np.testing.assert_allclose(made, teacher.targets((rows,)), atol=1e-5)
        asked = oracle.asked
        again = teacher.all_targets((rows,), tmp_path / "teacher.npy", steps.append)
        assert (oracle.asked, steps[3:]) == (asked, [1100])
        np.testing.assert_array_equal(again, made)

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array at all"])
    def test_a_damaged_file_is_made_anew(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "teacher.npy").write_bytes(content)
        rows, oracle = np.zeros((5, 4, 4, 1), np.float32), Oracle()
        teacher = Teacher((oracle,), Objective("classes", 2, 0.0, ()), 4.0)
        teacher.all_targets((rows,), tmp_path / "teacher.npy", lambda count: None)
        assert oracle.asked == 5

    def test_one_of_other_data_is_made_anew(self, tmp_path: Path) -> None:
        np.save(tmp_path / "teacher.npy", np.zeros((6, 2), np.float32))
        rows = np.zeros((5, 4, 4, 1), np.float32)
        teacher = Teacher((Oracle(),), Objective("classes", 2, 0.0, ()), 4.0)
        made = teacher.all_targets((rows,), tmp_path / "teacher.npy", lambda count: None)
        assert made.shape == (5, 2)
        assert [path.name for path in tmp_path.iterdir()] == ["teacher.npy"]


@pytest.mark.tensorflow
class TestLearning:
    @pytest.mark.parametrize("name", LIBRARIES)
    def test_from_one_teacher_alone(self, tmp_path: Path, name: Any) -> None:
        """With alpha 0 the labels say nothing: the student says the opposite, as its teacher."""
        result = trained(
            tmp_path,
            builder(name, dropout=0),
            alpha=0.0,
            epochs=6,
            more={"teachers": (Oracle(turned=True),), "first_epoch": 6},
        )
        assert (said(result.model) != halves().y_select).mean() >= 0.9

    def test_from_the_mean_of_two(self, tmp_path: Path) -> None:
        """The surer one wins."""
        result = trained(
            tmp_path,
            builder(dropout=0),
            alpha=0.0,
            more={"teachers": (Oracle(2.0, turned=True), Oracle(20.0)), "first_epoch": 4},
        )
        assert (said(result.model) == halves().y_select).mean() >= 0.9

    def test_alpha_of_one_is_learning_from_labels(self, tmp_path: Path) -> None:
        alone = trained(tmp_path / "a", builder(dropout=0), epochs=1)
        taught = trained(
            tmp_path / "b", builder(dropout=0), epochs=1, alpha=1.0, more={"teachers": (Oracle(),)}
        )
        for one, other in zip(alone.model.get_weights(), taught.model.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)

    @pytest.mark.parametrize(("head", "labels"), [("values", "values"), ("same", "none")])
    def test_values(self, tmp_path: Path, head: Any, labels: str) -> None:
        aim = (
            (lambda x: (x[0] + 5,))
            if head == "same"
            else (lambda x: (np.full((len(x[0]), 3), 5.0),))
        )
        result = trained(
            tmp_path,
            builder("keras", head, dropout=0),
            halves(labels=labels),
            alpha=0.0,
            epochs=20,
            optimizer="adam",
            more={"teachers": (aim,), "first_epoch": 20},
        )
        assert np.asarray(result.model(halves().x_select[0])).mean() > 2

    def test_the_targets_outlive_an_interruption(self, tmp_path: Path) -> None:
        first, second, whole = Oracle(), Oracle(), Oracle()
        bars = Bars(stop_at=8)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "a", bars=bars, more={"teachers": (first,)})
        assert bars.texts[0] == "train: teacher"
        assert first.asked == 50
        resumed = trained(tmp_path / "a", more={"teachers": (second,)})
        assert (resumed.resumed_after, second.asked) == (2, 0)
        expected = trained(tmp_path / "b", more={"teachers": (whole,)})
        assert digest(resumed.model) == digest(expected.model)

    def test_other_options_in_the_same_folder_ask_the_teacher_anew(self, tmp_path: Path) -> None:
        """The targets depend on the temperature."""
        first, second = Oracle(), Oracle()
        trained(tmp_path / "a", epochs=1, more={"teachers": (first,)})
        again = trained(tmp_path / "a", epochs=1, temperature=1.0, more={"teachers": (second,)})
        assert [note.what for note in again.notes] == ["restarted"]
        assert second.asked == 50

    def test_under_augmentation_the_teacher_sees_each_batch(self, tmp_path: Path) -> None:
        oracle = Oracle()
        trained(tmp_path, epochs=2, augment=("noise",), more={"teachers": (oracle,)})
        assert oracle.asked == 2 * 48
        assert not list(tmp_path.glob("teacher*"))


@pytest.mark.tensorflow
class TestFeatures:
    def features(self, scale: int) -> tuple[Any, Any]:
        library("keras").utils.set_random_seed(1)
        teacher = builder(dropout=0, scale=scale)()
        return teacher, lambda student: Features(student, teacher, (("relu1", "relu1"),), seed=3)

    @pytest.mark.parametrize("scale", [1, 3])
    def test_a_layer_comes_near_the_teachers(self, tmp_path: Path, scale: int) -> None:
        """With a matrix between them where the teacher has more channels."""
        _, make = self.features(scale)
        made: list[Features] = []

        def nothing(y: Any, outputs: Any) -> Any:  # so that the features are all there is to learn
            return 0.0 * outputs[:, 0]

        def remembered(student: Any) -> Features:
            made.append(make(student))
            return made[-1]

        x = (halves().x_train[0],)
        trained(
            tmp_path,
            builder(dropout=0),
            epochs=8,
            more={"features": remembered, "hooks": Hooks(loss=nothing), "first_epoch": 8},
        )
        after = float(made[0].loss(x, made[0].student(list(x))))
        library("keras").utils.set_random_seed(7)
        fresh = make(builder(dropout=0)())
        before = float(fresh.loss(x, fresh.student(list(x))))
        assert after < 0.8 * before
        assert len(made[0].variables) == (0 if scale == 1 else 1)
        if scale > 1:
            assert made[0].variables[0].shape == (4, 12)

    def test_the_result_has_nothing_of_it_and_resumes(self, tmp_path: Path) -> None:
        _, make = self.features(3)
        whole = trained(tmp_path / "a", more={"features": make})
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "b", more={"features": make}, bars=Bars(stop_at=7))
        resumed = trained(tmp_path / "b", more={"features": make})
        assert resumed.resumed_after == 2
        assert digest(resumed.model) == digest(whole.model)
        assert len(whole.model.outputs) == 1
        assert [w.shape for w in whole.model.weights] == [w.shape for w in builder()().weights]


def test_options_of_distillation_are_hintons() -> None:
    assert (OPTIONS.temperature, OPTIONS.alpha) == (4.0, 0.1)

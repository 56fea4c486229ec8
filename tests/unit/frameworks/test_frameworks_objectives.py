"""Loss and metric from labels and output, held against formulas in numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_cases import LIBRARIES, OPTIONS, builder, evaluate_once, halves, library, trained

from edgekit.core.data import TrainingData
from edgekit.errors import UsageError
from edgekit.frameworks._objectives import Objective, choose, teacher_targets

LOGITS = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 2.5, 1.0]], np.float32)
Y = np.array([0, 1, 2])


def log_softmax(scores: Any) -> Any:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def in_graph(function: Any, *arrays: Any) -> Any:
    """Calls a function in a compiled graph, where the loss is computed when training."""
    from edgekit.frameworks.keras import import_tensorflow

    tf = import_tensorflow()
    made = tf.function(function, autograph=False)(*map(tf.constant, arrays))
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), made)


def squashed(name: str) -> Any:
    from edgekit.frameworks.keras import import_tensorflow

    tf = import_tensorflow()
    return {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid, "logits": tf.identity}[name]


def data(y: Any, *, count: int = 30, classes: int | None = None) -> TrainingData:
    x = np.zeros((count, 4), np.float32)
    return TrainingData((x,), y, (x,), y, classes)


class TestChoice:
    @pytest.mark.parametrize(
        ("y", "classes", "shape", "kind", "metric"),
        [
            (Y.repeat(10), 3, (None, 3), "classes", "accuracy"),
            (Y.repeat(10), 3, (None, 10), "classes", "accuracy"),
            (Y.repeat(10), 3, (None, 1, 1, 3), "classes", "accuracy"),
            (Y.repeat(10) > 0, 2, (None, 1), "two classes", "accuracy"),
            (Y.repeat(10) > 0, 2, (None, 2), "classes", "accuracy"),
            (np.zeros(30, np.float32), None, (None, 1), "values", ""),
            (Y.repeat(10), 3, (None, 1), "values", ""),
            (np.zeros((30, 3), np.int64), None, (None, 3), "values", ""),
            (None, None, (None, 4), "values", ""),
        ],
    )
    def test_by_labels_and_output(
        self, y: Any, classes: Any, shape: Any, kind: str, metric: str
    ) -> None:
        found = choose(data(y, classes=classes), shape, OPTIONS)
        assert (found.kind, found.metric) == (kind, metric)

    @pytest.mark.parametrize(
        ("y", "classes", "shape", "message"),
        [
            (Y, 3, (None, 2), "data: labels go up to 2, but the model has 2 classes"),
            (
                np.zeros((30, 3), np.float32),
                None,
                (None, 4),
                "data: labels have 3 values a sample, and the model's output has 4",
            ),
            (
                None,
                None,
                (None, 2, 2),
                "data: there are no labels, and the output 2 x 2 has not the shape of the input 4, "
                "so there is nothing to learn",
            ),
        ],
    )
    def test_labels_that_do_not_fit(self, y: Any, classes: Any, shape: Any, message: str) -> None:
        with pytest.raises(UsageError) as caught:
            choose(data(y, classes=classes), shape, OPTIONS)
        assert caught.value.message == message
        assert caught.value.hint

    def test_a_loss_of_the_users_own_decides_itself_what_fits(self) -> None:
        assert choose(data(None), (None, 2), OPTIONS, own=print).kind == "values"
        assert choose(data(np.zeros((30, 5))), (None, 2), OPTIONS, own=print).own is print

    @pytest.mark.parametrize(
        ("options", "y", "message"),
        [
            (
                {"label_smoothing": 0.1},
                None,
                "label_smoothing = 0.1 is for classes, and the labels are none",
            ),
            (
                {"class_weights": "balanced"},
                np.zeros((30, 4), np.float32),
                "class_weights are for classes, and the labels are none",
            ),
            (
                {"class_weights": (1.0, 2.0)},
                Y.repeat(10),
                "class_weights has 2 values, and there are 4 classes",
            ),
        ],
    )
    def test_options_that_do_not_fit(self, options: Any, y: Any, message: str) -> None:
        classes = 3 if y is not None and y.ndim == 1 else None
        with pytest.raises(UsageError) as caught:
            choose(data(y, classes=classes), (None, 4), replace(OPTIONS, **options))
        assert caught.value.message == message
        assert caught.value.hint

    def test_balanced_weights_are_inverse_to_the_counts(self) -> None:
        y = np.repeat([0, 1, 3], [20, 5, 5])
        found = choose(data(y, classes=4), (None, 4), replace(OPTIONS, class_weights="balanced"))
        assert found.weights == (30 / (4 * 20), 30 / (4 * 5), 30 / 4, 30 / (4 * 5))
        weighted = sum(found.weights[label] for label in y)
        assert weighted == pytest.approx(30 * 3 / 4)


@pytest.mark.tensorflow
class TestLoss:
    @pytest.mark.parametrize("name", ["softmax", "logits"])
    def test_cross_entropy(self, name: str) -> None:
        goal, squash = Objective("classes", 3, 0.0, ()), squashed(name)
        loss, right = in_graph(lambda y, z: goal.measure(y, [squash(z)]), Y, LOGITS)
        np.testing.assert_allclose(loss, -log_softmax(LOGITS)[[0, 1, 2], Y], rtol=1e-5)
        assert list(right) == [1, 1, 0]

    def test_probabilities_that_have_become_zero_lose_nothing(self) -> None:
        """The loss looks through the softmax at the logits."""
        goal, softmax = Objective("classes", 2, 0.0, ()), squashed("softmax")
        scores = np.array([[0.0, 200.0]], np.float32)
        loss, _ = in_graph(lambda y, z: goal.measure(y, [softmax(z)]), np.array([0]), scores)
        assert loss[0] == 200.0

    @pytest.mark.parametrize("name", ["sigmoid", "logits"])
    def test_two_classes_in_one_score(self, name: str) -> None:
        goal, squash = Objective("two classes", 2, 0.0, ()), squashed(name)
        scores, y = np.array([[2.0], [-1.0], [0.5]], np.float32), np.array([1, 0, 0])
        loss, right = in_graph(lambda y, z: goal.measure(y, [squash(z)]), y, scores)
        signed = np.where(y == 1, 1, -1) * scores[:, 0]
        np.testing.assert_allclose(loss, np.log1p(np.exp(-signed)), rtol=1e-5)
        assert list(right) == [1, 1, 0]

    def test_values(self) -> None:
        goal = Objective("values", 0, 0.0, ())
        loss, right = in_graph(lambda y, z: goal.measure(y, [z]), LOGITS + 2, LOGITS)
        np.testing.assert_allclose(loss, [4, 4, 4], rtol=1e-6)
        assert list(right) == [0, 0, 0]

    def test_labels_of_one_value_for_an_output_of_one(self) -> None:
        """Labels (n,) against an output (n, 1) must not become (n, n)."""
        goal = choose(data(np.zeros(30, np.float32)), (None, 1), OPTIONS)
        y, z = np.array([1.0, 2.0], np.float32), np.array([[1.0], [2.0]], np.float32)
        loss, _ = in_graph(lambda y, z: goal.measure(y, [z]), y, z)
        np.testing.assert_array_equal(loss, [0, 0])

    def test_label_smoothing(self) -> None:
        goal = Objective("classes", 3, 0.3, ())
        loss = in_graph(lambda y, z: goal.loss(y, [z]), Y, LOGITS)
        truth = 0.7 * np.eye(3)[Y] + 0.1
        np.testing.assert_allclose(loss, -(truth * log_softmax(LOGITS)).sum(axis=1), rtol=1e-5)
        plain, _ = in_graph(lambda y, z: goal.measure(y, [z]), Y, LOGITS)
        np.testing.assert_allclose(plain, -log_softmax(LOGITS)[[0, 1, 2], Y], rtol=1e-5)

    def test_label_smoothing_of_two_classes(self) -> None:
        goal = Objective("two classes", 2, 0.2, ())
        loss = in_graph(lambda y, z: goal.loss(y, [z]), [1], np.array([[3.0]], np.float32))
        expected = 0.9 * np.log1p(np.exp(-3)) + 0.1 * np.log1p(np.exp(3))
        np.testing.assert_allclose(loss, [expected], rtol=1e-5)

    def test_class_weights(self) -> None:
        plain, weighted = Objective("classes", 3, 0.0, ()), Objective("classes", 3, 0.0, (1, 0, 3))
        losses = in_graph(lambda y, z: [o.loss(y, [z]) for o in (plain, weighted)], Y, LOGITS)
        np.testing.assert_allclose(losses[1], losses[0] * [1, 0, 3], rtol=1e-6)

    def test_mixup_weighs_both_labels(self) -> None:
        goal, share = Objective("classes", 3, 0.0, (1.0, 2.0, 3.0)), np.float32([1.0, 0.25, 0.0])
        other = np.array([2, 2, 1])
        mixed, first, second = in_graph(
            lambda y, o, s, z: (goal.loss(y, [z], s, o), goal.loss(y, [z]), goal.loss(o, [z])),
            *(Y, other, share, LOGITS),
        )
        np.testing.assert_allclose(mixed, share * first + (1 - share) * second, rtol=1e-6)

    @pytest.mark.parametrize("rank", [0, 1, 2])
    def test_a_loss_of_the_users_own_is_one_a_sample_or_a_scalar(self, rank: int) -> None:
        from edgekit.frameworks.keras import import_tensorflow

        tf = import_tensorflow()

        def own(y: Any, z: Any) -> Any:
            gap = tf.abs(z - 1)
            return gap if rank == 2 else tf.reduce_mean(gap, axis=1 if rank else None)

        goal = Objective("classes", 3, 0.0, (), own)
        loss = in_graph(lambda y, z: goal.loss(y, [z]), Y, LOGITS)
        each = np.abs(LOGITS - 1).mean(axis=1)
        np.testing.assert_allclose(loss, each if rank else 3 * [each.mean()], rtol=1e-6)


class TestTeacherTargets:
    def test_one_teachers_logits_and_probabilities_say_the_same(self) -> None:
        goal = Objective("classes", 3, 0.0, ())
        probabilities = np.exp(log_softmax(LOGITS))
        one, two = (teacher_targets([z], goal, 4.0) for z in (LOGITS, probabilities))
        expected = np.exp(log_softmax(LOGITS / 4))
        for made in (one, two):
            assert made.dtype == np.float32
            np.testing.assert_allclose(np.exp(log_softmax(made / 4)), expected, atol=1e-4)

    def test_two_teachers_are_the_mean_of_their_softened_probabilities(self) -> None:
        goal, other = Objective("classes", 3, 0.0, ()), LOGITS[::-1]
        made = teacher_targets([LOGITS, other], goal, 2.0)
        mean = np.mean([np.exp(log_softmax(z / 2)) for z in (LOGITS, other)], axis=0)
        np.testing.assert_allclose(np.exp(log_softmax(made / 2)), mean, rtol=1e-5)

    def test_probabilities_of_8_bits_are_taken_for_such(self) -> None:
        goal = Objective("classes", 10, 0.0, ())
        scores = np.random.default_rng(0).normal(0, 3, (50, 10))
        exact = np.exp(log_softmax(scores))
        made = teacher_targets([np.round(exact * 256) / 256], goal, 4.0)
        assert (made.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.9
        assert made.max() <= 0  # logarithms of probabilities

    def test_a_probability_of_zero_stays_finite(self) -> None:
        made = teacher_targets([np.eye(3)], Objective("classes", 3, 0.0, ()), 0.01)
        assert np.isfinite(made).all()

    def test_values_are_averaged(self) -> None:
        goal = Objective("values", 0, 0.0, ())
        made = teacher_targets([LOGITS, LOGITS + 2], goal, 4.0)
        np.testing.assert_allclose(made, LOGITS + 1)

    @pytest.mark.tensorflow
    def test_the_loss_towards_them_is_hintons(self) -> None:
        goal, softmax = Objective("classes", 3, 0.0, ()), squashed("softmax")
        other = LOGITS[::-1].copy()
        targets = teacher_targets([other], goal, 4.0)
        loss = in_graph(lambda t, z: goal.towards(t, [softmax(z)], 4.0), targets, LOGITS)
        aim, own = log_softmax(other / 4), log_softmax(LOGITS / 4)
        divergence = (np.exp(aim) * (aim - own)).sum(axis=1).mean()
        assert loss == pytest.approx(16 * divergence, rel=1e-3)

    @pytest.mark.tensorflow
    def test_the_loss_towards_values_is_the_mean_square(self) -> None:
        goal = Objective("values", 0, 0.0, ())
        loss = in_graph(lambda t, z: goal.towards(t, [z], 4.0), LOGITS + 2, LOGITS)
        assert loss == pytest.approx(4.0)


CASES = [("softmax", "classes"), ("logits", "classes"), ("sigmoid", "classes")]
CASES += [("values", "values"), ("same", "none")]


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize(("head", "labels"), CASES)
def test_every_kind_of_net_learns(tmp_path: Path, name: Any, head: Any, labels: str) -> None:
    given = halves(labels=labels)
    before = evaluate_once(builder(name, head, dropout=0), given)
    result = trained(tmp_path, builder(name, head, dropout=0), given)
    last = result.curve.epochs[-1]
    assert last.loss < 0.7 * before
    if labels == "classes":
        assert result.curve.metric == "accuracy"
        assert last.select_metric is not None
        assert last.select_metric >= 0.8
    else:
        assert (result.curve.metric, last.metric, last.select_metric) == ("", None, None)


@pytest.mark.tensorflow
def test_softmax_and_logits_train_to_the_same_weights(tmp_path: Path) -> None:
    softmax, logits = (
        trained(tmp_path / head, builder("keras", head, dropout=0), epochs=1).model.get_weights()
        for head in ("softmax", "logits")
    )
    for one, other in zip(softmax, logits, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", LIBRARIES)
def test_smoothing_weights_and_mixup_together(tmp_path: Path, name: Any) -> None:
    result = trained(
        tmp_path,
        builder(name, dropout=0),
        label_smoothing=0.1,
        class_weights="balanced",
        augment=("mixup", "noise"),
    )
    assert result.curve.epochs[-1].select_metric >= 0.9  # type: ignore[operator]
    assert [epoch.metric for epoch in result.curve.epochs] == [None] * 4


@pytest.mark.tensorflow
def test_a_class_of_weight_zero_is_not_learned(tmp_path: Path) -> None:
    result = trained(tmp_path, builder(dropout=0), class_weights=(1.0, 0.0))
    shares = np.asarray(result.model(halves().x_select[0])).argmax(axis=1)
    assert (shares == 0).all()


@pytest.mark.tensorflow
@pytest.mark.parametrize("precision", ["mixed-float16", "mixed-bfloat16"])
def test_mixed_precision_is_over_after_the_training(tmp_path: Path, precision: str) -> None:
    policies: list[str] = []

    class Looks:
        def set_model(self, model: Any) -> None:
            policies.extend(layer.compute_dtype for layer in model.layers)

    result = trained(
        tmp_path, builder(dropout=0), precision=precision, more={"callbacks": [Looks()]}
    )
    assert set(policies) == {precision.removeprefix("mixed-")}
    assert result.curve.epochs[-1].select_metric >= 0.9  # type: ignore[operator]
    assert {layer.dtype_policy.name for layer in result.model.layers} == {"float32"}
    assert {str(variable.dtype) for variable in result.model.variables} == {"float32"}
    assert np.asarray(result.model(halves().x_select[0])).dtype == np.float32


@pytest.mark.tensorflow
def test_mixed_precision_ends_with_an_error_too() -> None:
    from edgekit.frameworks._precision import mixed

    model = builder()()
    with pytest.raises(KeyboardInterrupt), mixed(model, "mixed-float16"):
        assert model.get_layer("conv1").compute_dtype == "float16"
        raise KeyboardInterrupt
    assert model.get_layer("conv1").compute_dtype == "float32"


@pytest.mark.tensorflow
def test_mixed_precision_of_a_nested_model() -> None:
    from edgekit.frameworks._precision import mixed

    keras = library("keras")
    inner, given = builder()(), keras.Input((4, 4, 1))
    model = keras.Model(given, inner(given))
    with mixed(model, "mixed-bfloat16"):
        assert inner.get_layer("conv1").compute_dtype == "bfloat16"
    assert inner.get_layer("conv1").compute_dtype == "float32"

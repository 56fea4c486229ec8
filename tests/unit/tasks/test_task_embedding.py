"""Embeddings are judged by a probe of the reference, or by their cosine to it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.artifact import Quantization, Signature, TensorSpec
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.tasks import embedding
from edgekit.tasks._vectors import cosines, pooled


def create(argument="", names=()):
    return embedding.create(argument=argument, class_names=names, seed=0)


def fed(task, outputs, labels, batch=16):
    n = len(next(iter(outputs.values())))
    for start in range(0, n, batch):
        rows = slice(start, start + batch)
        given = {role: (array[rows],) for role, array in outputs.items()}
        inputs = (np.zeros((len(range(n)[rows]), 1)),)
        task.update(given, inputs, None if labels is None else labels[rows])
    return task


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    return (rng.normal(size=(80, 6)) + 6 * labels[:, None]).astype(np.float32), labels


def signature(*shape, dtype="float32", quantization=None, more=0):
    outputs = [TensorSpec("out", (None, *shape), dtype, quantization)]
    outputs += [TensorSpec(f"other{i}", (None, 3), "float32") for i in range(more)]
    return Signature((TensorSpec("in", (None, 4), "float32"),), tuple(outputs))


def test_it_is_never_chosen_by_itself():
    assert not embedding.suits(signature(8), "int64", 1)
    assert not embedding.suits(signature(8), None, 0)


def test_an_equal_model_has_the_same_accuracy_and_no_flips(vectors):
    x, labels = vectors
    task = fed(create(names=("no", "yes")), {"reference": x, "result": x}, labels)
    judged = task.compare("reference", "result")
    assert judged.reference.metric == "linear probe accuracy"
    assert (judged.reference.value, judged.result.value) == (1.0, 1.0)
    assert (judged.agreement, judged.right_to_wrong, judged.wrong_to_right) == (1.0, 0, 0)
    assert judged.p_worse == 1.0
    assert judged.smallest_visible_drop > 0
    assert judged.result.n == 40
    assert judged.result.is_share
    assert judged.result.by_class == {"no": 1.0, "yes": 1.0}
    assert judged.result.details == pytest.approx(
        {
            "dimensions": 6,
            "probe samples": 40,
            "cosine to the reference": 1.0,
            "lowest cosine": 1.0,
            "nonfinite_outputs": 0,
        }
    )
    assert "lowest cosine" not in judged.reference.details


def test_the_probe_is_the_references_so_that_a_turned_space_is_worse(vectors):
    x, labels = vectors
    turned = -x  # its own probe would be perfect
    judged = fed(create(), {"reference": x, "result": turned}, labels).compare(
        "reference", "result"
    )
    assert judged.result.value < 0.6 < judged.reference.value
    assert judged.right_to_wrong > 10
    assert judged.p_worse < 0.01
    assert fed(create(), {"result": turned}, labels).score("result").value == 1.0


def test_both_halves_hold_every_class_whatever_the_order(vectors):
    x, labels = vectors
    order = np.argsort(labels, kind="stable")
    task = fed(create(), {"a": x[order]}, labels[order])
    assert task.score("a").by_class == {"0": 1.0, "1": 1.0}


def test_without_labels_the_cosine_to_the_reference_is_judged(vectors):
    x, _ = vectors
    near = x.copy()
    near[0] = 0
    judged = fed(create(), {"reference": x, "result": near}, None).compare("reference", "result")
    assert judged.reference.value == pytest.approx(1.0)
    assert judged.result.value == pytest.approx(79 / 80)
    assert judged.result.metric == "cosine to the reference"
    assert judged.result.details == {"lowest cosine": 0.0}
    assert (judged.agreement, judged.p_worse, judged.smallest_visible_drop) == (None, None, None)


def test_a_single_model_without_labels_has_nothing_to_be_judged_by(vectors):
    with pytest.raises(UnmeasuredError, match="can only be compared with a reference"):
        fed(create(), {"result": vectors[0]}, None).score("result")


def test_token_vectors_are_averaged(vectors):
    x, labels = vectors
    tokens = np.stack([x - 1, x + 1], axis=1)
    assert fed(create(), {"a": tokens}, labels).score("a").value == 1.0
    np.testing.assert_allclose(pooled(tokens), x, atol=1e-6)
    assert pooled(np.zeros((2, 1, 1, 5))).shape == (2, 5)
    assert pooled(np.zeros((2, 7, 1, 5))).shape == (2, 5)
    assert pooled(np.zeros((2, 1))).shape == (2, 1)


def test_a_result_with_nan_has_no_class_and_a_cosine_of_0(vectors):
    x, labels = vectors
    broken = x.copy()
    broken[:, 0] = math.nan
    judged = fed(create(), {"reference": x, "result": broken}, labels).compare(
        "reference", "result"
    )
    assert (judged.result.value, judged.agreement) == (0.0, 0.0)
    assert judged.result.details["nonfinite_outputs"] == 40
    assert judged.result.details["cosine to the reference"] == 0.0


def test_a_reference_with_nan_fits_no_probe(vectors):
    x, labels = vectors
    with pytest.raises(UnmeasuredError, match="40 of 40 vectors are not finite"):
        fed(create(), {"a": x * np.float32(math.nan)}, labels).score("a")


def test_one_class_fits_no_probe(vectors):
    with pytest.raises(UnmeasuredError, match="needs samples of two classes to fit"):
        fed(create(), {"a": vectors[0]}, np.zeros(80, int)).score("a")


def test_vectors_of_another_length(vectors):
    x, labels = vectors
    with pytest.raises(UsageError, match="result gives 5 values a sample where the reference"):
        fed(create(), {"reference": x, "result": x[:, :5]}, labels)
    task = fed(create(), {"a": x}, labels)
    with pytest.raises(UsageError, match="a gives 5 values where there were 6 before"):
        fed(task, {"a": x[:, :5]}, labels)


def test_memory_is_bounded(vectors, monkeypatch):
    monkeypatch.setattr(embedding, "_MOST_BYTES", 1000)
    with pytest.raises(UsageError) as caught:
        fed(create(), {"a": vectors[0]}, vectors[1])
    assert caught.value.message.startswith("embedding keeps every vector, at most 1.00 kB: 48 of 6")


def test_labels_that_are_no_classes(vectors):
    with pytest.raises(UsageError, match="one class a sample, and labels are float64"):
        fed(create(), {"a": vectors[0]}, vectors[1] / 2)


@pytest.mark.parametrize("argument", ["ridge", "0", "-1", "nan", "inf"])
def test_the_argument_is_a_penalty(argument):
    with pytest.raises(UsageError) as caught:
        create(argument)
    message = f"--task 'embedding:{argument}': '{argument}' is no positive number"
    assert caught.value.message == message
    assert "L2 penalty" in caught.value.hint


def test_a_heavier_penalty_is_taken(vectors):
    assert fed(create("0.01"), {"a": vectors[0]}, vectors[1]).score("a").value > 0.9


def test_the_model_must_give_vectors():
    embedding.check(signature(384), 2, label_shape=())
    embedding.check(signature(None, 384), None)
    embedding.check(signature(1, 1, 64), None)
    embedding.check(signature(8, dtype="int8", quantization=Quantization(0.1, 0)), None)
    with pytest.raises(UsageError) as caught:
        embedding.check(signature(64, dtype="int64", more=1), None)
    assert "the output 'out' is int64 (64,)" in caught.value.message
    assert caught.value.hint == "choose another output with --output"
    with pytest.raises(UsageError, match="vector or a matrix a sample"):
        embedding.check(signature(3, 4, 5), None)
    with pytest.raises(UsageError, match=r"one class \(an integer\) a sample"):
        embedding.check(signature(8), None, label_shape=(2,))


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3),
    st.floats(0.1, 100),
)
def test_the_cosine_knows_no_length(row, scale):
    ours = np.array([row])
    found = cosines(ours, ours * scale, "result")[0]
    assert found == pytest.approx(1.0)


def test_zero_and_broken_rows():
    rows = np.array([[0.0, 0], [0, 0], [1, 0], [math.nan, 1], [1, 0]])
    others = np.array([[0.0, 0], [1, 0], [0, 1], [math.nan, 1], [-1, 0]])
    assert cosines(rows, others, "result").tolist() == [1.0, 0.0, 0.0, 0.0, -1.0]

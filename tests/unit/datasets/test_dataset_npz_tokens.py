"""Token numbers: several named integer inputs, from the file to a judged model."""

import numpy as np
import pytest

from edgekit.core.artifact import IDENTITY, Signature, TensorSpec
from edgekit.core.data import SPLITS
from edgekit.datasets import npz
from edgekit.engine.data import check_fits, open_data
from edgekit.errors import UsageError

WORDS, LENGTH = 50, 8
rng = np.random.default_rng(0)
IDS = rng.integers(1, WORDS, (260, LENGTH))
MASK = (rng.random((260, LENGTH)) < 0.8).astype(np.int64)
LABELS = np.arange(260) % 2


def parts(**arrays):
    """Each array with the endings _train (200) and _test (60)."""
    return {
        f"{name}_{part}": rows[at]
        for name, rows in arrays.items()
        for part, at in (("train", slice(200)), ("test", slice(200, None)))
    }


GIVEN = parts(input_ids=IDS, attention_mask=MASK, y=LABELS)


def signature(*names, outputs=(2,)):
    inputs = tuple(TensorSpec(name, (None, None), "int64") for name in names)
    return Signature(inputs, (TensorSpec("logits", (None, *outputs), "float32"),))


BERT = signature("attention_mask", "input_ids")


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "tokens.npz", **arrays)
        return f"npz:{tmp_path / 'tokens.npz'}"

    return write


def error(call):
    with pytest.raises(UsageError) as caught:
        call()
    return caught.value


def test_named_inputs_make_all_four_splits(save):
    data = open_data(save(**GIVEN), signature=BERT)
    check_fits(data, BERT, IDENTITY)
    assert (data.task, data.classes) == ("classification", 2)
    assert data.split_sizes == {"train": 136, "calibrate": 32, "select": 32, "test": 60}
    rows = [data.indices(split) for split in SPLITS[:3]]
    assert len(set(np.concatenate(rows))) == 200


def test_batches_come_in_the_models_order_and_dtype(save):
    data = open_data(save(**GIVEN), signature=BERT)
    (mask, ids), labels = next(data.batches("test", 60, BERT, IDENTITY))
    assert (ids.dtype, mask.dtype) == (np.int64, np.int64)
    np.testing.assert_array_equal(ids, IDS[200:])
    np.testing.assert_array_equal(mask, MASK[200:])
    np.testing.assert_array_equal(labels, LABELS[200:])
    (mask, ids), labels = next(data.batches("calibrate", 4, BERT, IDENTITY))
    row = int(data.indices("calibrate")[0])
    np.testing.assert_array_equal(ids[0], IDS[row])
    np.testing.assert_array_equal(mask[0], MASK[row])
    assert labels[0] == LABELS[row]


def test_a_single_named_input_of_tokens(save):
    data = open_data(save(**parts(input_ids=IDS, y=LABELS)), signature=signature("input_ids"))
    ((ids,), _) = next(data.batches("test", 5, signature("input_ids"), IDENTITY))
    np.testing.assert_array_equal(ids, IDS[200:205])


def test_narrow_integers_become_the_models(save):
    arrays = parts(input_ids=IDS.astype(np.uint8), attention_mask=MASK.astype(bool), y=LABELS)
    data = open_data(save(**arrays), signature=BERT)
    check_fits(data, BERT, IDENTITY)
    ((mask, ids), _) = next(data.batches("test", 5, BERT, IDENTITY))
    assert (ids.dtype, mask.dtype) == (np.int64, np.int64)


def test_a_wrong_name_has_its_nearest(save):
    arrays = parts(inputs_ids=IDS, attention_mask=MASK, y=LABELS)
    found = error(lambda: open_data(save(**arrays), signature=BERT))
    assert "the inputs attention_mask, input_ids (or each with _train and _test) are not there" in (
        found.message
    )
    assert found.hint == "rename the array 'inputs_ids_train' to 'input_ids_train'"


def test_a_name_like_no_other_shows_how_to_write_the_file(save):
    found = error(lambda: open_data(save(**parts(a=IDS, b=MASK)), signature=BERT))
    assert found.hint.startswith("np.savez(FILE, ")


def test_test_arrays_of_one_input_only(save):
    arrays = {name: rows for name, rows in GIVEN.items() if name != "attention_mask_test"}
    found = error(lambda: open_data(save(**arrays), signature=BERT))
    assert found.message.endswith("has the array input_ids_test, and not attention_mask_test")


def test_floats_for_tokens(save):
    arrays = parts(input_ids=IDS.astype(np.float32), attention_mask=MASK, y=LABELS)
    data = open_data(save(**arrays), signature=BERT)
    found = error(lambda: check_fits(data, BERT, IDENTITY))
    assert found.message.endswith(
        "samples are float32, and the model's input 'input_ids' takes int64"
    )
    assert found.hint == "store them as integers"


def test_arrays_that_the_model_does_not_take_are_noted(save):
    arrays = GIVEN | parts(token_type_ids=MASK * 0)
    data = open_data(save(**arrays), signature=BERT)
    (note,) = data.dataset.notes
    assert note.what == "left out"
    assert note.item == "arrays 'token_type_ids_train', 'token_type_ids_test'"


def test_labels_of_an_unused_part_are_noted(save):
    spec = save(x=np.ones((60, 4)), y=LABELS[:60], y_test=LABELS[:9])
    data = npz.load(spec.removeprefix("npz:"), npz.Options(), None)
    assert [note.item for note in data.notes] == ["array 'y_test'"]


def test_boxes_are_labels_of_three_axes(save):
    boxes = np.full((200, 3, 5), -1.0, np.float32)
    boxes[:, 0] = (0, 1, 2, 3, 4)
    spec = save(x=np.ones((200, 3, 4, 4), np.float32), y=boxes)
    detector = Signature(
        (TensorSpec("x", (None, 3, 4, 4), "float32"),),
        tuple(TensorSpec(name, (None, None), "float32") for name in ("boxes", "scores", "classes")),
    )
    data = open_data(spec, signature=detector, task="detection")
    check_fits(data, detector, IDENTITY)
    assert data.classes is None
    _, labels = next(data.batches("test", 2, detector, IDENTITY))
    assert labels.shape == (2, 3, 5)


def test_texts_as_classes_filled_with_minus_1(save):
    letters = np.full((200, 6), -1, np.int32)
    letters[:, :3] = (5, 6, 7)
    data = open_data(
        save(x=np.ones((200, 3), np.float32), y=letters),
        signature=signature("x"),
        task="regression",
    )
    _, labels = next(data.batches("test", 2, None, IDENTITY))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels[0], letters[0])


def test_a_token_model_is_judged(save, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from edgekit.core.target import load_target
    from edgekit.engine.measure import judge_pair, on_target
    from edgekit.engine.models import open_artifact
    from edgekit.engine.progress import silent

    labels = (np.where(MASK == 1, IDS, 0).sum(axis=1) > 160).astype(np.int64)
    path = tmp_path / "tokens.onnx"
    onnx.save(token_model(onnx, threshold=160.0), path)
    spec = save(**parts(input_ids=IDS, attention_mask=MASK, y=labels))
    subject = on_target(open_artifact(path), load_target("cpu-onnxruntime"))
    data = open_data(spec, signature=BERT)
    judged = judge_pair(subject, subject, data=data, bars=silent)
    assert (judged.result.metric, judged.result.value, judged.result.n) == ("accuracy", 1.0, 60)
    assert judged.agreement == 1.0


def token_model(onnx, *, threshold):
    """Class 1 where the sum of the unmasked token numbers is above the threshold."""
    from onnx import TensorProto, helper, numpy_helper

    def initializer(name, value):
        return numpy_helper.from_array(np.asarray(value), name)

    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["real", "axis"], ["sum"], keepdims=1),
        helper.make_node("Sub", ["sum", "threshold"], ["above"]),
        helper.make_node("Neg", ["above"], ["below"]),
        helper.make_node("Concat", ["below", "above"], ["logits"], axis=1),
    ]
    tokens = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "T"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        tokens,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [
            initializer("axis", np.array([1], np.int64)),
            initializer("threshold", np.array([[threshold]], np.float32)),
        ],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)

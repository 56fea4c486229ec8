"""From --data to splits, model-ready batches and a task; and data that does not fit."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.artifact import IDENTITY, InputScaling, Quantization, Signature, TensorSpec
from edgekit.core.data import SPLITS, Dataset, Pool
from edgekit.engine.data import (
    check_fits,
    measure_scaling,
    open_data,
    parse_data_spec,
    random_inputs,
)
from edgekit.engine.data_inputs import fitted_shape, prepare
from edgekit.engine.data_splits import split_indices
from edgekit.errors import UsageError

SIXTEENTH = InputScaling(scale=(1 / 16,), low=0.0, high=16.0)


def model(shape=(8, 8, 1), output=(10,), dtype="float32", quantization=None, name="image"):
    return Signature(
        (TensorSpec(name, (None, *shape), dtype, quantization),),
        (TensorSpec("scores", (None, *output), "float32"),),
    )


def error(call, *arguments, **options):
    with pytest.raises(UsageError) as caught:
        call(*arguments, **options)
    return caught.value


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return f"npz:{tmp_path / 'd.npz'}"

    return write


class TestSpec:
    def test_a_kind_and_its_path(self):
        assert parse_data_spec("digits") == ("digits", "")
        assert parse_data_spec("python:a/b.py:f") == ("python", "a/b.py:f")

    def test_an_unknown_kind_has_its_nearest_names(self):
        found = error(parse_data_spec, "digit")
        assert found.message == "--data 'digit': unknown kind 'digit'"
        assert found.hint == "did you mean 'digits'?"

    def test_a_bare_path_is_told_its_kind(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("")
        found = error(parse_data_spec, str(path))
        assert found.message == f"--data '{path}': a path needs its kind in front"
        assert found.hint == f"write --data csv:{path}"
        (tmp_path / "cat").mkdir()
        assert error(parse_data_spec, str(tmp_path)).hint == f"write --data images:{tmp_path}"
        (tmp_path / "x.bin").write_text("")
        assert error(parse_data_spec, str(tmp_path / "x.bin")).hint.startswith("KIND:PATH with one")


class TestSplits:
    def test_the_digits_are_split_evenly_over_their_classes(self):
        data = open_data("digits", signature=model())
        assert data.split_sizes == {"train": 1077, "calibrate": 135, "select": 135, "test": 450}
        labels = np.asarray(data.dataset.train.y)
        counts = np.bincount(labels[data.indices("test")])
        assert counts.min() >= 43
        assert counts.max() <= 47

    def test_splits_are_disjoint_and_complete(self):
        data = open_data("digits")
        rows = np.concatenate([data.indices(split) for split in SPLITS])
        assert sorted(rows.tolist()) == list(range(1797))

    def test_the_seed_decides_and_nothing_else(self):
        first, again, other = (open_data("digits", seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first.indices("test"), again.indices("test"))
        assert set(first.indices("test")) != set(other.indices("test"))

    def test_the_first_samples_of_a_split_are_of_many_classes(self):
        data = open_data("digits")
        labels = np.asarray(data.dataset.train.y)[data.indices("calibrate")[:30]]
        assert len(set(labels.tolist())) >= 8

    def test_a_test_pool_of_its_own_is_the_test_split_in_order(self, npz):
        x = np.zeros((100, 3), np.float32)
        y = np.arange(100) % 2
        data = open_data(npz(x_train=x, y_train=y, x_test=x[:7], y_test=y[:7]))
        assert data.indices("test").tolist() == list(range(7))
        assert data.split_sizes == {"train": 36, "calibrate": 32, "select": 32, "test": 7}

    @settings(deadline=None)
    @given(n=st.integers(4, 700), k=st.integers(1, 9), seed=st.integers(0, 5))
    def test_any_pool_gives_four_disjoint_splits(self, n, k, seed):
        pool = Pool((np.zeros((n, 2)),), np.arange(n) % k)
        parts = split_indices(Dataset("d", pool, None, "x"), seed, where="D")
        assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(n))
        assert min(len(rows) for rows in parts.values()) >= 1
        assert len(parts["test"]) == -(-n // 4)

    def test_too_few_samples(self, npz):
        spec = npz(x=np.zeros((3, 2)), y=np.array([0, 1, 0]))
        assert error(open_data, spec).message == (
            f"--data '{spec}': has 3 samples, and the splits need at least 4"
        )

    def test_test_samples_alone_can_be_judged_and_nothing_else(self, npz):
        spec = npz(x_test=np.zeros((3, 2)), y_test=np.array([0, 1, 0]))
        data = open_data(spec)
        assert data.split_sizes == {"train": 0, "calibrate": 0, "select": 0, "test": 3}
        found = error(next, data.batches("calibrate", 1, None, IDENTITY))
        assert found.message == f"--data '{spec}': has no samples for the calibrate split"
        assert error(measure_scaling, data).message.endswith("has no training samples")


class TestBatches:
    def test_inputs_are_scaled_floats_and_labels_come_along(self):
        data = open_data("digits", signature=model())
        inputs, labels = next(data.batches("test", 4, model(), SIXTEENTH))
        rows = data.indices("test")[:4]
        np.testing.assert_array_equal(inputs[0], data.dataset.train.x[0][rows] / np.float32(16))
        np.testing.assert_array_equal(labels, data.dataset.train.y[rows])
        assert str(inputs[0].dtype) == "float32"

    def test_every_sample_comes_once_and_always_in_one_order(self):
        data = open_data("digits")
        batches = [list(data.batches("test", size, None, IDENTITY)) for size in (64, 450)]
        first, second = (np.concatenate([x[0] for x, _ in found]) for found in batches)
        np.testing.assert_array_equal(first, second)
        assert len(first) == 450

    def test_a_missing_or_superfluous_channel_axis_is_no_matter(self):
        data = open_data("digits")
        inputs, _ = next(data.batches("test", 2, model((8, 8)), IDENTITY))
        assert inputs[0].shape == (2, 8, 8)
        assert fitted_shape((8, 8), model().inputs[0]) == (8, 8, 1)
        assert fitted_shape((64,), model().inputs[0]) is None

    def test_token_numbers_are_never_scaled(self):
        spec = TensorSpec("ids", (1, None), "int32")
        ready = prepare(np.array([[5, 7]]), spec, SIXTEENTH)
        assert (str(ready.dtype), ready.tolist()) == ("int32", [[5, 7]])

    def test_scaling_by_channel(self):
        scaling = InputScaling(scale=(1.0, 2.0), offset=(0.0, -1.0))
        ready = prepare(np.ones((1, 2, 2), np.uint8), None, scaling)
        assert ready[0, 0].tolist() == [1.0, 1.0]
        assert ready.shape == (1, 2, 2)

    def test_big_endian_labels_become_native(self, npz):
        data = open_data(npz(x=np.zeros((8, 2)), y=(np.arange(8) % 2).astype(">i4")))
        _, labels = next(data.batches("test", 2, None, IDENTITY))
        assert labels.dtype.isnative

    def test_several_inputs_go_by_name(self, npz):
        both = Signature(
            (TensorSpec("b", (1, 2), "float32"), TensorSpec("a", (1, 2), "float32")),
            (TensorSpec("scores", (1, 2), "float32"),),
        )
        a, y = np.zeros((8, 2), np.float32), np.arange(8) % 2
        data = open_data(npz(a=a, b=a + 1, y=y), signature=both)
        inputs, _ = next(data.batches("test", 1, both, IDENTITY))
        assert [array.ravel()[0] for array in inputs] == [1.0, 0.0]
        other = Signature((*both.inputs, TensorSpec("c", (1, 2), "float32")), both.outputs)
        assert error(check_fits, data, other, IDENTITY).message.endswith(
            "the model's inputs are b, a, c, and the data has b, a"
        )


class TestScaling:
    def test_the_training_range_is_brought_to_0_and_1(self):
        assert measure_scaling(open_data("digits")) == InputScaling(
            scale=(1 / 16,), offset=(0.0,), low=0.0, high=16.0
        )

    def test_a_constant_is_brought_to_0(self, npz):
        data = open_data(npz(x=np.full((8, 2), 3.0), y=np.arange(8) % 2))
        assert measure_scaling(data) == InputScaling(offset=(-3.0,), low=3.0, high=3.0)

    def test_data_options_override_it(self):
        data = open_data("digits", options="scale=0.5,offset=[1,2],low=0,high=16")
        assert data.scaling_override == InputScaling((0.5,), (1.0, 2.0), 0.0, 16.0)
        assert open_data("digits").scaling_override is None

    @pytest.mark.parametrize(
        ("options", "message", "hint"),
        [
            ("sclae=1", "unknown key 'sclae'", "did you mean 'scale'?"),
            ("scale=0", "scale must not be 0 or empty, not [0.0]", ""),
            ("low=1", "low and high go together, low below high; not 1.0 and None", ""),
            ("low=2,high=1", "low and high go together, low below high; not 2.0 and 1.0", ""),
            ("scale=big", "scale: must be a number, not 'big'", ""),
            ("scale", "'scale' is not key=value", "write key=value,key=value"),
        ],
    )
    def test_wrong_options(self, options, message, hint):
        found = error(open_data, "digits", options=options)
        assert (found.message, found.hint) == (f"--data-options: {message}", hint)

    def test_the_rest_belongs_to_the_kind_of_data(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("a,b,y\n" + "".join(f"{i},{i},{i % 2}\n" for i in range(12)))
        data = open_data(f"csv:{path}", options="label=a,scale=2,normalise=false")
        assert data.dataset.train.x[0].shape[1:] == (2,)
        assert data.scaling_override == InputScaling(scale=(2.0,))
        found = error(open_data, f"csv:{path}", options="delimiter=ab")
        assert found.message == "--data-options: delimiter must be one character, not 'ab'"


class TestValues:
    @pytest.mark.parametrize("dtype", ["float32", ">f8"])
    def test_nan_and_infinity_are_counted(self, npz, dtype):
        x = np.zeros((8, 2), dtype)
        x[0], x[1, 0] = np.nan, np.inf
        spec = npz(x=x, y=np.arange(8) % 2)
        assert error(open_data, spec).message == (
            f"--data '{spec}': inputs have 2 NaN and 1 infinite values"
        )

    def test_large_finite_values_are_fine(self, npz):
        open_data(npz(x=np.full((8, 2), 1e308), y=np.arange(8) % 2))

    def test_targets_must_be_finite(self, npz):
        spec = npz(x=np.zeros((4, 2)), y=np.array([0.5, np.nan, 1.0, 2.0]))
        assert error(open_data, spec).message.endswith("labels have 1 NaN and 0 infinite values")

    def test_lengths_must_agree(self, npz):
        spec = npz(x=np.zeros((5, 2)), y=np.arange(4) % 2)
        assert error(open_data, spec).message == (
            f"--data '{spec}': inputs have 5 samples, and there are 4 labels"
        )

    def test_train_and_test_must_have_one_shape(self, npz):
        y = np.arange(4) % 2
        spec = npz(x_train=np.zeros((4, 2)), y_train=y, x_test=np.zeros((4, 3)), y_test=y)
        assert error(open_data, spec).message == (
            f"--data '{spec}': test samples have the shape (3,), and training samples (2,)"
        )

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("return (X, X), Y, (X,), Y", "test has 1 inputs, and training has 2"),
            (
                "return Dataset('m', Pool((X.astype(object),), Y), None, 'd')",
                "inputs have the dtype object, which is no number",
            ),
        ],
    )
    def test_pools_of_a_function_are_checked_too(self, tmp_path, body, message):
        path = tmp_path / "m.py"
        path.write_text(
            "import numpy as np\nfrom edgekit.core.data import Dataset, Pool\n"
            f"X, Y = np.zeros((4, 2)), np.arange(4) % 2\ndef f(): {body}\n"
        )
        spec = f"python:{path}:f"
        assert error(open_data, spec).message == f"--data '{spec}': {message}"

    def test_negative_classes_of_a_dataset_object(self, tmp_path):
        path = tmp_path / "m.py"
        path.write_text(
            "import numpy as np\nfrom edgekit.core.data import Dataset, Pool\n"
            "def f(): return Dataset('m', Pool((np.zeros((4, 2)),), np.arange(4) - 1), None, 'd')\n"
        )
        found = error(open_data, f"python:{path}:f")
        assert found.message.endswith("labels reach -1, and classes start at 0")

    def test_an_unreadable_file_is_no_traceback(self, tmp_path, monkeypatch):
        path = tmp_path / "t.csv"
        path.write_text("a,y\n1,2\n")

        def refuse(self, *args, **options):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr("pathlib.Path.open", refuse)
        found = error(open_data, f"csv:{path}")
        assert found.message == f"--data 'csv:{path}': {path}: Permission denied"


class TestTask:
    def test_the_task_that_suits_is_taken(self, npz):
        assert open_data("digits", signature=model()).task == "classification"
        assert open_data("digits").task == "classification"
        x = np.random.default_rng(0).random((8, 4))
        encoder = model((4,), (4,))
        assert open_data(npz(x=x), signature=encoder).task == "reconstruction"
        marked = npz(x=x, y=np.arange(8) % 2)
        assert open_data(marked, signature=encoder).task == "reconstruction"
        assert open_data(marked, signature=model((4,), (2,))).task == "classification"
        assert open_data(npz(x=x, y=x[:, 0]), signature=model((4,), (1,))).task == "regression"

    def test_a_named_task_is_taken_with_its_argument(self):
        data = open_data("digits", task="classification:0")
        assert (data.task, data.task_name, data.task_argument) == (
            *("classification:0", "classification", "0"),
        )
        assert data.new_task() is not data.new_task()

    def test_no_task_suits(self, npz):
        spec = npz(x=np.zeros((8, 4)), y=np.arange(8) % 2)
        found = error(open_data, spec, signature=model((4,), (2, 2, 2)))
        assert found.message == (
            f"--data '{spec}': has int64 labels with 1 axes for outputs "
            "'scores' (None, 2, 2, 2), and no task suits it"
        )
        assert found.hint.startswith("name one with --task: ")

    def test_samples_without_labels_calibrate_and_do_not_judge(self, npz):
        signature = model((4,), (2,))
        data = open_data(npz(x=np.zeros((40, 4))), signature=signature)
        assert not data.can_judge
        check_fits(data, signature, IDENTITY)
        assert next(data.batches("calibrate", 4, signature, IDENTITY))[1] is None

    def test_an_unknown_task_and_a_wrong_argument(self):
        found = error(open_data, "digits", task="classify")
        assert found.message == "--task 'classify': unknown task 'classify'"
        assert found.hint == "did you mean 'classification'?"
        assert error(open_data, "digits", task="classification:x").message.endswith("not a number")


class TestFit:
    def fits(self, signature, scaling=IDENTITY, **options):
        check_fits(open_data("digits", **options), signature, scaling)

    def test_the_digits_fit(self):
        self.fits(model(), SIXTEENTH)
        self.fits(model((8, 8)))
        quantization = Quantization(16 / 255, -128)
        self.fits(model(dtype="int8", quantization=quantization))

    @pytest.mark.parametrize(
        ("signature", "message"),
        [
            (
                model((28, 28, 1)),
                "samples have the shape 8 x 8 x 1, and the model's input 'image' takes 28 x 28 x 1",
            ),
            (model(output=(5,)), "labels have 10 classes, and the model's output 'scores' has 5"),
            (model(output=(20,)), "labels have 10 classes, and the model's output 'scores' has 20"),
        ],
    )
    def test_shapes_and_classes_say_both(self, signature, message):
        found = error(self.fits, signature)
        assert found.message == f"--data 'digits': {message}"

    def test_a_range_the_model_was_not_trained_on(self):
        trained = InputScaling(scale=(1 / 255,), low=0.0, high=255.0)
        found = error(self.fits, model(), trained)
        assert found.message == (
            "--data 'digits': values range from 0 to 16, and the model was trained on 0 to 255"
        )
        assert found.hint == (
            "if it is the right data in another range, "
            "--data-options scale=0.0625,offset=0 maps one to the other"
        )

    def test_a_range_that_lies_elsewhere(self):
        trained = InputScaling(low=100.0, high=116.0)
        assert "trained on 100 to 116" in error(self.fits, model(), trained).message
        self.fits(model(), InputScaling(low=-4.0, high=14.0))

    def test_a_range_that_the_quantized_input_cannot_hold(self):
        signature = model(dtype="int8", quantization=Quantization(1 / 255, -128))
        found = error(self.fits, signature)
        assert found.message == (
            "--data 'digits': values range from 0 to 16, and the model's int8 input 'image' "
            "holds 0 to 1"
        )
        assert found.hint.endswith("scale=0.0625,offset=0 maps one to the other")
        self.fits(signature, SIXTEENTH)

    def test_the_hinted_scaling_makes_the_data_fit(self, npz):
        spec = npz(x=np.linspace(-500, 700, 64).reshape(8, 8), y=np.arange(8) % 2)
        signature = model((8,), (2,), "int8", Quantization(2 / 255, 0))
        data = open_data(spec, signature=signature)
        hint = error(check_fits, data, signature, IDENTITY).hint
        options = hint.partition("--data-options ")[2].partition(" ")[0]
        override = open_data(spec, options=options).scaling_override
        assert override is not None
        check_fits(data, signature, override)

    def test_channels_of_the_scaling(self):
        found = error(self.fits, model(), InputScaling(scale=(1.0, 2.0)))
        assert found.message == (
            "--data 'digits': scale has 2 values, and no channel axis of the model's input 'image' "
            "(?x8x8x1) has that many"
        )

    def test_channels_in_front(self):
        nchw = TensorSpec("image", (None, 3, 4, 5), "float32")
        scaling = InputScaling(scale=(1.0, 2.0, 3.0), offset=(0.0, 0.0, 1.0))
        raw = np.ones((2, 3, 4, 5), np.float32)
        made = prepare(raw, nchw, scaling)
        assert made[0, :, 0, 0].tolist() == [1.0, 2.0, 4.0]
        last = prepare(np.ones((2, 4, 5, 3), np.float32), None, scaling)
        assert last[0, 0, 0].tolist() == [1.0, 2.0, 4.0]
        # Both ends fit: the last axis is the channels, as it is without a model.
        both = prepare(np.ones((1, 3, 4, 3), np.float32), None, scaling)
        assert both[0, 0, 0].tolist() == [1.0, 2.0, 4.0]

    def test_floats_for_an_integer_input(self, npz):
        spec = npz(x=np.zeros((8, 4)), y=np.arange(8) % 2)
        signature = model((4,), (2,), "int32", name="ids")
        found = error(check_fits, open_data(spec), signature, IDENTITY)
        assert found.message == (
            f"--data '{spec}': samples are float64, and the model's input 'ids' takes int32"
        )


class TestRandomInputs:
    def test_they_are_seeded_and_in_range(self):
        signature = Signature(
            (
                TensorSpec("a", (1, 3), "float32"),
                TensorSpec("q", (1, 3), "int8", Quantization(0.5, 0)),
                TensorSpec("ids", (None, 3), "int64"),
            ),
            (),
        )
        first, again = (random_inputs(signature, 500, seed=4) for _ in range(2))
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.shape == (500, 3)
        plain, quantized, ids = first
        assert 0 <= plain.min() < plain.max() <= 1
        assert -64 <= quantized.min() < -60 < 60 < quantized.max() <= 63.5
        assert (str(ids.dtype), set(ids.ravel().tolist())) == ("int64", {0, 1})
        assert str(quantized.dtype) == "float32"

    def test_a_dynamic_axis_is_named(self):
        found = error(random_inputs, model((None, 8, 1)), 1, 0)
        assert found.message == (
            "input 'image': axis 1 of (None, None, 8, 1) is dynamic, so no random input fits"
        )


def test_reading_mapped_rows_does_not_fill_the_memory(tmp_path):
    """Runs in a process of its own, because a peak cannot be reset."""
    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((20_000, 2000), np.float32))  # 160 MB
    script = (
        "import resource, sys\nimport numpy as np\n"
        "from edgekit.engine.data_inputs import chunks\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = np.load(sys.argv[1], mmap_mode='r')\nbefore = peak()\n"
        "total = sum(float(chunk.sum()) for chunk in chunks(rows))\n"
        "print((peak() - before) // 1000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 80

"""Each mistake in a recipe that trains: refused before any training, with one sentence and a hint.

Unless a test says otherwise the model is a zoo model that is not trained yet: even that training
does not begin.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support import edgekit

pytestmark = pytest.mark.tensorflow

HOOKLESS = "weights = [1, 2, 3]\n"
RAISING = "import json\n\njson.loads('{')\n"
PRUNE, CLUSTER, QAT, QUANTIZE = "prune", "cluster", "quantize-aware-train", "quantize"
HALVE, NO_SUCH = "distill\nwidth = 0.5", 'skip = ["conf*"]'


@pytest.fixture(autouse=True)
def _empty_cache(_own_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, in which nothing is trained yet."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras file for the digits' images, but with five outputs."""
    from edgekit.frameworks.keras import save_keras
    from edgekit.zoo.digits_cnn import build

    path = tmp_path_factory.mktemp("five") / "five.keras"
    save_keras(build((8, 8, 1), 5), path)
    return path


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A Keras file that takes 20 numbers, which are no image and no series, and data for it."""
    import keras

    from edgekit.frameworks.keras import save_keras

    folder = tmp_path_factory.mktemp("vectors")
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((20,)), layers.Dense(8, activation="relu"), layers.Dense(3)]
    )
    save_keras(model, folder / "vectors.keras")
    x = np.random.default_rng(0).random((400, 20), dtype=np.float32)
    np.savez(folder / "vectors.npz", x=x, y=np.arange(400) % 3)
    return folder / "vectors.keras", f"npz:{folder}/vectors.npz"


def write(folder: Path, *steps: str) -> Path:
    """A recipe file with these steps: the name, then lines of TOML."""
    text = 'summary = "x"\n'
    for step in steps:
        name, _, rest = step.partition("\n")
        text += f'[[technique]]\nname = "{name}"\n{rest}\n'
    (folder / "r.toml").write_text(text)
    return folder / "r.toml"


def outside_cache(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if (folder / "cache") not in (path, *path.parents)
    )


def files_in_cache(folder: Path) -> list[str]:
    """What a training leaves would be here; locks and empty folders are nothing."""
    found = (folder / "cache").rglob("*")
    return [path.name for path in found if path.is_file() and path.suffix != ".lock"]


def refused(
    tmp_path: Path, recipe: object, *, model: object = "zoo:digits-cnn", data: str = ""
) -> str:
    """Runs compress into a new folder and returns what it said, having checked all the rest."""
    before = outside_cache(tmp_path)
    named = ("--data", data) if data else ()
    outcome = edgekit(
        *("compress", model, "--recipe", recipe, "--target", "cpu-litert", *named),
        *("--out", tmp_path / "out"),
    )
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2, outcome.err
    assert all(line.startswith("hint: ") for line in lines[1:]), outcome.err
    assert outside_cache(tmp_path) == before, "something was written"
    assert files_in_cache(tmp_path) == [], "something was trained"
    return outcome.err


# Values out of range: the parameters themselves refuse them, with file and position.
@pytest.mark.parametrize(
    ("step", "said"),
    [
        (f"{PRUNE}\nsparsity = 1.5", "sparsity must be between 0 and 1, not 1.5"),
        (f"{PRUNE}\nsparsity = 1.0", "sparsity must be between 0 and 1, not 1.0"),
        (f"{PRUNE}\nsparsity = 0", "sparsity must be between 0 and 1, not 0"),
        (f"{PRUNE}\nsparsity = -0.1", "sparsity must be between 0 and 1, not -0.1"),
        (f"{PRUNE}\nsparsity = nan", "sparsity: must be a finite number, not nan"),
        (f"{PRUNE}\nsparsity = 0.5\nepochs = 0", "epochs must be at least 1, not 0"),
        (f"{PRUNE}\nbatch_size = 0", "batch_size must be at least 1, not 0"),
        (f"{PRUNE}\nlearning_rate = 0", "learning_rate must be above 0, not 0"),
        (f"{PRUNE}\nlearning_rate = nan", "learning_rate: must be a finite number, not nan"),
        (f"{PRUNE}\nlearning_rate = inf", "learning_rate: must be a finite number, not inf"),
        (f"{PRUNE}\ntemperature = inf", "temperature: must be a finite number, not inf"),
        (f"{PRUNE}\nclass_weights = [nan, 1.0]", "class_weights: must be a finite number"),
        (f"{PRUNE}\nlayer_sparsity = {{conv1 = 1.5}}", "layer_sparsity of 'conv1' must be 0 to"),
        (f"{PRUNE}\nbegin = 0.8\nend = 0.2", "begin and end must rise within 0 to 1"),
        (f"{CLUSTER}\nclusters = 1", "clusters must be from 2 to 256, not 1"),
        (f"{CLUSTER}\nepochs = 0", "epochs must be at least 1, not 0"),
        (f"{QAT}\nepochs = 0", "epochs must be at least 1, not 0"),
        ("distill\nwidth = 1.5", "width must be between 0 and 1, not 1.5"),
        ("distill\nwidth = 0.5\nepochs = 0", "epochs must be at least 1, not 0"),
        ("distill", "exactly one of student and width: neither is there"),
        ('distill\nwidth = 0.5\nstudent = "zoo:digits-cnn"', "student and width: both are there"),
        ('distill\nwidth = 0.5\nfeatures = ["conv1"]', "STUDENT_LAYER:TEACHER_LAYER', not 'conv1'"),
        ("prune-channels\nratio = 1.5", "ratio must be above 0 and below 1, not 1.5"),
        ("prune-channels\nratio = 0.5\nepochs = 2", "rounds = 3 needs as many epochs"),
        ("fine-tune\nepochs = 0", "epochs must be at least 1, not 0"),
        ('fine-tune\nhooks = "mine.py"', "hooks must be python:FILE.py, not 'mine.py'"),
        ('fine-tune\naugment = ["flip", "flip"]', "augment names something twice"),
    ],
)  # fmt: skip
def test_a_value_out_of_range(step: str, said: str, tmp_path: Path) -> None:
    recipe = write(tmp_path, step)
    message = refused(tmp_path, recipe, data="digits")
    assert "r.toml: technique 1: " in message
    assert said in message


@pytest.mark.parametrize(
    ("step", "said", "hint"),
    [
        ("prune\nsparsty = 0.5", "unknown key 'sparsty'", "did you mean 'sparsity'"),
        ("prune\nsparsity = '80 %'", "sparsity: must be a number", ""),
        ("fine-tune\nepochs = 1.5", "epochs: must be a whole number", ""),
        ("fine-tune\nstrategy = 'multiworker'", "strategy: unknown value", "'multi-worker'"),
        ("fine-tune\naugment = ['flop']", "unknown value 'flop'", "'flip'"),
        ("prune-channels\nof = 'macs'", "ratio", ""),
        ("pruned", "unknown technique 'pruned'", "'prune'"),
    ],
)
def test_a_key_or_word_that_does_not_exist(step: str, said: str, hint: str, tmp_path: Path) -> None:
    message = refused(tmp_path, write(tmp_path, step), data="digits")
    assert "r.toml: technique 1: " in message
    assert said in message
    assert hint in message.partition("hint: ")[2]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (f'{PRUNE}\nskip = ["conf*"]', "skip: no layer matches 'conf*'"),
        (f"{PRUNE}\nlayer_sparsity = {{conf1 = 0.3}}", "layer_sparsity: no layer matches 'conf1'"),
        (f'{CLUSTER}\nskip = ["conf*"]', "skip: no layer matches 'conf*'"),
        (f"{CLUSTER}\nlayer_clusters = {{conf1 = 3}}", "layer_clusters: no layer matches 'conf1'"),
        (f'{QAT}\nskip = ["conf*"]', "skip: no layer matches 'conf*'"),
        ('prune-channels\nratio = 0.4\nskip = ["conf*"]', "skip 'conf*'"),
        ("prune-channels\nratio = 0.4\nlayer_ratios = {conf1 = 0.3}", "layer_ratios 'conf1'"),
    ],
)
def test_a_pattern_that_matches_nothing(step: str, said: str, tmp_path: Path) -> None:
    message = refused(tmp_path, write(tmp_path, step), data="digits")
    assert said in message
    assert re.search(r"hint: did you mean 'conv[12]' or 'conv[12]'", message), message


def test_a_later_step_is_asked_before_the_first_trains(tmp_path: Path) -> None:
    recipe = write(tmp_path, "prune\nsparsity = 0.5", 'fine-tune\nteacher = ["gone.keras"]')
    assert "'gone.keras'" in refused(tmp_path, recipe, data="digits")


@pytest.mark.parametrize(
    ("is_zoo", "steps"),
    [
        (True, (HALVE, f"{PRUNE}\n{NO_SUCH}")),
        (False, (HALVE, f"{PRUNE}\n{NO_SUCH}")),
        (False, (HALVE, PRUNE, f"{QUANTIZE}\nscheme = 'int8'\n{NO_SUCH}")),
        (True, (PRUNE, f"{QUANTIZE}\nscheme = 'int8'\n{NO_SUCH}")),
    ],
)
def test_a_name_is_looked_up_in_what_is_yet_to_be_made(
    is_zoo: bool, steps: tuple[str, ...], tmp_path: Path, tiny_keras: Path
) -> None:
    """In a student that is not trained yet, and in the other format of what is not trained yet."""
    model = "zoo:digits-cnn" if is_zoo else tiny_keras
    message = refused(tmp_path, write(tmp_path, *steps), model=model, data="digits")
    assert "skip" in message
    assert "'conf*'" in message
    assert "\nhint: " in message


@pytest.mark.parametrize(
    "step",
    [
        PRUNE,
        CLUSTER,
        QAT,
        'distill\nstudent = "{frozen}"',
        "prune-channels\nratio = 0.4",
        "fine-tune",
    ],
)
def test_all_layers_are_frozen(step: str, tmp_path: Path) -> None:
    from edgekit.frameworks.keras import save_keras
    from edgekit.zoo.digits_cnn import build

    model, path = build((8, 8, 1), 10), tmp_path / "frozen.keras"
    model.trainable = False
    save_keras(model, path)
    recipe = write(tmp_path, step.replace("{frozen}", str(path)))
    message = refused(tmp_path, recipe, model=path, data="digits")
    assert "has no weight that trains: all its layers are frozen\nhint: set trainable" in message


def test_a_batch_that_does_not_divide_among_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.frameworks.strategies.replicas", lambda name: 3)
    recipe = write(tmp_path, 'fine-tune\nstrategy = "mirrored"\nbatch_size = 32')
    message = refused(tmp_path, recipe, data="digits")
    assert "batch_size = 32 does not divide among 3 replicas\nhint: take a multiple" in message


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((f"{QUANTIZE}\nscheme = 'int8'", PRUNE), "technique 2: 'prune'"),
        ((QAT, PRUNE), "technique 2: 'prune'"),
        ((CLUSTER, PRUNE), "technique 2: 'prune' would undo the clusters that 'cluster' makes"),
        ((CLUSTER, "fine-tune"), "technique 2: 'fine-tune' would undo the clusters"),
        ((CLUSTER, CLUSTER), "technique 2: 'cluster' would undo the clusters"),
        ((PRUNE, "distill\nwidth = 0.5"), "technique 2: 'distill' would undo the sparsity"),
        ((PRUNE, "prune-channels\nratio = 0.4"), "'prune-channels' would undo the sparsity"),
        ((QAT, f"{QUANTIZE}\nscheme = 'int8'"), "technique 2: 'quantize'"),
        ((QAT, QAT), "technique 2: 'quantize-aware-train'"),
        ((f"{QUANTIZE}\nscheme = 'int8'",) * 2, "technique 2: 'quantize'"),
    ],
)  # fmt: skip
def test_an_order_that_makes_no_sense(steps: tuple[str, ...], said: str, tmp_path: Path) -> None:
    message = refused(tmp_path, write(tmp_path, *steps), data="digits")
    assert said in message
    assert "hint: " in message


@pytest.mark.parametrize(
    ("step", "said", "hint"),
    [
        (
            "fine-tune\nbatch_size = 5000",
            "--data 'digits': has 1077 samples in the train split, and 'fine-tune' needs a batch "
            "of 5000",
            "a smaller batch_size",
        ),
        (
            f"fine-tune\nclass_weights = {[1.0] * 9}",
            "class_weights has 9 values, and there are 10 classes",
            "give one a class, or 'balanced'",
        ),
        ('fine-tune\nteacher = ["gone.keras"]', "teacher 'gone.keras'.*no such file", ""),
        ('fine-tune\nteacher = ["{five}"]', "teacher '.*five.keras' gives 5, .* 10", "same"),
        ('distill\nwidth = 0.5\nteacher = ["{five}"]', "teacher '.*five.keras' gives 5", "same"),
        ('distill\nstudent = "{five}"', "student: '.*five.keras' has outputs of 5", "same data"),
        ('distill\nstudent = "gone.keras"', "student: .*'gone.keras'.*no such file", ""),
        ('distill\nstudent = "zoo:digits-cmn"', "student: .*'(zoo:)?digits-cmn'", "'digits-cnn'"),
        (
            'distill\nwidth = 0.5\nfeatures = ["conf2:conv2"]',
            "features: the student has no layer 'conf2'",
            "did you mean 'conv2'",
        ),
        (
            'distill\nwidth = 0.5\nfeatures = ["conv2:conf2"]',
            "features: the teacher has no layer 'conf2'",
            "did you mean 'conv2'",
        ),
        (
            'distill\nwidth = 0.5\nfeatures = ["conv1:conv2"]',
            "features: 'conv1:conv2' pairs 8x8x8 with 4x4x32",
            "same height and width",
        ),
        (
            "prune-channels\nratio = 0.95",
            r"ratio = 0.95 of the macs cannot be reached: at most \d+(\.\d+)? % can go",
            "ask for less",
        ),
        ('fine-tune\nhooks = "python:gone.py"', "hooks = .*gone.py: no such file", ""),
        ('fine-tune\nstrategy = "multi-worker"', "'multi-worker' needs TF_CONFIG", "TF_CONFIG="),
        (f'{PRUNE}\nprecision = "mixed-bfloat16"', "precision", ""),
        (f'{PRUNE}\nskip = ["*"]', "prune: the model has no kernel to prune", "change skip"),
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit(
    step: str,
    said: str,
    hint: str,
    five: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    recipe = write(tmp_path, step.replace("{five}", str(five)))
    message = refused(tmp_path, recipe, data="digits")
    first, _, second = message.partition("\n")
    assert re.search(said, first), message
    assert hint in second


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (HOOKLESS, "the file has no hook", "define one of loss, optimizer, metrics"),
        (RAISING, "own.py, line 3: JSONDecodeError", ""),
        ("def loss(:\n", "own.py, line 1: SyntaxError", ""),
        ("import gone_for_good\n", "own.py, line 1: ModuleNotFoundError", ""),
        ("loss = 3\n", "'loss'.*is not a function", ""),
        ("def metrics():\n    return [len]\n", "'metrics' is not a mapping", "return {"),
        ("def metrics():\n    return 1 / 0\n", "own.py, line 2: ZeroDivisionError", ""),
        ("def callbacks():\n    return {}\n", "'callbacks' has a dict, which is no callback", ""),
    ],
)
def test_a_hooks_file_that_is_none(content: str, said: str, hint: str, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(content)
    message = refused(
        tmp_path, write(tmp_path, f'fine-tune\nhooks = "python:{own}"'), data="digits"
    )
    first, _, second = message.partition("\n")
    assert f"hooks = 'python:{own}'" in first
    assert re.search(said, first), message
    assert hint in second


@pytest.mark.parametrize(
    "step",
    [PRUNE, CLUSTER, QAT, "distill\nwidth = 0.5", "prune-channels\nratio = 0.4", "fine-tune"],
)
def test_training_needs_data(step: str, tmp_path: Path, tiny_keras: Path) -> None:
    name = step.partition("\n")[0]
    recipe = write(tmp_path, step)
    message = refused(tmp_path, recipe, model=tiny_keras)
    assert re.search(f"r.toml: '{name}' needs data to .*train", message), message
    assert "hint: name it with --data\n" in message
    assert "there is no data to train on\nhint: " in refused(tmp_path, recipe)


def test_labels_that_do_not_fit_the_output(tmp_path: Path, five: Path) -> None:
    message = refused(tmp_path, write(tmp_path, "fine-tune"), model=five, data="digits")
    assert re.search(r"(9|10) .*5|5 .*(9|10)", message), message


def test_samples_without_labels_for_a_classifier(tmp_path: Path, tiny_keras: Path) -> None:
    x = np.random.default_rng(0).random((400, 8, 8, 1), dtype=np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    recipe = write(tmp_path, "fine-tune")
    message = refused(tmp_path, recipe, model=tiny_keras, data=f"npz:{tmp_path}/x.npz")
    assert "no labels" in message
    assert "hint: give labels" in message


def test_samples_of_another_shape(tmp_path: Path, vectors: tuple[Path, str]) -> None:
    message = refused(tmp_path, write(tmp_path, "fine-tune"), model=vectors[0], data="digits")
    assert re.search(r"8 x 8 x 1.* 20", message), message


def test_no_class_weights_without_classes(tmp_path: Path, vectors: tuple[Path, str]) -> None:
    x = np.random.default_rng(0).random((400, 20), dtype=np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=x[:, :3])
    recipe = write(tmp_path, 'fine-tune\nclass_weights = "balanced"')
    message = refused(tmp_path, recipe, model=vectors[0], data=f"npz:{tmp_path}/d.npz")
    assert "class_weights are for classes, and the labels are none\nhint: leave" in message


@pytest.mark.parametrize("kind", ["flip", "crop"])
def test_images_alone_are_mirrored(kind: str, tmp_path: Path, vectors: tuple[Path, str]) -> None:
    recipe = write(tmp_path, f'fine-tune\naugment = ["{kind}"]')
    message = refused(tmp_path, recipe, model=vectors[0], data=vectors[1])
    assert re.search(rf"augment: '{kind}' is for images .* is 20\n", message), message
    assert "hint: leave it out" in message


def test_a_hook_that_does_not_exist_in_python(tmp_path: Path, tiny_keras: Path) -> None:
    import edgekit as package
    from edgekit.errors import UsageError

    recipe = write(tmp_path, "fine-tune")
    with pytest.raises(UsageError) as caught:
        package.compress(
            tiny_keras,
            recipe=str(recipe),
            target="null",
            data="digits",
            out=tmp_path / "out",
            hooks={"optimiser": print},
        )
    assert caught.value.message == "hooks: unknown hook 'optimiser'"
    assert "'optimizer'" in caught.value.hint
    assert not (tmp_path / "out").exists()
    assert files_in_cache(tmp_path) == []


def test_a_layer_that_cannot_be_carried(tmp_path: Path) -> None:
    """tf_keras, where pruning trains, has no such layer."""
    import keras

    from edgekit.frameworks.keras import save_keras

    layers = keras.layers
    image = keras.Input((8, 8, 1))
    x = layers.Dense(16, name="wide")(layers.Flatten(name="flat")(image))
    x = layers.Dense(10, activation="softmax", name="out")(layers.RMSNormalization(name="rms")(x))
    save_keras(keras.Model(image, x), tmp_path / "rms.keras")
    message = refused(tmp_path, "pruned", model=tmp_path / "rms.keras", data="digits")
    assert "layer 'rms' (RMSNormalization): the type 'RMSNormalization' has no" in message
    assert "hint: replace the layer" in message


def test_a_file_that_holds_no_layers(tmp_path: Path, tiny_float: Path) -> None:
    message = refused(tmp_path, "pruned", model=tiny_float, data="digits")
    assert "'prune' cannot work on a tflite model" in message

"""The user's own loss, optimizer, metrics, callbacks, augmentation and loop, from a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from training_cases import LIBRARIES, Bars, builder, digest, halves, trained

from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks._hooks import Hooks, load_hooks

Write = Callable[[str], str]
WATCH = SimpleNamespace(on_epoch_end=print)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(code: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(dedent(code))
        return f"python:{path}"

    return written


def train_with(spec: str, folder: Path, **options: Any) -> Any:
    more = {"hooks": load_hooks(spec, {})}
    build = options.pop("build", builder(dropout=0))
    return trained(folder, build, **{"epochs": 2, "more": more, **options})


class TestLoading:
    def test_none(self) -> None:
        empty = load_hooks("", {})
        assert (empty.loss, dict(empty.metrics), list(empty.callbacks)) == (None, {}, [])

    def test_every_hook_is_found(self, write: Write) -> None:
        spec = write("""
            def loss(y_true, y_pred): ...
            def optimizer(keras, learning_rate): ...
            def metrics(): return {"a": max}
            class Watch:
                def on_epoch_end(self, epoch): ...
            def callbacks(): return [Watch()]
            def augment(x, y, rng): ...
            def train_epoch(model, batches, step): ...
            def helper(): ...
        """)
        found = load_hooks(spec, {})
        assert all((found.loss, found.optimizer, found.augment, found.train_epoch))
        assert list(found.metrics) == ["a"]
        assert [type(callback).__name__ for callback in found.callbacks] == ["Watch"]

    def test_one_callback_is_a_list_of_one(self, write: Write) -> None:
        spec = write("""
            class Watch:
                def on_epoch_end(self, epoch): ...
            def callbacks(): return Watch()
        """)
        assert len(load_hooks(spec, {}).callbacks) == 1

    @pytest.mark.parametrize("returned", ["{'a': 1}", "[{}]", "[1]", "print"])
    def test_what_is_no_callback(self, write: Write, returned: str) -> None:
        with pytest.raises(UsageError, match="'callbacks' has a .*, which is no callback"):
            load_hooks(write(f"def callbacks(): return {returned}"), {})

    def test_what_is_passed_in_python_goes_first(self, write: Write) -> None:
        spec = write("def loss(a, b): ...\ndef augment(x, y, rng): ...")
        found = load_hooks(spec, {"loss": max, "metrics": {"low": min}, "callbacks": [WATCH]})
        assert (found.loss, found.metrics, found.callbacks) == (max, {"low": min}, [WATCH])
        assert found.augment is not None

    @pytest.mark.parametrize(
        ("code", "message", "hint"),
        [
            ("x = 1", "{where}: the file has no hook", "define one of loss, optimizer, metrics,"),
            ("loss = 1", "{where}: 'loss' in {path} is not a function", ""),
            ("a = 1\n1 / 0", "{where}: mine.py, line 2: ZeroDivisionError: division by zero", ""),
            ("def loss(:", "{where}: mine.py, line 1: SyntaxError: ", ""),
            (
                "def metrics():\n    return {}['f1']",
                "{where}: mine.py, line 2: KeyError: 'f1'",
                "",
            ),
            (
                "def metrics(): return [max]",
                "{where}: 'metrics' is not a mapping of names to functions",
                "return {'name': function}",
            ),
            (
                "def metrics(): return {'f1': 1}",
                "{where}: 'metrics' is not a mapping of names to functions",
                "return {'name': function}",
            ),
            ("def callbacks(): ...", "{where}: 'callbacks' is not a list", ""),
            ("import sys; sys.exit(3)", "{where}: mine.py, line 1: SystemExit: 3", ""),
        ],
    )
    def test_a_file_that_cannot_be_used_is_one_sentence(
        self, write: Write, code: str, message: str, hint: str
    ) -> None:
        spec = write(code)
        where, path = f"hooks = '{spec}'", spec.removeprefix("python:")
        with pytest.raises(UsageError) as caught:
            load_hooks(spec, {})
        assert caught.value.message.startswith(message.format(where=where, path=path))
        assert "\n" not in caught.value.message
        assert caught.value.hint.startswith(hint)

    def test_no_such_file(self) -> None:
        with pytest.raises(UsageError) as caught:
            load_hooks("python:nowhere/mine.py", {})
        assert caught.value.message == (
            "hooks = 'python:nowhere/mine.py': nowhere/mine.py: no such file"
        )

    @pytest.mark.parametrize(
        ("passed", "message", "hint"),
        [
            ({"los": max}, "hooks: unknown hook 'los'", "did you mean 'loss'?"),
            ({"loss": 3}, "hooks: 'loss' is not a function", ""),
            ({"callbacks": 3}, "hooks: 'callbacks' is not a list", ""),
            (
                {"metrics": {"f1": 3}},
                "hooks: 'metrics' is not a mapping of names to functions",
                "return {'name': function}",
            ),
        ],
    )
    def test_what_is_passed_in_python_is_looked_at_too(
        self, passed: Any, message: str, hint: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            load_hooks("", passed)
        assert (caught.value.message, caught.value.hint) == (message, hint)

    def test_a_changed_file_is_run_again(self, write: Write) -> None:
        first = load_hooks(write("def metrics(): return {'a': max}"), {})
        second = load_hooks(write("def metrics(): return {'b': max}"), {})
        assert (list(first.metrics), list(second.metrics)) == (["a"], ["b"])


@pytest.mark.tensorflow
class TestTraining:
    @pytest.mark.parametrize("name", LIBRARIES)
    def test_loss_optimizer_metrics_and_callbacks(
        self, tmp_path: Path, write: Write, name: Any
    ) -> None:
        spec = write("""
            import tensorflow as tf
            told = []
            def loss(y_true, y_pred):
                return 3.0 + 0.0 * tf.reduce_sum(y_pred, axis=-1)
            def optimizer(keras, learning_rate):
                assert callable(learning_rate)
                told.append(keras.__name__)
                return keras.optimizers.SGD(learning_rate, momentum=0.5)
            def metrics():
                return {"mean-label": lambda y, p: tf.cast(y, tf.float32),
                        "scalar": lambda y, p: tf.constant(2.0)}
            class Listens:
                def on_epoch_end(self, epoch):
                    told.append(epoch)
            def callbacks():
                return [Listens()]
        """)
        result = train_with(spec, tmp_path / "run", build=builder(name, dropout=0))
        epoch = result.curve.epochs[0]
        assert (epoch.loss, epoch.select_loss) == (3.0, 3.0)  # no gradient, nothing to learn
        assert epoch.others["mean-label"] == pytest.approx(halves().y_select.mean())
        assert epoch.others["scalar"] == 2.0
        assert _module_of(spec).told[-3:] == [name, 0, 1]

    def test_an_augmentation_sees_each_batch_and_is_seeded(
        self, tmp_path: Path, write: Write
    ) -> None:
        spec = write("""
            seen = []
            def augment(x, y, rng):
                seen.append((x.shape, y.shape, rng.integers(1000)))
                return x * 0, y
        """)
        first = train_with(spec, tmp_path / "a")
        again = train_with(spec, tmp_path / "b")
        seen = _module_of(spec).seen
        assert len(seen) == 12
        assert seen[:6] == seen[6:]
        assert len({number for _, _, number in seen}) > 3
        assert seen[0][:2] == ((16, 4, 4, 1), (16,))
        assert digest(first.model) == digest(again.model)
        assert first.curve.epochs[0].loss > 0.6  # black images have no class

    @pytest.mark.parametrize("with_return", [True, False])
    def test_a_training_loop_of_ones_own(
        self, tmp_path: Path, write: Write, with_return: bool
    ) -> None:
        """The same loop as edgekit's own gives the same weights."""
        spec = write(f"""
            import numpy as np
            def train_epoch(model, batches, step):
                losses = [step(x, y) for x, y in batches]
                return np.float32(np.mean(losses)) if {with_return} else None
        """)
        bars = Bars()
        own = train_with(spec, tmp_path / "own", bars=bars, build=builder())
        usual = trained(tmp_path / "usual", builder(), epochs=2)
        assert digest(own.model) == digest(usual.model)
        assert bars.done == [6]
        assert own.curve.epochs[1].loss == pytest.approx(usual.curve.epochs[1].loss)
        assert own.curve.epochs[1].metric is None

    def test_a_loop_of_ones_own_still_learns_from_teachers_and_mixup(
        self, tmp_path: Path, write: Write
    ) -> None:
        spec = write("""
            def train_epoch(model, batches, step):
                for x, y in batches:
                    step(x, y)
        """)
        options: dict[str, Any] = {"epochs": 1, "augment": ("mixup",)}
        teachers = (lambda x: (np.stack([x[0].mean((1, 2, 3)), 0 * x[0][:, 0, 0, 0]], axis=1),),)
        own, usual = (
            trained(
                tmp_path / str(number),
                builder(dropout=0),
                more={"hooks": hooks, "teachers": teachers},
                **options,
            )
            for number, hooks in enumerate((load_hooks(spec, {}), Hooks()))
        )
        assert digest(own.model) == digest(usual.model)

    def test_batches_of_the_users_own_ask_the_teachers_anew(
        self, tmp_path: Path, write: Write
    ) -> None:
        spec = write("""
            def train_epoch(model, batches, step):
                for x, y in batches:
                    step(x[::-1] * 2, y[::-1])
        """)
        asked: list[float] = []

        def teacher(x: Any) -> Any:
            asked.append(float(np.abs(x[0]).max()))
            return (np.zeros((len(x[0]), 2), np.float32),)

        trained(
            tmp_path / "run",
            builder(dropout=0),
            epochs=1,
            more={"hooks": load_hooks(spec, {}), "teachers": (teacher,)},
        )
        assert len(asked) == 4  # once for all samples, then for each of three batches
        assert max(asked[1:]) > asked[0]

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            (
                "def loss(y, p):\n    return y['a']",
                r"{where}: mine.py, line 2: \w+Error: .*",
            ),
            (
                "def optimizer(keras, rate): return 'adam'",
                r"hooks: 'optimizer' returned str, which is no optimizer",
            ),
            (
                "def optimizer(keras, rate): return keras.optimizers.Nadan(rate)",
                r"{where}: mine.py, line 1: AttributeError: .*",
            ),
            (
                "def metrics():\n    return {'a': lambda y, p: p.nothing}",
                r"{where}: mine.py, line 2: AttributeError: .*",
            ),
            (
                "def augment(x, y, rng):\n    raise ValueError('no')",
                r"{where}: mine.py, line 2: ValueError: no",
            ),
            ("def augment(x, y, rng): return x", r"hooks: 'augment' must return \(x, y\)"),
            (
                "def augment(x, y, rng): return x[:3], y",
                r"hooks: 'augment' returned shapes \[\(3, 4, 4, 1\)\] and labels \(16,\), .*",
            ),
            (
                "import numpy as np\ndef augment(x, y, rng): return x, np.eye(2)[y]",
                r"hooks: 'augment' returned shapes .* and labels \(16, 2\), .*",
            ),
            (
                "def augment(x, y, rng): return x, y * 0.5",
                r"hooks: 'augment' returned float64 labels, and the classes are whole numbers",
            ),
            (
                "def train_epoch(model, batches, step):\n    raise IndexError('mine')",
                r"{where}: mine.py, line 2: IndexError: mine",
            ),
            (
                "def train_epoch(model, batches, step): pass",
                r"hooks: 'train_epoch' took no step and returned no loss",
            ),
            (
                "def train_epoch(model, batches, step): return 'low'",
                r"hooks: 'train_epoch' returned str, which is no loss",
            ),
        ],
    )
    def test_a_hook_that_does_not_work_is_one_sentence(
        self, tmp_path: Path, write: Write, code: str, message: str
    ) -> None:
        spec = write(code)
        with pytest.raises(UsageError) as caught:
            train_with(spec, tmp_path / "run", epochs=1)
        pattern = message.format(where=re.escape(f"hooks = '{spec}'"))
        assert re.fullmatch(pattern, caught.value.message), caught.value.message

    def test_mixup_and_batches_of_the_users_own_do_not_go_together(
        self, tmp_path: Path, write: Write
    ) -> None:
        spec = write(
            "def train_epoch(model, batches, step):\n    for x, y in batches: step(x * 2, y)"
        )
        with pytest.raises(UsageError, match="changes batches that mixup has mixed"):
            train_with(spec, tmp_path / "run", augment=("mixup",))

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("for x, y in batches: step(x * float('nan'), y)", "loss is nan at epoch 1, step 1;"),
            ("return float('nan')", "loss is nan at epoch 1;"),
        ],
    )
    def test_a_loop_that_meets_nan_breaks_the_promise_of_the_training(
        self, tmp_path: Path, write: Write, code: str, message: str
    ) -> None:
        spec = write(f"def train_epoch(model, batches, step):\n    {code}")
        with pytest.raises(PromiseError) as caught:
            train_with(spec, tmp_path / "run")
        assert message in caught.value.message


@pytest.mark.tensorflow
class TestWhatGoesWrongInside:
    def test_a_loss_of_a_wrong_shape(self, tmp_path: Path, write: Write) -> None:
        spec = write("""
            import tensorflow as tf
            def loss(y_true, y_pred): return tf.zeros((3,))
        """)
        with pytest.raises(UsageError) as caught:
            train_with(spec, tmp_path / "run")
        assert "hooks: 'loss' returned the shape (3,) for an output of (" in caught.value.message

    def test_a_callback_that_raises(self, tmp_path: Path, write: Write) -> None:
        spec = write("""
            class Watch:
                def on_epoch_end(self, epoch): raise ValueError("no disk")
            def callbacks(): return [Watch()]
        """)
        with pytest.raises(UsageError) as caught:
            train_with(spec, tmp_path / "run")
        assert caught.value.message == "hooks: Watch.on_epoch_end: ValueError: no disk"


def _module_of(spec: str) -> Any:
    """The module that a hooks file became."""
    import sys

    path = Path(spec.removeprefix("python:")).resolve()
    found = [m for m in sys.modules.values() if getattr(m, "__file__", None) == str(path)]
    return found[-1]

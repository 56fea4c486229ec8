"""Time of the steps that train over hand-written tensorflow-model-optimization scripts.

    python tools/bench/training_overhead.py --data DIR [--samples 20000] [--rounds 3]

DIR has MNIST (`python tools/get_data.py mnist --out DIR`). One process, the same samples, epochs
and batches; edgekit's step has an empty cache and counts whole (check, bridge, training with a
checkpoint an epoch, select loss, self-check, storing). The script is what a user writes: `fit` on
a tf_keras model, the engine's wrappers, saving. Interleaved (A B B A); medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.catalog import load, load_implementation
from edgekit.core.plan import Step
from edgekit.engine.cache import StepCache
from edgekit.engine.data import open_data
from edgekit.engine.models import open_artifact
from edgekit.engine.steps import Run
from edgekit.frameworks.keras import import_keras, import_tensorflow, quiet, save_keras

TECHNIQUES = ["prune", "cluster", "quantize-aware-train"]
SPARSITY, CLUSTERS, EPOCHS, BATCH, RATE = 0.8, 16, 2, 64, 1e-3


def main() -> None:
    """Times every technique on lenet5 and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "techniques", nargs="*", default=["prune", "cluster", "quantize-aware-train"]
    )
    options = parser.parse_args()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.data, options.samples, Path(folder))
        print("| technique | script | edgekit's step | ratio |")
        print("|---|---|---|---|")
        for name in options.techniques:
            pairs = [bench.pair(name, turn) for turn in range(options.rounds + 1)][1:]
            script, own = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in pairs)
            print(f"| {name} | {script:.1f} s | {own:.1f} s | {ratio:.2f}x |", flush=True)


class Bench:
    """lenet5 with random weights as a file, and MNIST samples in memory."""

    def __init__(self, data: Path, samples: int, folder: Path) -> None:
        self.folder = folder
        keras = import_keras()
        keras.utils.set_random_seed(0)
        save_keras(load("zoo", "lenet5").build((28, 28, 1), 10), folder / "lenet5.keras")
        whole = open_data(f"idx:{data}/mnist").dataset
        x = np.asarray(whole.train.x[0][: samples + 1000])
        y = np.asarray(whole.train.y[: samples + 1000]) if whole.train.y is not None else None
        assert y is not None
        np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x[:100], y_test=y[:100])
        options = "scale=0.00392156862745098,low=0,high=255"
        self.data = open_data(f"npz:{folder / 'data.npz'}", options=options)
        indices = self.data.indices("train")
        self.x = (x[indices].reshape(-1, 28, 28, 1) / 255).astype(np.float32)
        self.y = y[indices].astype(np.int64)

    def pair(self, name: str, turn: int) -> tuple[float, float]:
        """Seconds of the script and of edgekit's step, one after the other."""
        calls: list[Callable[[], None]] = [lambda: self.script(name), lambda: self.step(name)]
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        seconds = [0.0, 0.0]
        for index in order:
            start = time.perf_counter()
            with quiet():
                calls[index]()
            seconds[index] = time.perf_counter() - start
        return seconds[0], seconds[1]

    def step(self, name: str) -> None:
        """One step of edgekit's, with an empty cache."""
        given: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE}
        given |= {"prune": {"sparsity": SPARSITY}, "cluster": {"clusters": CLUSTERS}}.get(name, {})
        parameters = load("techniques", name).Parameters(**given)
        produces = getattr(load_implementation(name, "keras"), "PRODUCES", "keras")
        source = open_artifact(self.folder / "lenet5.keras")
        assert self.data.scaling_override is not None
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:
            run = Run(StepCache(Path(cache)), 0, self.data)
            run.step(Step("technique", name, "keras", produces, parameters), run.adopt(source))

    def script(self, name: str) -> None:
        """What a user writes with the engine alone."""
        tf = import_tensorflow()
        import tensorflow_model_optimization as tfmot
        import tf_keras

        layers = tf_keras.layers
        model = tf_keras.Sequential(
            [
                layers.InputLayer((28, 28, 1)),
                layers.Conv2D(20, 5),
                layers.MaxPooling2D(2),
                layers.Conv2D(50, 5),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(500, activation="relu"),
                layers.Dense(10, activation="softmax"),
            ]
        )
        steps = EPOCHS * (len(self.x) // BATCH)
        callbacks: list[Any] = []
        if name == "prune":
            schedule = tfmot.sparsity.keras.PolynomialDecay(
                0.0, SPARSITY, 0, steps // 2, frequency=10
            )
            model = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
            callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
        elif name == "cluster":
            init = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
            model = tfmot.clustering.keras.cluster_weights(
                model, number_of_clusters=CLUSTERS, cluster_centroids_init=init
            )
        else:
            model = tfmot.quantization.keras.quantize_model(model)
        rate = tf_keras.optimizers.schedules.CosineDecay(RATE, steps)
        model.compile(
            tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"]
        )
        model.fit(self.x, self.y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=callbacks)
        with contextlib.suppress(FileNotFoundError), tempfile.TemporaryDirectory() as folder:
            if name == "prune":
                tfmot.sparsity.keras.strip_pruning(model).save(f"{folder}/model.keras")
            elif name == "cluster":
                tfmot.clustering.keras.strip_clustering(model).save(f"{folder}/model.keras")
            else:
                converter = tf.lite.TFLiteConverter.from_keras_model(model)
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                Path(folder, "model.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()

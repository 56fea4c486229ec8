"""One process of a training that tests kill or run several of: prints what it ended with.

Arguments: library, strategy, folder, and what to do: '' for one training, 'again' for a second one
in the same folder, 'forget' for that after its last epoch is lost, 'long' for many epochs,
'compare' for that and once more in another folder, 'two' for one on a CPU that is two devices.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from training_cases import LIBRARIES, builder, digest, halves, trained

from edgekit.frameworks import strategies
from edgekit.frameworks.keras import import_tensorflow


def forget_last_epoch(folder: Path) -> None:
    """As if this worker had been killed before it wrote what the others did."""
    history = json.loads((folder / "history.json").read_text())
    number = len(history["epochs"])
    del history["epochs"][-1]
    (folder / "history.json").write_text(json.dumps(history))
    (folder / f"epoch-{number:04d}.npz").unlink()


def on_two_devices(strategy: str, folder: Path) -> None:
    """Trains with each library; prints the number of replicas and the losses.

    The net has no BatchNorm, whose statistics would be those of a replica's rows.
    """
    tf = import_tensorflow("a test")
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = tf.distribute.MirroredStrategy
    # By itself it takes all GPUs, or one CPU.
    tf.distribute.MirroredStrategy = lambda: mirrored(["CPU:0", "CPU:1"])
    for name in LIBRARIES:
        build, data = builder(name, "same"), halves(labels="none")
        curve = trained(folder / name, build, data, strategy=strategy, optimizer="sgd").curve
        losses = [[epoch.loss, epoch.select_loss] for epoch in curve.epochs]
        print(json.dumps([strategies.replicas(strategy), losses]), flush=True)


def main(name: str, strategy: str, folder: Path, task: str) -> None:
    strategies.start(strategy)
    long = {"epochs": 40} if task in ("long", "compare") else {}
    for turn in range(1 if task in ("", "long") else 2):
        if turn and task == "forget":
            forget_last_epoch(folder)
        own = folder.with_name("whole") if turn and task == "compare" else folder
        result = trained(own, builder(name), strategy=strategy, **long)
        losses = [epoch.select_loss for epoch in result.curve.epochs]
        print(json.dumps([digest(result.model), losses, result.resumed_after]), flush=True)


if __name__ == "__main__":
    if sys.argv[4] == "two":
        on_two_devices(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])

"""tf.distribute strategies by name: none, all GPUs of this machine, the workers of TF_CONFIG."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from edgekit.errors import UsageError
from edgekit.frameworks._quiet import import_tensorflow, quiet

__all__ = ["MULTI_WORKER", "check_batch", "check_cluster", "replicas", "start", "worker_name"]

MULTI_WORKER = "multi-worker"


@cache
def start(name: str) -> Any:
    """The strategy of that name; None for training as usual.

    `multi-worker` opens connections to the other workers, and TensorFlow wants that before it has
    computed anything: a run that uses it starts it first.

    Raises:
        UsageError: TF_CONFIG is missing or describes no cluster, or TensorFlow was used before.
    """
    if name == "none":
        return None
    if name == MULTI_WORKER:
        check_cluster()
    tf = import_tensorflow(f"strategy = '{name}'")
    try:
        with quiet():
            if name == MULTI_WORKER:
                return tf.distribute.MultiWorkerMirroredStrategy()
            return tf.distribute.MirroredStrategy()
    except RuntimeError as error:
        raise UsageError(
            f"strategy = '{name}': {(str(error).splitlines() or [repr(error)])[0]}",
            hint="start it in a process that has not used TensorFlow yet: one `edgekit compress` "
            "a worker",
        ) from error


def replicas(name: str) -> int:
    """How many devices a strategy trains on: it changes what comes out."""
    strategy = start(name)
    return 1 if strategy is None else int(strategy.num_replicas_in_sync)


def check_batch(size: int, replicas: int) -> None:
    """Refuses a batch that does not divide among the replicas.

    Raises:
        UsageError: it does not.
    """
    if not size or size % replicas:
        raise UsageError(
            f"batch_size = {size} does not divide among {replicas} replicas",
            hint=f"take a multiple of {replicas}",
        )


def check_cluster() -> None:
    """Looks at TF_CONFIG.

    Raises:
        UsageError: it is missing, not JSON, or names no workers.
    """
    text = os.environ.get("TF_CONFIG", "")
    hint = (
        'each worker is started with TF_CONFIG=\'{"cluster": {"worker": ["HOST:PORT", ...]}, '
        '"task": {"type": "worker", "index": 0}}\''
    )
    if not text:
        raise UsageError("strategy = 'multi-worker' needs TF_CONFIG, which is not set", hint=hint)
    try:
        table = json.loads(text)
        workers = table["cluster"]["worker"]
        index = table["task"]["index"]
        if not (isinstance(workers, list) and 0 <= index < len(workers)):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"TF_CONFIG '{text[:200]}' does not describe a cluster of workers", hint=hint
        ) from None


def worker_name(strategy: str) -> str:
    """What tells the workers of one training apart; '' where there is one.

    All workers do the same and end with the same weights, so each keeps its own checkpoints.
    """
    if strategy != MULTI_WORKER:
        return ""
    check_cluster()
    task = json.loads(os.environ["TF_CONFIG"])["task"]
    return f"{task.get('type', 'worker')}-{task['index']}"

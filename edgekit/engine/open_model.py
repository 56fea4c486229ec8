"""Opens a user's model file, with the shapes of its inputs fixed where --input says so."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.engine.bundles import is_bundle, model_in_bundle
from edgekit.engine.cache import CachedStep, StepCache, content_digest, key_of
from edgekit.engine.models import format_of, open_artifact
from edgekit.errors import UsageError
from edgekit.frameworks.files import cache_root
from edgekit.text import with_article
from edgekit.version import __version__

__all__ = ["open_model"]


def open_model(model: str, inputs: Sequence[str] = ()) -> Artifact:
    """The artifact of a model file or of a bundle; `inputs` are NAME=1x3x224x224 each.

    Raises:
        UsageError: not a model, an input that it has not, or a shape that contradicts its own.
    """
    source = model_in_bundle(Path(model)) if is_bundle(Path(model)) else open_artifact(Path(model))
    if not inputs:
        return source
    module = format_of(source.format)
    if not hasattr(module, "with_shapes"):
        raise UsageError(
            f"--input '{inputs[0]}': the shapes of {with_article(source.format)} file cannot be "
            "changed",
            hint="leave --input out",
        )
    cache, code = StepCache(cache_root()), Path(inspect.getfile(module.check)).parent
    key = key_of(
        {
            "shapes": sorted(inputs),
            "source": source.digest,
            "edgekit": __version__,
            "code": content_digest(
                [*code.glob("*.py"), *(code.parent / "frameworks").glob("*.py")]
            ),
        }
    )
    found = cache.find(key, digest_of=module.digest)
    if found is None:
        with cache.scratch() as scratch:
            made = scratch / f"model{module.SUFFIXES[0]}"
            module.with_shapes(source.path, inputs, made)
            step = CachedStep(made, module.digest(made), 0.0, ())
            found = cache.store(key, step, digest_of=module.digest, parts=module.parts(made))
    return dataclasses.replace(source, path=found.path, digest=found.digest, made_by="--input")

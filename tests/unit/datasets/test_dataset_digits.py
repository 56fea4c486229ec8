"""The digits that ship with edgekit."""

from pathlib import Path

import numpy as np
import pytest

from edgekit.datasets import digits
from edgekit.errors import UsageError


def test_the_digits_are_the_1797_of_scikit_learn():
    data = digits.load("", digits.Options(), None)
    (x,) = data.train.x
    assert data.train.y is not None
    assert (x.shape, str(x.dtype), data.test) == ((1797, 8, 8, 1), "uint8", None)
    assert (int(x[:].min()), int(x[:].max()), int(x[:].sum(dtype=np.int64))) == (0, 16, 561718)
    counts = np.bincount(np.asarray(data.train.y[:])).tolist()
    assert counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.class_names == tuple("0123456789")


def test_the_digest_stays_the_same():
    first, second = (digits.load("", digits.Options(), None).digest for _ in range(2))
    assert first == second
    assert len(first) == 64


def test_a_path_is_refused():
    with pytest.raises(UsageError) as caught:
        digits.load("x", digits.Options(), None)
    assert caught.value.message == "--data 'digits:x': digits takes no path"


def test_the_file_is_small_and_its_licence_lies_beside_it():
    folder = Path(digits.__file__).parent
    assert (folder / "_digits.npz").stat().st_size < 60_000
    assert "BSD 3-Clause License" in (folder / "_digits.LICENSE").read_text()

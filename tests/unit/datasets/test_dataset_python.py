"""Functions of the user's own that return data."""

import numpy as np
import pytest

from edgekit.core.data import Dataset
from edgekit.datasets import python as python_dataset
from edgekit.errors import UsageError

HEAD = "import numpy as np\nX = np.arange(12.0).reshape(6, 2)\nY = np.array([0, 1] * 3)\n"


@pytest.fixture
def source(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(HEAD + text)
        return f"{path}:make"

    return write


def load(argument):
    return python_dataset.load(argument, python_dataset.Options(), None)


def error(argument):
    with pytest.raises(UsageError) as caught:
        load(argument)
    return caught.value


def test_x_and_y(source):
    data = load(source("def make(): return X, Y"))
    assert (len(data.train), data.test) == (6, None)
    np.testing.assert_array_equal(data.train.y, [0, 1] * 3)


def test_train_and_test(source):
    data = load(source("def make(): return X, Y, X[:2], Y[:2]"))
    assert (len(data.train), len(data.test)) == (6, 2)


def test_no_labels_lists_and_several_inputs(source):
    data = load(source("def make(): return {'a': X.tolist(), 'b': X}, None"))
    assert (data.input_names, data.train.y, len(data.train.x)) == (("a", "b"), None, 2)


def test_lazy_rows_stay_lazy(source):
    text = (
        "class Rows:\n"
        "    shape, dtype = (6, 2), np.dtype('float32')\n"
        "    def __len__(self): return 6\n"
        "    def __getitem__(self, index): return X[index].astype('float32')\n"
        "def make(): return Rows(), Y"
    )
    data = load(source(text))
    assert type(data.train.x[0]).__name__ == "Rows"


def test_a_dataset_is_taken_as_it_is(source):
    text = (
        "from edgekit.core.data import Dataset, Pool\n"
        "def make(): return Dataset('mine', Pool((X,), Y), None, 'd1')"
    )
    data = load(source(text))
    assert isinstance(data, Dataset)
    assert data.digest == "d1"


def test_the_file_can_import_its_neighbours(source, tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("SIZE = 3\n")
    data = load(source("import neighbour_of_mine as n\ndef make(): return X[:n.SIZE], Y[:n.SIZE]"))
    assert len(data.train) == 3


def test_the_digest_is_of_the_values(source):
    first = load(source("def make(): return X, Y")).digest
    assert load(source("def make(): return (X + 0, Y)")).digest == first
    assert load(source("def make(): return X + 1, Y")).digest != first


def test_what_the_function_raises_is_one_sentence_with_the_line(source):
    argument = source("def make():\n    raise KeyError('no\\nfile')")
    assert error(argument).message == (
        f"--data 'python:{argument}': mine.py, line 5: KeyError: 'no\\nfile'"
    )


def test_what_the_file_raises_is_one_sentence_with_the_line(source):
    argument = source("1 / 0\ndef make(): pass")
    assert error(argument).message == (
        f"--data 'python:{argument}': mine.py, line 4: ZeroDivisionError: division by zero"
    )


def test_a_syntax_error_has_its_line(source):
    argument = source("def make(:")
    assert "mine.py, line 4: SyntaxError" in error(argument).message


def test_a_function_that_is_not_there(source):
    argument = source("def mke(): pass")
    found = error(argument)
    assert found.message.endswith("mine.py has no function 'make'")
    assert found.hint == "it has mke"


def test_no_file_and_no_form():
    assert error("none.py:f").message == "--data 'python:none.py:f': none.py: no such file"
    assert error("none.py").message == "--data 'python:none.py': 'none.py' is not FILE.py:FUNC"
    assert error("").hint == "write python:FILE.py:FUNC"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make(): return 5", "returned int"),
        ("def make(): return X, Y, X", "returned tuple of 3"),
        ("def make(): return 'ab', Y", "x is str of <U2, which is no array of numbers"),
    ],
)
def test_what_is_no_data(source, body, message):
    argument = source(body)
    assert error(argument).message == f"--data 'python:{argument}': {message}"

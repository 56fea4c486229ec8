"""Tables of numbers with a label column."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.notes import Note
from edgekit.datasets import csv as csv_dataset
from edgekit.errors import UsageError

FLOWERS = "length,width,kind\n" + "".join(
    f"{i},{2 * i},{'rose' if i % 2 else 'iris'}\n" for i in range(8)
)


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "t.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def load(path, **options):
    return csv_dataset.load(str(path), csv_dataset.Options(**options), None)


def error(path, **options):
    with pytest.raises(UsageError) as caught:
        load(path, **options)
    return caught.value


def whole(data):
    return np.concatenate([data.train.x[0], data.test.x[0]])


def test_text_labels_are_classes_in_alphabetical_order(table):
    data = load(table(FLOWERS))
    assert data.class_names == ("iris", "rose")
    assert (len(data.train), len(data.test)) == (6, 2)
    assert sorted(data.test.y.tolist()) == [0, 1]
    assert data.notes[0] == Note("converted", "column 'kind'", "2 classes: iris, rose")


def test_columns_are_normalised_with_the_training_rows_and_the_figures_noted(table):
    data = load(table(FLOWERS))
    raw = load(table(FLOWERS), normalise=False)
    train = np.asarray(raw.train.x[0], np.float64)
    mean, std = train.mean(axis=0), train.std(axis=0)
    np.testing.assert_allclose(data.test.x[0], (raw.test.x[0] - mean) / std, rtol=1e-6)
    assert data.notes[-1] == Note(
        "normalised",
        "2 columns",
        "(x - mean) / std of the training rows; column (mean, std): "
        f"length ({mean[0]:.9g}, {std[0]:.9g}); width ({mean[1]:.9g}, {std[1]:.9g})",
    )


def test_a_constant_column_becomes_zero(table):
    data = load(table("a,b,y\n" + "".join(f"{i},7,{i % 2}\n" for i in range(8))))
    assert set(whole(data)[:, 1].tolist()) == {0.0}


def test_whole_numbers_with_few_values_are_classes(table):
    data = load(table("a,grade\n" + "".join(f"{i},{3 + i % 2}\n" for i in range(8))))
    assert data.class_names == ("3", "4")
    assert set(data.train.y.tolist()) == {0, 1}


def test_other_numbers_are_targets(table):
    data = load(table("a,price\n" + "".join(f"{i},{i * 1.5}\n" for i in range(8))))
    assert (data.class_names, str(data.train.y.dtype)) == ((), "float32")


def test_the_task_can_be_forced(table):
    path = table("a,grade\n" + "".join(f"{i},{3 + i % 2}\n" for i in range(8)))
    assert str(load(path, task="regression").train.y.dtype) == "float32"
    path = table(FLOWERS)
    found = error(path, task="regression")
    assert found.message == f"--data 'csv:{path}': row 2, column 'kind': 'iris' is no number"


def test_rows_with_missing_values_are_dropped_and_counted(table):
    data = load(table(FLOWERS + "1,,rose\n2,NA,iris\n3,4,?\n"))
    assert len(whole(data)) == 8
    assert data.notes[0] == Note("dropped", "3 rows", "a value is missing")


def test_the_label_column_can_be_named_and_others_ignored(table):
    path = table("id,kind,a\n" + "".join(f"n{i},{i % 2},{i}\n" for i in range(8)))
    data = load(path, label="kind", ignore=("id",))
    assert data.train.x[0].shape == (6, 1)
    assert data.class_names == ("0", "1")


def test_a_table_without_labels(table):
    data = load(table("a,b\n1,2\n3,4\n5,6\n7,8\n"), unlabelled=True)
    assert (data.train.y, data.train.x[0].shape) == (None, (3, 2))


def test_delimiter_quotes_and_byte_order_mark(table):
    data = load(table('\ufeffa;"b; c"\n1;x\n2;y\n3;x\n4;y\n'), delimiter=";")
    assert data.class_names == ("x", "y")


def test_the_split_depends_on_the_content_only(table):
    first, second = load(table(FLOWERS)), load(table(FLOWERS))
    assert first.digest == second.digest
    np.testing.assert_array_equal(first.test.x[0], second.test.x[0])
    assert load(table(FLOWERS + "9,9,iris\n")).digest != first.digest


def test_text_in_a_number_column_names_row_and_column(table):
    path = table("a,b,y\n1,2,x\n3,four,y\n")
    assert error(path).message == f"--data 'csv:{path}': row 3, column 'b': 'four' is no number"


@pytest.mark.parametrize("value", ["1e999", "inf", "-Infinity", "1e39", "+nan"])
@pytest.mark.parametrize("column", ["a", "price"])
def test_a_value_that_no_float32_holds_names_row_and_column(table, column, value):
    """Before anything is computed with it: a mean over it would warn, and say no row."""
    row = f"{value},2.5" if column == "a" else f"2,{value}"
    path = table(f"a,price\n1,1.5\n{row}\n3,3.5\n4,4.5\n")
    found = error(path, task="regression")
    assert found.message == (
        f"--data 'csv:{path}': row 3, column '{column}': '{value}' is no finite number of 32 bits"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1 is no header: empty"),
        ("1,2,3\n4,5,6\n", "row 1 is no header: 1, 2, 3"),
        ("a,a,y\n1,2,3\n", "row 1 has the column 'a' more than once"),
        ("a,y\n1,2,3\n", "row 2 has 3 values, and the header has 2"),
        ("a,y\n1\n", "row 2 has 1 value, and the header has 2"),
        ("a,y\n", "no row is left"),
        ("a,y\n,1\n", "no row is left (1 had a missing value)"),
        ("a;y\n1;2\n", "has no column besides the label: a;y"),
        ("a,y\n1_0,2\n", "row 2, column 'a': '1_0' is no number"),
        ('a,y\n"1,2\n', "not a CSV file: unexpected end of data"),
    ],
)
def test_tables_that_are_refused(table, text, message):
    path = table(text)
    assert error(path).message == f"--data 'csv:{path}': {message}"


def test_a_column_that_is_not_there(table):
    path = table(FLOWERS)
    found = error(path, label="knd")
    assert found.message == f"--data 'csv:{path}': has no column 'knd'"
    assert found.hint == "did you mean 'kind'?"


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xff\xfe\x00")
    assert error(path).message == f"--data 'csv:{path}': not a text file in UTF-8"
    assert error(tmp_path).message == f"--data 'csv:{tmp_path}': is a folder"
    assert error("none.csv").message == "--data 'csv:none.csv': no such file"
    assert error("").hint == "write csv:FILE"


@pytest.mark.parametrize("bad", [{"delimiter": ""}, {"label": "a", "unlabelled": True}])
def test_options_are_checked(bad):
    with pytest.raises(ValueError, match=r"must be|exclude"):
        csv_dataset.Options(**bad)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(alphabet='a1,."\n\r ;\0-', max_size=60))
def test_any_text_is_read_or_refused(table, text):
    with contextlib.suppress(UsageError):
        load(table(text))

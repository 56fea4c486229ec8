"""What pages and texts of more than one family are drawn with."""

from __future__ import annotations

import pytest

from edgekit.drawing import words
from edgekit.drawing.markdown import escaped
from edgekit.drawing.page import page


def test_a_page_escapes_its_title_and_leaves_out_empty_parts() -> None:
    text = page("<b>", ["<p>one</p>", "", "<p>two</p>"], css=".x { color: red; }\n")
    assert "<title>&lt;b&gt;</title>" in text
    assert "<body>\n<p>one</p>\n<p>two</p>\n</body>" in text
    assert ".x { color: red; }\n</style>" in text


def test_a_page_allows_no_script_and_no_request() -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'" in page("x", [])


def test_escaped_text_means_nothing_in_markdown() -> None:
    assert escaped("a_b _c_ <i> `x` #1") == r"a_b \_c\_ &lt;i&gt; \`x\` \#1"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("models/kws.keras", "models/kws.keras"),
        ("/home/x/kws.keras", "kws.keras"),
        ("npz:/home/x/kws.npz", "npz:kws.npz"),
        ("C:\\x\\kws.keras", "kws.keras"),
        ("zoo:digits-cnn", "zoo:digits-cnn"),
    ],
)
def test_absolute_folders_are_left_out(path: str, shown: str) -> None:
    assert words.file_name(path) == shown


def test_figures_have_the_digits_that_say_something() -> None:
    assert words.bytes_text(256_000) == "256 kB"
    assert words.nanoseconds_text(2_500_000) == "2.5 ms"
    assert words.share_text(0.97) == "97 %"
    assert (words.times_text(0.6), words.times_text(1.0)) == ("0.6x", "1.0x")
    assert (words.ratio_text(0.368), words.ratio_text(0.018)) == ("0.37x", "0.018x")
    assert words.points_text(0.0004) == "0.04 pt"
    assert words.p_text(0.0342) == "p 0.0342"
    assert (words.count(1, "row"), words.count(2, "row")) == ("1 row", "2 rows")

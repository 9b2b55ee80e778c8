"""What nobody here wrote cannot act on a terminal, a page or a parser."""

import pytest

from plimsoll.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2J\x00\x9b", "a\\x1b[2J\\x00\\x9b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("ig\xadnore \u2060all\ufeff", "ig\\xadnore \\u2060all\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800 \ufffe", "\\ud800 \\ufffe"),
        ("one\u2028two\rthree", "one\\u2028two\\x0dthree"),
    ],
)
def test_what_acts_or_hides_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["plain", "tab\tline\nnext", "ünïcödé\xa0日本", "👩\u200d🚀", "क्\u200cष"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_line_ends_become_newlines() -> None:
    assert printable("one\r\ntwo") == "one\ntwo"

"""Text of others as it may be shown."""

import io
from xml.etree import ElementTree

import pytest

from cxrssl.core.printable import plain_cell, printable, printable_content, printable_lines


def test_what_a_reader_may_be_called_stays_as_it_is() -> None:
    plain = "Dr. Ångström — 医師 R1 😀"
    assert printable(plain) == plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad\x1b]0;pwn\x07a", r"bad\x1b]0;pwn\x07a"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x9b31m", r"\x9b31m"),
        ("file\u202egnp.exe", r"file\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("\ufffe\u2028", r"\ufffe\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_character_is_fit_for_xml_and_utf_8() -> None:
    # XML 1.0's own parser is the judge; markup is what the caller escapes.
    for start in range(0, 0x110000, 0x1000):
        text = printable("".join(map(chr, range(start, start + 0x1000))))
        plain = text.replace("&", "").replace("<", "")
        parsed = ElementTree.parse(io.BytesIO(f"<a>{plain}</a>".encode()))
        assert parsed.getroot().text == plain


def test_lines_stay_lines_and_content_keeps_its_shape() -> None:
    assert printable_lines("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"
    content = {"a\x1b": [1, None, ("b\x07", 2.5)], "c": {"d": True}}
    assert printable_content(content) == {"a\\x1b": [1, None, ["b\\x07", 2.5]], "c": {"d": True}}


def test_what_a_spreadsheet_would_run_gets_an_apostrophe() -> None:
    formulas = ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\uff1d1"]
    assert [plain_cell(text) for text in formulas] == [f"'{text}" for text in formulas]
    assert [plain_cell(text) for text in ("a=1", "", "1-2", "'")] == ["a=1", "", "1-2", "'"]

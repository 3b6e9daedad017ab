"""Text of others as it may be shown."""

import io
from xml.etree import ElementTree

import pytest

from cxrssl.core.printable import printable


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

"""XML that may come from anyone, read with bounds.

By Python's own expat, because it tells lines and can refuse a document type before it is read: no
entity is defined, so none grows or leads to a file. (defusedxml does the same on top of it, and
has had no release since 2021.)
"""

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from cxrssl.core.errors import DataError

_DEEPEST = 32
_HEAD_BYTES = 1 << 16


@dataclass
class Element:
    """An element of XML: its tag, the line where it begins, its text and what is in it."""

    tag: str
    line: int
    text: str = ""
    parts: list["Element"] = field(default_factory=list)

    def part(self, tag: str) -> "Element | None":
        """Return the first element of a tag directly in this one, or None."""
        return next((part for part in self.parts if part.tag == tag), None)

    def text_of(self, tag: str) -> str:
        """Return the text of the first element of a tag directly in this one, "" for none."""
        part = self.part(tag)
        return "" if part is None else part.text.strip()


class _Builder:
    """Builds elements from what the parser tells."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.root: Element | None = None
        self._open: list[Element] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._add_text
        self.parser.StartDoctypeDeclHandler = self._refuse_document_type

    def _start(self, tag: str, _: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        element = Element(tag, line)
        if len(self._open) >= _DEEPEST:
            raise DataError(
                f"{self._place}, line {line}: elements lie more than {_DEEPEST} deep in each other."
            )
        if self._open:
            self._open[-1].parts.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _add_text(self, text: str) -> None:
        self._open[-1].text += text

    def _refuse_document_type(self, *_: object) -> None:
        line = self.parser.CurrentLineNumber
        raise DataError(
            f"{self._place}, line {line}: a document type (DOCTYPE) is not read. Take it out."
        )


def parse_xml(content: bytes, *, place: str) -> Element:
    """Return the root element.

    Args:
        content: Content of a file.
        place: Its name, for messages.

    Raises:
        DataError: If it is not XML, has a document type or is too deep.
    """
    builder = _Builder(place)
    try:
        builder.parser.Parse(content, True)
    except expat.ExpatError as error:
        raise DataError(f"{place} is not XML: {error}. Write it anew.") from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise DataError(
            f"{place}: its encoding can't be read: {error}. Save it as UTF-8."
        ) from error
    if builder.root is None:
        raise DataError(f"{place} is not XML: it has no element.")
    return builder.root


def root_tag(path: Path) -> str | None:
    """Return the tag of a file's root element; None if it can't be told."""
    builder = _Builder(path.name)
    try:
        with path.open("rb") as file:
            builder.parser.Parse(file.read(_HEAD_BYTES), False)
    except (OSError, expat.ExpatError, ValueError, LookupError, DataError):
        pass  # the root may have been read before
    return None if builder.root is None else builder.root.tag

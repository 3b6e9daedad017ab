"""What a JSON file is, told by its content without decoding it whole."""

from pathlib import Path
from typing import NamedTuple

# A larger file is told by how it begins.
_MAX_WHOLE_BYTES = 1 << 26
HEAD_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


class JsonHead(NamedTuple):
    """The content of a JSON file as far as it is looked at, and whether that is all of it."""

    content: bytes
    is_whole: bool

    @property
    def first(self) -> bytes:
        """Return its first character but blanks; empty for none."""
        return self.content.lstrip()[:1]


def json_head(path: Path) -> JsonHead | None:
    """Return a file of at most 64 MiB whole, the first MiB of a larger one; None if unreadable."""
    try:
        is_whole = path.stat().st_size <= _MAX_WHOLE_BYTES
        with path.open("rb") as file:
            content = file.read(_MAX_WHOLE_BYTES if is_whole else HEAD_BYTES)
    except OSError:
        return None
    return JsonHead(content.removeprefix(_BOM), is_whole)

"""Files that go to the Hub, and the hashes by which it knows them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

Content = Path | bytes
"""A file of this machine, or what it would hold."""
CARD = "README.md"

_SHA256_DIGITS = 64


def content_tag(files: Mapping[str, Content]) -> str:
    """Return a name for all files but the card: equal names, equal files."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        if path != CARD:
            digest.update(f"{path} {_sha256(content)}\n".encode())
    return f"cxrssl-{digest.hexdigest()[:12]}"


def is_of_hash(content: Content, expected: str) -> bool:
    """Return whether a file has a hash: its sha256, or git's own where that is shorter."""
    of = _sha256 if len(expected) == _SHA256_DIGITS else _git_hash
    return of(content) == expected


def size_of(content: Content) -> int:
    """Return the bytes of a file."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sha256(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_hash(content: Content) -> str:
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

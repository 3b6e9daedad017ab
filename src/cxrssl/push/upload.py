"""What is to be pushed: files by their paths in the repository, the card among them."""

from collections.abc import Mapping
from dataclasses import dataclass

from cxrssl.hub.content import Content
from cxrssl.hub.remote import Kind


@dataclass(frozen=True)
class Parcel:
    """A repository's content.

    Attributes:
        kind: Of the repository.
        what: In a word, for messages: backbone, detector or data set.
        files: All of them.
        by_default_private: Whether nobody but its owners may see it unless that is asked for.
    """

    kind: Kind
    what: str
    files: Mapping[str, Content]
    by_default_private: bool = False

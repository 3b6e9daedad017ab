"""Options and content of a push."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cxrssl.hub.publish import MAIN, Content


@dataclass(frozen=True)
class PushOptions:
    """Options of a push.

    Attributes:
        private: Visibility. None: data sets private, models as the owner's default is; an existing
            model repository keeps its setting.
        branch: Branch of the repository.
        replace: Whether other content on the branch may be replaced.
        licence: The Hub's identifier of the licence.
        images: Whether the pixels of a data set are uploaded as well.
        has_right: Whether the user says that its images may be shared.
        is_dry: Whether the push is only shown, and nothing is sent.
    """

    private: bool | None = None
    branch: str = MAIN
    replace: bool = False
    licence: str = "other"
    images: bool = False
    has_right: bool = False
    is_dry: bool = False


@dataclass(frozen=True)
class Upload:
    """Content of a repository.

    Attributes:
        repo_type: Type of the repository on the Hub.
        product: "backbone", "detector" or "data set".
        files: All files but the card, by their path in the repository.
        card: Text of the card.
    """

    repo_type: Literal["model", "dataset"]
    product: str
    files: Mapping[str, Content]
    card: str

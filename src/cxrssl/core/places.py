"""Folders that lie on the Hugging Face Hub: `hf-hub:ORG/NAME` or `hf-hub:ORG/NAME@REVISION`."""

import re
from pathlib import Path

from cxrssl.core.errors import HubError

PREFIX = "hf-hub:"
_REPO = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_PLACE = re.compile(rf"({_REPO})(?:@(.+))?", re.ASCII)
_SECRET = re.compile(r"hf_\w{8,}", re.ASCII)


def is_on_hub(place: Path) -> bool:
    """Return whether a path is the name of a repository of the Hub."""
    return str(place).startswith(PREFIX)


def parsed(place: Path) -> tuple[str, str | None]:
    """Return the repository, and the revision if there is one, of a name on the Hub.

    Raises:
        HubError: If it is no such name.
    """
    found = _PLACE.fullmatch(str(place).removeprefix(PREFIX))
    if found is None:
        raise HubError(
            f"{without_secrets(str(place))} is no repository: expected {PREFIX}ORG/NAME or "
            f"{PREFIX}ORG/NAME@REVISION, the revision a commit, tag or branch."
        )
    return found[1], found[2]


def check_repo(repo: str) -> None:
    """Raise a `HubError` unless a repository is named as ORG/NAME."""
    if not re.fullmatch(_REPO, repo, re.ASCII):
        raise HubError(
            f"{without_secrets(repo)!r} is no repository: expected ORG/NAME, of letters, digits, "
            "'.', '_' and '-'."
        )


def without_secrets(text: str) -> str:
    """Return a text without anything that looks like a token of the Hub."""
    return _SECRET.sub("hf_***", text)

"""Folders that lie on the Hugging Face Hub: `hf-hub:ORG/NAME` or `hf-hub:ORG/NAME@REVISION`."""

import re
from pathlib import Path

from cxrssl.core.errors import HubError

PREFIX = "hf-hub:"
_PART = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?"
_REPO = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_NEVER = ("--", "..")
_MAX_LETTERS = 96
_SECRET = re.compile(r"hf_\w{8,}", re.ASCII)


def is_on_hub(place: Path) -> bool:
    """Return whether a path is the name of a repository of the Hub."""
    return str(place).startswith(PREFIX)


def parse_address(place: Path) -> tuple[str, str | None]:
    """Return the repository, and the revision if there is one, of a name on the Hub.

    Raises:
        HubError: If it is not such a name.
    """
    repo, at, revision = str(place).removeprefix(PREFIX).partition("@")
    if not _is_repo(repo) or bool(at) != bool(revision):
        raise HubError(
            f"{without_secrets(str(place))} is not a repository: expected {PREFIX}ORG/NAME or "
            f"{PREFIX}ORG/NAME@REVISION, the revision a commit, tag or branch."
        )
    return repo, revision or None


def check_repo(repo: str) -> None:
    """Raise a `HubError` unless a repository is named as ORG/NAME."""
    if not _is_repo(repo):
        raise HubError(
            f"{without_secrets(repo)!r} is not a repository: expected ORG/NAME, of letters, "
            "digits, single '.' and '-', and '_', of 96 at most and not ending in '.git'."
        )


def _is_repo(repo: str) -> bool:
    """Return whether the Hub would take a name."""
    is_named = _REPO.fullmatch(repo) is not None and not any(part in repo for part in _NEVER)
    return is_named and len(repo) <= _MAX_LETTERS and not repo.endswith(".git")


def without_secrets(text: str) -> str:
    """Return a text without anything that looks like a token of the Hub."""
    return _SECRET.sub("hf_***", text)

"""The Hugging Face Hub: how its repositories are named, and pulling one into the cache.

`hf-hub:ORG/NAME` or `hf-hub:ORG/NAME@REVISION` stands wherever a folder does. Only the three files
that describe a network are fetched, at one commit: no code and no pickle reaches this machine.
Here and in `run.publish` are the doors to huggingface_hub.
"""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_token, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cxrssl.core.errors import HubError

PREFIX = "hf-hub:"
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")

Answer = TypeVar("Answer")

_REPO = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_PLACE = re.compile(rf"({_REPO})(?:@(.+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PASSING = (408, 429, 500, 502, 503, 504)
_WAITS_S = (0.5, 1, 2, 4, 8, 8)
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@dataclass(frozen=True)
class Fetched:
    """A folder of this machine that a path or a name of the Hub stands for.

    Attributes:
        folder: Where it lies; of the Hub, in its cache.
        source: Its path, or its name on the Hub with the commit it is of.
    """

    folder: Path
    source: str


def is_on_hub(place: Path) -> bool:
    """Return whether a path is the name of a repository of the Hub."""
    return str(place).startswith(PREFIX)


def fetched(place: Path) -> Fetched:
    """Return the folder that a path names, fetched if it is `hf-hub:ORG/NAME[@REVISION]`.

    Without a revision it is what `main` is now. A branch or tag is looked up at each call; what a
    commit holds is asked for once.

    Raises:
        HubError: If there is no such repository or revision, the Hub can't be reached, or a file in
            the cache is not the one that was fetched.
    """
    if not is_on_hub(place):
        return Fetched(place, str(place))
    repo, revision = parsed(place)
    if not _COMMIT.fullmatch(revision) and not constants.is_offline_mode():
        info = asked(lambda: HfApi().model_info(repo, revision=revision), f"{repo}@{revision}")
        revision = str(info.sha)
    folder = Path(
        asked(
            lambda: snapshot_download(repo, revision=revision, allow_patterns=list(FILES)),
            f"{repo}@{revision}",
        )
    )
    for name in FILES:
        _check_cached(folder / name)
    return Fetched(folder, f"{PREFIX}{repo}@{folder.name}")


def parsed(place: Path) -> tuple[str, str]:
    """Return the repository and the revision of a name on the Hub.

    Raises:
        HubError: If it is no such name.
    """
    found = _PLACE.fullmatch(str(place).removeprefix(PREFIX))
    if found is None:
        raise HubError(
            f"{redacted(str(place))} is no repository: expected {PREFIX}ORG/NAME or "
            f"{PREFIX}ORG/NAME@REVISION, the revision a commit, tag or branch."
        )
    return found[1], found[2] or constants.DEFAULT_REVISION


def check_repo(repo: str) -> None:
    """Raise a `HubError` unless a repository is named as ORG/NAME."""
    if not re.fullmatch(_REPO, repo, re.ASCII):
        raise HubError(
            f"{redacted(repo)!r} is no repository: expected ORG/NAME, of letters, digits, '.', '_' "
            "and '-'."
        )


def asked(call: Callable[[], Answer], what: str) -> Answer:
    """Return what a call to the Hub does.

    Where its fault may pass, it is made again for half a minute.

    Args:
        call: To be made; made twice it must do no more than once.
        what: The repository that it is about, for the error.

    Raises:
        HubError: If the Hub refuses, or can't be reached.
    """
    for wait_s in (*_WAITS_S, None):
        try:
            return call()
        except (httpx2.HTTPError, OSError) as error:
            if not _is_hubs(error):
                raise
            if wait_s is None or not may_pass(error):
                raise HubError(_reason(error, what)) from None
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def may_pass(error: Exception) -> bool:
    """Return whether the same call might do better in a while."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
    if isinstance(error, LocalEntryNotFoundError):  # neither reached nor in the cache
        return not constants.is_offline_mode()
    return isinstance(error, httpx2.TransportError)


def _is_hubs(error: Exception) -> bool:
    own = (httpx2.HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled)
    return isinstance(error, own)


def redacted(text: str) -> str:
    """Return a text without the token of this session, or anything that looks like one."""
    token = get_token()
    if token:
        text = text.replace(token, "hf_***")
    return re.sub(r"hf_\w{8,}", "hf_***", text)


def _reason(error: Exception, what: str) -> str:
    hub = constants.ENDPOINT
    if constants.is_offline_mode():
        return (
            f"{what} is not whole in the cache, {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE "
            "forbids to ask the Hub. Unset it, or copy the cache of a machine that has it."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{what}: {hub} has that repository, and no such branch, tag or commit in it."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{hub} shows no {what}: it is not there, or private and not for this token. Check the "
            f"name; {_LOG_IN}."
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        told = redacted(error.server_message or error.response.reason_phrase)
        if status in (401, 403):
            return (
                f"{hub} refuses what is asked of {what} ({status}: {told}). It needs a token that "
                f"may write there: {_LOG_IN}."
            )
        return f"{hub} answers {status} for {what}: {told}"
    cause = redacted(str(error.__cause__ or error))
    return (
        f"{hub} can't be reached for {what} ({cause}). Call again where there is a network, or set "
        f"HF_HUB_OFFLINE=1 to use what lies in the cache, {constants.HF_HUB_CACHE}."
    )


def _check_cached(file: Path) -> None:
    """Check a large file in the cache, whose true name there is the hash that the Hub gave."""
    expected = file.resolve().name
    if not file.is_file() or not _SHA256.fullmatch(expected):
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected:
        raise HubError(
            f"{file} is not what the Hub has: its hash is {found[:12]}, and {expected[:12]} there. "
            "Delete that file and call again."
        )

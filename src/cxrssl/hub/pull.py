"""The Hugging Face Hub: how its repositories are named, and pulling one into the cache.

`hf-hub:ORG/NAME` or `hf-hub:ORG/NAME@REVISION` stands wherever a folder does. Only the three files
that describe a network are fetched, at one commit: no code and no pickle reaches this machine.
Here, in `run.publish` and in `run.remote` are the doors to huggingface_hub.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cxrssl.core.errors import CxrsslError, HubError
from cxrssl.core.hub_address import PREFIX, is_on_hub, parsed, without_secrets

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")

Answer = TypeVar("Answer")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PASSING = (408, 429, 500, 502, 503, 504)
_WAITS_S = (0.5, 1, 2, 4, 8, 8)
_FAULTS: tuple[type[Exception], ...] = (
    httpx2.HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    ConnectionError,
    TimeoutError,
    json.JSONDecodeError,  # a page of a proxy where the Hub's answer should be
)
# Of large files, in Rust: some of its errors are of no class of Python's.
_UPLOADER = "hf_xet"
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


def fetched(place: Path) -> Fetched:
    """Return the folder that a path names, fetched if it is `hf-hub:ORG/NAME[@REVISION]`.

    Without a revision it is what `main` is now. A branch or tag is looked up at each call.

    Raises:
        HubError: If there is no such repository or revision, the Hub can't be reached, or a file in
            the cache is not the one that was fetched.
    """
    if not is_on_hub(place):
        return Fetched(place, str(place))
    repo, asked_for = parsed(place)
    revision = asked_for or constants.DEFAULT_REVISION
    folder = _snapshot(repo, revision)
    if not _COMMIT.fullmatch(revision) and not constants.is_offline_mode():
        # Where the Hub can't be asked, a snapshot may be an older one that lies in the cache.
        info = asked(lambda: HfApi().model_info(repo, revision=revision), f"{repo}@{revision}")
        if folder.name != info.sha:
            folder = _snapshot(repo, str(info.sha))
    for name in FILES:
        _check_cached(folder / name)
    return Fetched(folder, f"{PREFIX}{repo}@{folder.name}")


def _snapshot(repo: str, revision: str) -> Path:
    """Return the folder in the cache that holds a revision; its name is the commit."""
    return Path(
        asked(
            lambda: snapshot_download(repo, revision=revision, allow_patterns=list(FILES)),
            f"{repo}@{revision}",
        )
    )


def fetched_weights(place: Path | None) -> tuple[Path | None, str | None]:
    """Return the file of weights that a recipe names, and its name in records.

    Args:
        place: A file, `hf-hub:ORG/NAME@REVISION`, or None for none.

    Raises:
        HubError: As `fetched` does.
    """
    if place is None:
        return None, None
    found = fetched(place)
    return (found.folder / "model.safetensors" if is_on_hub(place) else place), found.source


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
        except CxrsslError:
            raise
        except Exception as error:
            fault = _fault(error)
            if fault is None:
                raise
            if wait_s is None or not _may_pass(fault):
                raise HubError(_reason(fault, what)) from None
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _may_pass(error: Exception) -> bool:
    """Return whether the same call might do better in a while."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
    if isinstance(error, LocalEntryNotFoundError):  # neither reached nor in the cache
        return not constants.is_offline_mode()
    if isinstance(error, OfflineModeIsEnabled):
        return False
    return isinstance(
        error, httpx2.TransportError | ConnectionError | TimeoutError | json.JSONDecodeError
    )


def _fault(error: BaseException) -> Exception | None:
    """Return what the Hub or the line to it did among an error and its causes; None for nothing."""
    is_uploaders = type(error).__module__.partition(".")[0] == _UPLOADER
    if isinstance(error, _FAULTS) or (is_uploaders and isinstance(error, Exception)):
        return error
    return None if error.__cause__ is None else _fault(error.__cause__)


def redacted(text: str) -> str:
    """Return a text without the token of this session, or anything that looks like one."""
    token = get_token()
    if token:
        text = text.replace(token, "hf_***")
    return without_secrets(text)


def _reason(error: Exception, what: str) -> str:
    hub = constants.ENDPOINT
    if constants.is_offline_mode():
        return (
            f"{what} is not whole in the cache, {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE "
            "forbids to ask the Hub. Unset it, or copy the cache of a machine that has it."
        )
    if isinstance(error, GatedRepoError):
        return (
            f"{what} is shown to those alone who accept its terms: accept them on its page, "
            f"{hub}/{what.split('@')[0]}, and {_LOG_IN}."
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
                f"{hub} refuses what is asked of {what} ({status}: {told}). The token is missing, "
                f"or old, or may not do that there: {_LOG_IN}."
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

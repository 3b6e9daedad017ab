"""Pulling repositories of the Hugging Face Hub into the cache, and explaining its errors.

`hf-hub:ORG/NAME` or `hf-hub:ORG/NAME@REVISION` stands wherever a folder does. Only the three files
that describe a network are fetched, at one commit, and of initial weights the card as well, for its
licence: no code and no pickle reaches this machine.
This module and `hub.publish` are the doors to huggingface_hub.
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
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cxrssl.core.errors import CxrsslError, HubError
from cxrssl.core.hub_address import PREFIX, is_on_hub, parse_address, without_secrets
from cxrssl.core.printable import printable
from cxrssl.core.yaml_text import parse_yaml

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"

Result = TypeVar("Result")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)
_CONFLICT = 412
_WAITS_S = (0.5, 1, 2, 4, 8, 8)
_TRANSIENT: tuple[type[Exception], ...] = (
    httpx2.TransportError,
    LocalEntryNotFoundError,  # neither reached nor in the cache
    ConnectionError,
    TimeoutError,
    json.JSONDecodeError,  # a proxy's page where the Hub's answer should be
)
_ASK_S = 5.0
_MOST_OF_CARD_BYTES = 1 << 16
_MOST_LETTERS = 80
_HEADER = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@dataclass(frozen=True)
class Fetched:
    """A local folder for a path or an address on the Hub.

    Attributes:
        folder: The folder itself, or the snapshot of a repository in the cache.
        source: The path, or the address on the Hub with the commit.
    """

    folder: Path
    source: str


@dataclass(frozen=True)
class FetchedWeights:
    """A file of weights that a recipe names.

    Attributes:
        file: The file, or None for none.
        source: Its name in records: the path, or the address on the Hub with the commit.
        licence: What the repository's card says; None if it says nothing, or there is no card.
    """

    file: Path | None = None
    source: str | None = None
    licence: str | None = None


def fetch(path: Path, *, files: tuple[str, ...] = FILES) -> Fetched:
    """Return the folder that a path names, fetched if it is `hf-hub:ORG/NAME[@REVISION]`.

    Without a revision it is what `main` is now. A branch or tag is looked up at each call.

    Args:
        path: A folder, or an address on the Hub.
        files: Names of the files that are fetched, where the repository has them.

    Raises:
        HubError: If there is no such repository or revision, the Hub can't be reached, or a file in
            the cache is not the one that was fetched.
    """
    if not is_on_hub(path):
        return Fetched(path, str(path))
    repo, revision = parse_address(path)
    branch = revision or constants.DEFAULT_REVISION
    folder = ask_hub(lambda: _snapshot(repo, branch, files), f"{repo}@{branch}")
    for name in files:
        _check_cached(folder / name)
    return Fetched(folder, f"{PREFIX}{repo}@{folder.name}")


def fetch_weights(path: Path | None) -> FetchedWeights:
    """Return the file of weights that a recipe names, fetched if it is on the Hub.

    Args:
        path: A file, `hf-hub:ORG/NAME@REVISION`, or None for none.

    Raises:
        HubError: See `fetch`; and if the repository has no such file, as one of pickles alone.
    """
    if path is None:
        return FetchedWeights()
    if not is_on_hub(path):
        return FetchedWeights(path, str(path))
    snapshot = fetch(path, files=(*FILES, CARD_FILE))
    file = snapshot.folder / WEIGHTS_FILE
    if not file.is_file():
        raise HubError(
            f"{snapshot.source} has no {WEIGHTS_FILE}, and no other file of weights is fetched: a "
            "pickle can run any code when it is read. Convert it where you trust it, "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), "
            "'weights.safetensors'), and name that file."
        )
    return FetchedWeights(file, snapshot.source, card_licence(snapshot.folder / CARD_FILE))


def card_licence(card: Path) -> str | None:
    """Return the licence that a repository's card states, as text on one line; None if none.

    Args:
        card: Its README.md, which may come from anyone; a file that is missing states none.
    """
    if not card.is_file():
        return None
    with card.open("rb") as stream:
        text = stream.read(_MOST_OF_CARD_BYTES).decode("utf-8", errors="replace")
    header = _HEADER.match(text.removeprefix("\ufeff"))
    if header is None:
        return None
    try:
        fields = parse_yaml(header[1], source=CARD_FILE, kind="YAML")
    except CxrsslError:
        return None  # of a card that can't be read nothing is known
    if not isinstance(fields, dict):
        return None
    licence = fields.get("license")
    if licence == "other":  # the Hub's word for one with a name of its own
        licence = fields.get("license_name", licence)
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    return printable(licence)[:_MOST_LETTERS] if licence and isinstance(licence, str) else None


def cached_file(repo: str, name: str) -> Path | None:
    """Return a file of a repository's main branch as the cache has it, None if it has none.

    Raises:
        HubError: If it is not the file that was fetched.
    """
    found = try_to_load_from_cache(repo, name)
    if not isinstance(found, str):  # it knows nothing of it, or that there is none
        return None
    _check_cached(Path(found))
    return Path(found)


def is_on_hub_now(repository: str, name: str) -> bool:
    """Return whether a file of a repository could be fetched now; False without a network."""
    try:
        get_hf_file_metadata(hf_hub_url(repository, name), timeout=_ASK_S)
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError):
        return False
    return True


def fetch_file(repo: str, name: str) -> Path:
    """Return one file of a repository's main branch, fetched into the cache.

    Raises:
        HubError: If there is none, or the Hub can't be reached; huggingface_hub tries for a while.
    """
    try:
        file = Path(hf_hub_download(repo, name))
    except Exception as error:
        fault = hub_fault(error)
        if fault is None:
            raise
        raise HubError(_reason(fault, repo)) from None
    _check_cached(file)
    return file


def ask_hub(call: Callable[[], Result], repository: str) -> Result:
    """Return the result of a call to the Hub, which is repeated for half a minute if it fails.

    huggingface_hub retries transfers by itself, and neither lookups nor commits.

    Args:
        call: The call; it must be safe to repeat.
        repository: Name of the repository, for errors.

    Raises:
        HubError: If the Hub refuses, or can't be reached.
    """
    for wait_s in (*_WAITS_S, None):
        try:
            return call()
        except Exception as error:
            fault = hub_fault(error)
            if fault is None:
                raise
            if wait_s is None or not _is_transient(fault):
                raise HubError(_reason(fault, repository)) from None
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def hub_fault(error: BaseException) -> Exception | None:
    """Return the first error of the Hub or the connection among an error and its causes."""
    # hf_xet, which moves large files, is written in Rust: its errors share no class.
    is_transfer = type(error).__module__.partition(".")[0] == "hf_xet"
    is_fault = is_transfer or isinstance(error, (*_TRANSIENT, httpx2.HTTPError))
    if is_fault and isinstance(error, Exception):
        return error
    return None if error.__cause__ is None else hub_fault(error.__cause__)


def redacted(text: str) -> str:
    """Return a text without this session's token, or anything that looks like a token."""
    token = get_token()
    return without_secrets(text.replace(token, "hf_***") if token else text)


def _snapshot(repo: str, revision: str, files: tuple[str, ...]) -> Path:
    """Return the folder in the cache that holds a revision; its name is the commit."""
    folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(files)))
    if folder.name != revision and not constants.is_offline_mode():
        # If the Hub does not answer, snapshot_download returns what a branch was once.
        commit = str(HfApi().model_info(repo, revision=revision).sha)
        if folder.name != commit:
            folder = Path(snapshot_download(repo, revision=commit, allow_patterns=list(files)))
    return folder


def _check_cached(file: Path) -> None:
    """Check a large file in the cache, where its name is the hash that the Hub gave for it.

    Raises:
        HubError: If its content has another hash.
    """
    expected = file.resolve().name
    if not file.is_file() or not _SHA256.fullmatch(expected):
        return
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise HubError(
            f"{file} is not what the Hub has: its hash is {actual[:12]} instead of "
            f"{expected[:12]}. Delete that file and call again."
        )


def _is_transient(error: Exception) -> bool:
    """Return whether the same call might succeed a little later."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _TRANSIENT_STATUS
    return isinstance(error, _TRANSIENT) and not constants.is_offline_mode()


def _reason(error: Exception, repository: str) -> str:
    """Return the text of an error: what failed, and what to do."""
    hub = constants.ENDPOINT
    if constants.is_offline_mode():
        return (
            f"{repository} is not complete in the cache, {constants.HF_HUB_CACHE}, and "
            "HF_HUB_OFFLINE forbids to ask the Hub. Unset it, or copy the cache of a machine that "
            "has it."
        )
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, repository)
    cause = redacted(str(error.__cause__ or error))
    return (
        f"{hub} can't be reached for {repository} ({cause}). Call again where there is a network, "
        f"or set HF_HUB_OFFLINE=1 to use what lies in the cache, {constants.HF_HUB_CACHE}."
    )


def _refusal(error: HfHubHTTPError, repository: str) -> str:
    """Return the text for an error answer of the Hub."""
    hub, status = constants.ENDPOINT, error.response.status_code
    message = redacted(error.server_message or error.response.reason_phrase).rstrip(".")
    if isinstance(error, RevisionNotFoundError):
        advice = " The repository is there, and has no such branch, tag or commit."
    elif isinstance(error, GatedRepoError):
        advice = f" Accept its terms on its page, {hub}/{repository.split('@')[0]}, and {_LOG_IN}."
    elif isinstance(error, RepositoryNotFoundError):
        advice = f" It is not there, or private and not for this token. Check the name; {_LOG_IN}."
    elif status in (401, 403):
        advice = f" The token is missing, or old, or may not do that there: {_LOG_IN}."
    elif status == _CONFLICT:
        advice = " Someone else wrote there at the same time. Look at it, and call again."
    else:
        advice = ""
    return f"{hub} answers {status} for {repository}: {message}.{advice}"

"""Publishing on the Hub: all files in one commit or none, and a tag that their content names.

Whatever is cut short is mended by the same call: large files that arrived are not sent again, and a
commit that was made though its answer was lost is found.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoCard,
)
from huggingface_hub.errors import HfHubHTTPError

from cxrssl.core.errors import HubError
from cxrssl.core.hub_address import check_repo
from cxrssl.hub.content import CARD, Content, content_tag
from cxrssl.hub.pull import asked, redacted
from cxrssl.hub.remote import MAIN, Found, Target, look_at, look_at_visibility


@dataclass(frozen=True)
class Published:
    """What lies on the Hub.

    Attributes:
        url: Of the repository.
        commit: That holds the files.
        tag: Of that commit, or of an earlier one that differs in its card alone.
        is_new: Whether this call made the commit.
    """

    url: str
    commit: str
    tag: str
    is_new: bool


def publish(files: Mapping[str, Content], target: Target, *, message: str) -> Published:
    """Put files into a repository, which is made if it is not there, as all that its branch holds.

    Args:
        files: By their path there: a file of this machine, or its bytes.
        target: Where.
        message: Title of the commit.

    Raises:
        HubError: If the Hub refuses, the repository is of another visibility, or its branch holds
            something else that is not to be replaced.
    """
    check_repo(target.repo)
    asked(lambda: _check_card(files, target), target.name)
    _open(target)
    before = look_at(target, target.branch)
    is_new = not before.holds(files)
    if is_new:
        _check_free(target, before, files)
        asked(lambda: _commit(files, target, before, message), target.name)
    after = look_at(target, target.branch)
    if not after.holds(files):
        raise HubError(
            f"{target.name} changed while it was written: someone else wrote there. Look at it, "
            "and call again."
        )
    tag = content_tag(files)
    _tag(files, target, tag, commit=after.commit)
    return Published(target.url, after.commit, tag, is_new)


def _check_card(files: Mapping[str, Content], target: Target) -> None:
    """Ask the Hub whether it takes the card's metadata, before anything is there.

    Raises:
        HubError: If it doesn't.
    """
    content = files[CARD]
    assert isinstance(content, bytes)
    try:
        RepoCard(content.decode()).validate(repo_type=target.kind)
    except json.JSONDecodeError:  # no answer of the Hub's
        raise
    except ValueError as error:
        raise HubError(
            f"the Hub does not take the card's metadata: {' '.join(str(error).split())}. Is "
            "--license a name that it knows, in small letters? Nothing was pushed."
        ) from error


def _open(target: Target) -> None:
    """Make the repository and its branch, if they are not there.

    Raises:
        HubError: If it is there and of another visibility.
    """
    api, repo, kind = HfApi(), target.repo, target.kind
    is_private = look_at_visibility(target)
    if is_private is None:
        asked(
            lambda: api.create_repo(repo, repo_type=kind, private=target.private, exist_ok=True),
            target.name,
        )
        is_private = look_at_visibility(target)  # someone else may have made it in between
    if target.private not in (None, is_private):
        now, wanted = ("private" if one else "public" for one in (is_private, target.private))
        raise HubError(
            f"{target.url} is {now}, and this push is to be {wanted}. Change that on its settings "
            f"page, say --{now}, or name another repository. Nothing was pushed."
        )
    if not target.is_main:
        asked(
            lambda: api.create_branch(repo, branch=target.branch, repo_type=kind, exist_ok=True),
            target.name,
        )


def _check_free(target: Target, found: Found, files: Mapping[str, Content]) -> None:
    """Raise a `HubError` if a branch holds what may not be replaced; another card may be."""
    others = sorted(found.hashes)
    if not others or target.replace or found.holds_all_but_card(files):
        return
    if not target.is_main and found.commit == look_at(target, MAIN).commit:
        return  # nothing was written there yet
    shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    raise HubError(
        f"{target.name} holds other content ({shown}), and nothing was pushed. Push beside it "
        "with --revision NAME, a branch; put this in its place with --replace (what is there stays "
        "in the history); or name another repository."
    )


def _commit(files: Mapping[str, Content], target: Target, before: Found, message: str) -> None:
    """Make the commit, unless an earlier try whose answer was lost has made it."""
    if look_at(target, target.branch).holds(files):
        return
    others = sorted(before.hashes.keys() - files.keys())
    operations = [
        *(CommitOperationAdd(path, content) for path, content in sorted(files.items())),
        *(CommitOperationDelete(path) for path in others),
    ]
    try:
        HfApi().create_commit(
            target.repo,
            operations,
            commit_message=message,
            repo_type=target.kind,
            revision=target.branch,
            # Whoever wrote there since is not overwritten.
            parent_commit=before.commit,
        )
    except RuntimeError as error:
        if isinstance(error.__cause__, HfHubHTTPError | OSError):
            raise  # `asked` knows what that is
        raise HubError(
            f"an upload to {target.name} failed: {redacted(str(error))}. Call again: what has "
            "arrived is not sent twice."
        ) from error


def _tag(files: Mapping[str, Content], target: Target, tag: str, *, commit: str) -> None:
    """Name the commit by its content; a tag that is there must hold the same.

    Raises:
        HubError: If it names something else.
    """
    asked(
        lambda: HfApi().create_tag(
            target.repo, tag=tag, revision=commit, repo_type=target.kind, exist_ok=True
        ),
        f"the tag {tag} of {target.name}",
    )
    tagged = look_at(target, tag)
    if not tagged.holds_all_but_card(files):
        raise HubError(
            f"the tag {tag} of {target.name} is on other files than those it is named by. Delete "
            "it there and call again."
        )

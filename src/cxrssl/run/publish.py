"""Publishing on the Hub: all files in one commit or none, and a tag that their content names.

Whatever is cut short is mended by the same call: large files that arrived are not sent again, and a
commit that was made though its answer was lost is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
)
from huggingface_hub.errors import BadRequestError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from cxrssl.core.errors import HubError
from cxrssl.core.places import check_repo
from cxrssl.run.content import CARD, Content, content_tag, is_of_hash
from cxrssl.run.hub import asked

Kind = Literal["model", "dataset"]
# Made by the Hub with a repository: what it stores as large files.
_HUBS_OWN = ".gitattributes"


@dataclass(frozen=True)
class Target:
    """Where files go.

    Attributes:
        repo: ORG/NAME.
        kind: What it is a repository of.
        private: Whether it may be seen by its owners alone; None leaves one that is there as it is,
            and makes a public one.
        branch: Of it.
        replace: Whether other content that is there may go.
    """

    repo: str
    kind: Kind
    private: bool | None
    branch: str
    replace: bool


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


@dataclass(frozen=True)
class _Found:
    """What a branch holds now: its head, and (sha256 or git's own hash) of each file by path."""

    commit: str
    hashes: dict[str, str]


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
    _open(target)
    before = _found(target, target.branch)
    is_new = not _holds(before, files)
    if is_new:
        _check_free(target, before)
        asked(lambda: _commit(files, target, before, message), _name(target))
    after = _found(target, target.branch)
    if not _holds(after, files):
        raise HubError(
            f"{_name(target)} changed while it was written: someone else wrote there. Look at it, "
            "and call again."
        )
    tag = content_tag(files)
    _tag(files, target, tag, commit=after.commit)
    return Published(_url(target), after.commit, tag, is_new)


def _open(target: Target) -> None:
    """Make the repository and its branch, if they are not there.

    Raises:
        HubError: If it is there and of another visibility.
    """
    api, repo, kind = HfApi(), target.repo, target.kind
    try:
        is_private = asked(lambda: _is_private(api, target), _name(target))
        if is_private is None:
            asked(
                lambda: api.create_repo(
                    repo, repo_type=kind, private=bool(target.private), exist_ok=True
                ),
                _name(target),
            )
        elif target.private not in (None, is_private):
            now, wanted = ("private" if one else "public" for one in (is_private, target.private))
            raise HubError(
                f"{_url(target)} is {now}, and this push is to be {wanted}. Change that on its "
                f"settings page, say --{now}, or name another repository. Nothing was pushed."
            )
        if target.branch != constants.DEFAULT_REVISION:
            asked(
                lambda: api.create_branch(
                    repo, branch=target.branch, repo_type=kind, exist_ok=True
                ),
                _name(target),
            )
    except ValueError as error:
        raise HubError(f"{_name(target)} can't be: {error}") from error


def _is_private(api: HfApi, target: Target) -> bool | None:
    """Return whether the repository is private, None if it is not there."""
    try:
        return bool(api.repo_info(target.repo, repo_type=target.kind).private)
    except RepositoryNotFoundError:
        return None


def _found(target: Target, revision: str) -> _Found:
    api, repo, kind = HfApi(), target.repo, target.kind

    def look() -> _Found:
        commit = str(api.repo_info(repo, repo_type=kind, revision=revision).sha)
        tree = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type=kind)
        files = [one for one in tree if isinstance(one, RepoFile)]
        hashes = {one.path: one.lfs.sha256 if one.lfs else one.blob_id for one in files}
        return _Found(commit, hashes)

    return asked(look, _name(target))


def _holds(found: _Found, files: Mapping[str, Content]) -> bool:
    """Return whether a branch holds these files and no other."""
    theirs = {path: one for path, one in found.hashes.items() if path != _HUBS_OWN}
    return theirs.keys() == files.keys() and all(
        is_of_hash(content, theirs[path]) for path, content in files.items()
    )


def _check_free(target: Target, found: _Found) -> None:
    """Raise a `HubError` if a branch holds what may not be replaced."""
    others = sorted(found.hashes.keys() - {_HUBS_OWN})
    if not others or target.replace:
        return
    is_main = target.branch == constants.DEFAULT_REVISION
    if not is_main and found.commit == _found(target, constants.DEFAULT_REVISION).commit:
        return  # nothing was written there yet
    shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    raise HubError(
        f"{_name(target)} holds other content ({shown}), and nothing was pushed. Push beside it "
        "with --revision NAME, a branch; put this in its place with --replace (what is there stays "
        "in the history); or name another repository."
    )


def _commit(files: Mapping[str, Content], target: Target, before: _Found, message: str) -> None:
    """Make the commit, unless an earlier try whose answer was lost has made it."""
    if _holds(_found(target, target.branch), files):
        return
    others = sorted(before.hashes.keys() - files.keys() - {_HUBS_OWN})
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
    except BadRequestError:  # a ValueError too, and the Hub's
        raise
    except ValueError as error:
        raise HubError(
            f"the Hub does not take the card's metadata: {' '.join(str(error).split())}. Is the "
            "licence one that it knows? Nothing was pushed."
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
        f"the tag {tag} of {_name(target)}",
    )
    tagged = _found(target, tag)
    there = {path: one for path, one in tagged.hashes.items() if path not in (_HUBS_OWN, CARD)}
    ours = {path: content for path, content in files.items() if path != CARD}
    if not _holds(_Found(tagged.commit, there), ours):
        raise HubError(
            f"the tag {tag} of {_name(target)} is on other files than those it is named by. Delete "
            "it there and call again."
        )


def _url(target: Target) -> str:
    place = "" if target.kind == "model" else "datasets/"
    return f"{constants.ENDPOINT}/{place}{target.repo}"


def _name(target: Target) -> str:
    at_branch = "" if target.branch == constants.DEFAULT_REVISION else f"@{target.branch}"
    return f"{'' if target.kind == 'model' else 'data set '}{target.repo}{at_branch}"

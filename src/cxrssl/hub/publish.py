"""Publishing on the Hub: one commit with all files or none, and a tag derived from their content.

Uploads, hashing, deduplication and the commit are huggingface_hub's. The same call completes a push
that was cut short: files that arrived are not sent again, and the commit is not repeated.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, constants
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from cxrssl.core.errors import HubError
from cxrssl.core.hub_address import check_repo
from cxrssl.hub.pull import ask_hub, hub_fault, redacted

Content = Path | bytes
"""A file on this machine, or the bytes of one."""
CARD = "README.md"
MAIN = constants.DEFAULT_REVISION
# The Hub writes it into each new repository: which files it stores as large ones.
_HUB_FILE = ".gitattributes"


@dataclass(frozen=True)
class Target:
    """The repository that files go to.

    Attributes:
        repo: ORG/NAME.
        repo_type: Type of the repository.
        private: Visibility. None: the owner's default for a new repository, and an existing one
            keeps its own.
        branch: Branch that is written; created if missing.
        replace: Whether other content on the branch may be replaced.
    """

    repo: str
    repo_type: Literal["model", "dataset"]
    private: bool | None
    branch: str
    replace: bool

    @property
    def title(self) -> str:
        """Return the name of the repository and branch in messages."""
        at_branch = "" if self.branch == MAIN else f"@{self.branch}"
        return f"{'' if self.repo_type == 'model' else 'data set '}{self.repo}{at_branch}"


@dataclass(frozen=True)
class Published:
    """Result of publishing.

    Attributes:
        url: Address of the repository's page.
        commit: Commit that holds the files.
        tag: Tag of that commit, or of an earlier one that differs only in its card.
        is_new: Whether files were sent; False if the branch already had all of them.
    """

    url: str
    commit: str
    tag: str
    is_new: bool


def size_of(content: Content) -> int:
    """Return the bytes of a file."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def content_tag(files: Mapping[str, Content]) -> str:
    """Return a tag for files, the card not among them: equal tags, equal files."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        file_hash = CommitOperationAdd(path, content).upload_info.sha256.hex()
        digest.update(f"{path} {file_hash}\n".encode())
    return f"cxrssl-{digest.hexdigest()[:12]}"


def publish(files: Mapping[str, Content], card: str, target: Target, *, message: str) -> Published:
    """Make files the whole content of a branch; create the repository if it is missing.

    Args:
        files: All files but the card, by their path in the repository.
        card: Text of the card.
        target: Repository and branch that they go to.
        message: Title of the commit.

    Raises:
        HubError: If the Hub refuses, the repository has another visibility, or its branch holds
            other content that is not to be replaced.
    """
    check_repo(target.repo)
    tag, all_files = content_tag(files), {**files, CARD: card.encode()}

    def publish_once() -> Published:
        _check_card(card, target)
        return _publish(all_files, target, tag, message)

    return ask_hub(publish_once, target.title)


def _publish(files: Mapping[str, Content], target: Target, tag: str, message: str) -> Published:
    """Publish; called again after a fault, it does only what is missing."""
    api = HfApi()
    url = api.create_repo(
        target.repo, repo_type=target.repo_type, private=target.private, exist_ok=True
    )
    info = api.repo_info(target.repo, repo_type=target.repo_type)
    _check_visibility(target, is_private=bool(info.private))
    head = main = str(info.sha)
    if target.branch != MAIN:
        api.create_branch(
            target.repo, branch=target.branch, repo_type=target.repo_type, exist_ok=True
        )
        info = api.repo_info(target.repo, repo_type=target.repo_type, revision=target.branch)
        head = str(info.sha)
    tree = api.list_repo_tree(
        target.repo, recursive=True, revision=head, repo_type=target.repo_type
    )
    remote_files = {
        file.path: file for file in tree if isinstance(file, RepoFile) and file.path != _HUB_FILE
    }
    changed = _changed(files, remote_files)
    is_new_branch = target.branch != MAIN and head == main
    if remote_files and changed - {CARD} and not (target.replace or is_new_branch):
        raise _other_content(target, sorted(remote_files))
    commit = _commit(files, changed, target, message, head) if changed else head
    api.create_tag(target.repo, tag=tag, revision=commit, repo_type=target.repo_type, exist_ok=True)
    return Published(str(url), commit, tag, is_new=bool(changed))


def _check_card(card: str, target: Target) -> None:
    """Let the Hub validate the card's metadata before a repository is created.

    Raises:
        HubError: If the Hub rejects the metadata.
    """
    try:
        RepoCard(card).validate(repo_type=target.repo_type)
    except ValueError as error:
        raise HubError(
            f"the Hub does not take the card's metadata: {' '.join(str(error).split())}. Is "
            "--license a name that it knows, in small letters? Nothing was pushed."
        ) from None


def _check_visibility(target: Target, *, is_private: bool) -> None:
    """Raise a `HubError` if a repository is public that is to be private, or the reverse."""
    if target.private in (None, is_private):
        return
    now, expected = ("private" if private else "public" for private in (is_private, target.private))
    raise HubError(
        f"{target.title} is {now}, and this push is to be {expected}. Change that on its settings "
        f"page, say --{now}, or name another repository. Nothing was pushed."
    )


def _changed(files: Mapping[str, Content], remote_files: Mapping[str, RepoFile]) -> set[str]:
    """Return the paths at which a branch differs from files."""
    return {
        path
        for path in files.keys() | remote_files.keys()
        if path not in files
        or path not in remote_files
        or not _has_same_hash(CommitOperationAdd(path, files[path]), remote_files[path])
    }


def _has_same_hash(local: CommitOperationAdd, remote: RepoFile) -> bool:
    """Compare by the hash that the Hub has: sha256 of a large file, git's of a small one."""
    if remote.lfs:
        return bool(local.upload_info.sha256.hex() == remote.lfs.sha256)
    with local.as_file() as file:
        return bool(git_hash(file.read()) == remote.blob_id)


def _other_content(target: Target, remote_files: list[str]) -> HubError:
    """Return the error for a branch that holds what may not be replaced."""
    shown = ", ".join(remote_files[:3]) + (", ..." if len(remote_files) > 3 else "")
    return HubError(
        f"{target.title} holds other content ({shown}), and nothing was pushed. Push beside it "
        "with --revision NAME, a branch; put this in its place with --replace (what is there stays "
        "in the history); or name another repository."
    )


def _commit(
    files: Mapping[str, Content], changed: set[str], target: Target, message: str, head: str
) -> str:
    """Send what differs in one commit, and return it.

    Raises:
        HubError: If an upload fails for a reason other than the connection or this machine's disk.
    """
    operations = [
        CommitOperationAdd(path, files[path]) if path in files else CommitOperationDelete(path)
        for path in sorted(changed)
    ]
    try:
        commit = HfApi().create_commit(
            target.repo,
            operations,
            commit_message=message,
            repo_type=target.repo_type,
            revision=target.branch,
            parent_commit=head,  # the Hub refuses if someone has written there since
        )
    except (RuntimeError, ValueError) as error:
        if hub_fault(error) is not None or isinstance(error.__cause__, OSError):
            raise
        raise HubError(
            f"an upload to {target.title} failed: {redacted(str(error))}. Call again: what has "
            "arrived is not sent twice."
        ) from None
    return str(commit.oid)

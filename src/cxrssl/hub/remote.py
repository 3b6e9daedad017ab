"""A repository of the Hub that is to be written: how it is called, and what it holds now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from cxrssl.hub.content import CARD, Content, is_of_hash
from cxrssl.hub.pull import asked

Kind = Literal["model", "dataset"]
MAIN = constants.DEFAULT_REVISION
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

    @property
    def is_main(self) -> bool:
        """Whether the branch is the one that a repository has from its beginning."""
        return bool(self.branch == MAIN)

    @property
    def url(self) -> str:
        """The repository's page."""
        return f"{constants.ENDPOINT}/{'' if self.kind == 'model' else 'datasets/'}{self.repo}"

    @property
    def name(self) -> str:
        """What it is called in messages."""
        at_branch = "" if self.is_main else f"@{self.branch}"
        return f"{'' if self.kind == 'model' else 'data set '}{self.repo}{at_branch}"


@dataclass(frozen=True)
class Found:
    """What a revision holds.

    Attributes:
        commit: That it is.
        hashes: Of each file by its path: its sha256, or git's hash of a small one. What the Hub
            itself puts there is left out.
    """

    commit: str
    hashes: Mapping[str, str]

    def holds(self, files: Mapping[str, Content]) -> bool:
        """Return whether these files are there, and no other."""
        return self.hashes.keys() == files.keys() and all(
            is_of_hash(content, self.hashes[path]) for path, content in files.items()
        )

    def holds_all_but_card(self, files: Mapping[str, Content]) -> bool:
        """Return the same, whatever the cards say."""
        own = Found(self.commit, {path: one for path, one in self.hashes.items() if path != CARD})
        return own.holds({path: content for path, content in files.items() if path != CARD})


def look_at(target: Target, revision: str) -> Found:
    """Return what a revision of the target's repository holds.

    Raises:
        HubError: If there is no such revision, or the Hub can't be asked.
    """
    api, repo, kind = HfApi(), target.repo, target.kind

    def look() -> Found:
        commit = str(api.repo_info(repo, repo_type=kind, revision=revision).sha)
        tree = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type=kind)
        files = [one for one in tree if isinstance(one, RepoFile) and one.path != _HUBS_OWN]
        return Found(
            commit, {one.path: one.lfs.sha256 if one.lfs else one.blob_id for one in files}
        )

    return asked(look, target.name)


def look_at_visibility(target: Target) -> bool | None:
    """Return whether the repository is private, None if it is not there.

    Raises:
        HubError: If the Hub can't be asked.
    """

    def look() -> bool | None:
        try:
            return bool(HfApi().repo_info(target.repo, repo_type=target.kind).private)
        except RepositoryNotFoundError:
            return None

    return asked(look, target.name)

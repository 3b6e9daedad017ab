"""`cxrssl push`: a backbone, a detector or a data set to the Hub, with a card of evidence.

All goes in one commit or not at all; the same call mends one that was cut short.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cxrssl.core.errors import RunError
from cxrssl.core.hub_address import check_repo
from cxrssl.hub.content import CARD, content_tag, size_of
from cxrssl.hub.publish import Published, publish
from cxrssl.hub.remote import MAIN, Target
from cxrssl.push.dataset import dataset_parcel
from cxrssl.push.models import backbone_parcel, detector_parcel
from cxrssl.push.upload import Parcel


@dataclass(frozen=True)
class Wanted:
    """How something is to be pushed.

    Attributes:
        private: Whether its owners alone may see it; None is what fits: data sets are private,
            models public, and one that is there stays as it is.
        branch: Of the repository.
        replace: Whether other content that is there may go.
        licence: An identifier of the Hub.
        images: Whether the pixels of a data set go along.
        has_right: Whether the user says that its images may be shared.
        is_dry: Whether nothing is sent.
    """

    private: bool | None = None
    branch: str = MAIN
    replace: bool = False
    licence: str = "other"
    images: bool = False
    has_right: bool = False
    is_dry: bool = False


@dataclass(frozen=True)
class Pushed:
    """What was pushed, or would be.

    Attributes:
        parcel: The files; those of a data set are gone when the call returns, their sizes are not.
        sizes: Bytes of each file.
        private: What was asked of the repository.
        tag: Of the commit.
        published: None of a dry run.
    """

    parcel: Parcel
    sizes: dict[str, int]
    private: bool | None
    tag: str
    published: Published | None

    @property
    def card(self) -> str:
        """The card."""
        content = self.parcel.files[CARD]
        assert isinstance(content, bytes)
        return content.decode()


def push(place: Path, repo: str, wanted: Wanted) -> Pushed:
    """Put a run's product or a store on the Hub.

    Args:
        place: A pretraining or fine-tuning run, or a store.
        repo: ORG/NAME.
        wanted: How.

    Raises:
        CxrsslError: If it is none of these, or has not finished, or may not be shared, or the Hub
            refuses.
    """
    check_repo(repo)
    with ExitStack() as stack:
        parcel = _parcel(place, repo, wanted, stack)
        private = True if wanted.private is None and parcel.by_default_private else wanted.private
        sizes = {path: size_of(content) for path, content in sorted(parcel.files.items())}
        tag = content_tag(parcel.files)
        published = None
        if not wanted.is_dry:
            target = Target(repo, parcel.kind, private, wanted.branch, wanted.replace)
            published = publish(parcel.files, target, message=f"Push a {parcel.what} with cxrssl")
        return Pushed(parcel, sizes, private, tag, published)


def _parcel(place: Path, repo: str, wanted: Wanted, stack: ExitStack) -> Parcel:
    if (place / "manifest.json").is_file():
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxrssl-push-")))
        return dataset_parcel(
            place,
            work,
            repo=repo,
            licence=wanted.licence,
            images=wanted.images,
            is_private=wanted.private is not False,
            has_right=wanted.has_right,
        )
    # A product is known by its run, where its evidence lies.
    is_product = place.name in ("backbone", "detector") and not (place / "recipe.yaml").is_file()
    run = place.parent if is_product else place
    if wanted.images:
        raise RunError(f"{place} is no store, and --images is about one.")
    if (run / "detector").is_dir():
        return detector_parcel(run, repo=repo, licence=wanted.licence)
    if (run / "backbone").is_dir():
        return backbone_parcel(run, repo=repo, licence=wanted.licence)
    raise RunError(
        f"{place} is neither a finished run of `cxrssl pretrain` or `cxrssl finetune` nor a store. "
        "Name such a folder."
    )

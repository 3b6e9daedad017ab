"""`cxrssl push`: a backbone, a detector or a data set to the Hub, with a card of evidence."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from cxrssl.core.errors import RunError
from cxrssl.core.hub_address import check_repo
from cxrssl.hub.publish import CARD, Published, Target, publish, size_of
from cxrssl.push.dataset import dataset_upload
from cxrssl.push.models import backbone_upload, detector_upload
from cxrssl.push.upload import PushOptions, Upload

__all__ = ["PushOptions", "Pushed", "push"]


@dataclass(frozen=True)
class Pushed:
    """What was pushed, or would be.

    Attributes:
        what: "backbone", "detector" or "data set".
        card: Text of the card.
        sizes: Bytes of each file, by path.
        private: Visibility that was asked for.
        published: Where it lies; None after a dry run.
    """

    what: str
    card: str
    sizes: dict[str, int]
    private: bool | None
    published: Published | None


def push(place: Path, repo: str, options: PushOptions) -> Pushed:
    """Put a run's product or a store on the Hub.

    Args:
        place: A pretraining or fine-tuning run, or a store.
        repo: ORG/NAME.
        options: How.

    Raises:
        CxrsslError: If it is none of these, or has not finished, or may not be shared, or the Hub
            refuses.
    """
    check_repo(repo)
    with tempfile.TemporaryDirectory(prefix="cxrssl-push-") as work:
        upload = _upload(place, repo, options, Path(work))
        is_private_by_default = options.private is None and upload.kind == "dataset"
        private = True if is_private_by_default else options.private
        published = None
        if not options.is_dry:
            target = Target(repo, upload.kind, private, options.branch, options.replace)
            message = f"Push a {upload.what} with cxrssl"
            published = publish(upload.files, upload.card, target, message=message)
        files = {**upload.files, CARD: upload.card.encode()}
        sizes = {path: size_of(content) for path, content in sorted(files.items())}
        return Pushed(upload.what, upload.card, sizes, private, published)


def _upload(place: Path, repo: str, options: PushOptions, work: Path) -> Upload:
    """Collect what is to be pushed; `work` is an empty folder for files that are made for it."""
    if (place / "manifest.json").is_file():
        return dataset_upload(place, work, repo, options)
    # The evidence lies in the run, whichever of the two is named.
    is_product = place.name in ("backbone", "detector") and not (place / "recipe.yaml").is_file()
    run = place.parent if is_product else place
    if options.images:
        raise RunError(f"{place} is no store, and --images is about one.")
    if (run / "detector").is_dir():
        return detector_upload(run, repo, options.licence)
    if (run / "backbone").is_dir():
        return backbone_upload(run, repo, options.licence)
    raise RunError(
        f"{place} is neither a finished run of `cxrssl pretrain` or `cxrssl finetune` nor a store. "
        "Name such a folder."
    )

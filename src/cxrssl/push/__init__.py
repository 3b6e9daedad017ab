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
    """Result of a push, or of its dry run.

    Attributes:
        product: "backbone", "detector" or "data set".
        card: Text of the card.
        sizes: Bytes of each file, by path.
        private: Requested visibility; None if the Hub decides.
        published: Address, commit and tag; None after a dry run.
    """

    product: str
    card: str
    sizes: dict[str, int]
    private: bool | None
    published: Published | None


def push(path: Path, repo: str, options: PushOptions) -> Pushed:
    """Put a run's product or a store on the Hub.

    Args:
        path: A pretraining or fine-tuning run, or a store.
        repo: ORG/NAME.
        options: Visibility, branch, licence, and what is uploaded.

    Raises:
        CxrsslError: If `path` is none of these, the run has not finished, the terms of the data
            forbid it, or the Hub refuses.
    """
    check_repo(repo)
    with tempfile.TemporaryDirectory(prefix="cxrssl-push-") as work:
        upload = _upload(path, repo, options, Path(work))
        is_private_by_default = options.private is None and upload.repo_type == "dataset"
        private = True if is_private_by_default else options.private
        published = None
        if not options.is_dry:
            target = Target(repo, upload.repo_type, private, options.branch, options.replace)
            message = f"Push a {upload.product} with cxrssl"
            published = publish(upload.files, upload.card, target, message=message)
        files = {**upload.files, CARD: upload.card.encode()}
        sizes = {path: size_of(content) for path, content in sorted(files.items())}
        return Pushed(upload.product, upload.card, sizes, private, published)


def _upload(path: Path, repo: str, options: PushOptions, work: Path) -> Upload:
    """Collect the files and the card; `work` is an empty folder for temporary files."""
    if (path / "manifest.json").is_file():
        return dataset_upload(path, work, repo, options)
    # The evidence lies in the run folder, also if its product folder was named.
    is_product = path.name in ("backbone", "detector") and not (path / "recipe.yaml").is_file()
    run = path.parent if is_product else path
    if options.images:
        raise RunError(f"{path} is not a store; --images applies to stores alone.")
    if (run / "detector").is_dir():
        return detector_upload(run, repo, options.licence)
    if (run / "backbone").is_dir():
        return backbone_upload(run, repo, options.licence)
    raise RunError(
        f"{path} is neither a finished run of `cxrssl pretrain` or `cxrssl finetune` nor a store. "
        "Name such a folder."
    )

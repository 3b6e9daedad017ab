"""The images without labels that a teacher sees, the order of their batches, and their truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.detection import (
    Example,
    examples_of,
    patients_of,
    splits_of,
    unread_ids,
)
from cxrssl.data.fusion import reader_of
from cxrssl.data.licence_terms import data_record
from cxrssl.data.sampling import BatchPlan
from cxrssl.data.store import Store
from cxrssl.data.unlabelled import UnlabelledImages
from cxrssl.data.usage import left_out_text
from cxrssl.finetune.splits import LabelledSplits

_SEED = 0x7EAC


@dataclass(frozen=True)
class Unlabelled:
    """Images without labels, of one store.

    Attributes:
        images: The images as the loop loads them.
        plan: The images of each step after the burn-in.
        normal: Whether each is known to have no finding.
        truth: Hidden boxes by the place of the image, where readers have looked; they are compared
            with the teacher's, and decide nothing.
        left_out: Images of the store that are not among them, by reason.
        is_pool: Whether the store is another than that of the labelled images.
    """

    images: UnlabelledImages
    plan: BatchPlan
    normal: Sequence[bool]
    truth: Mapping[int, Example]
    left_out: Mapping[str, int]
    is_pool: bool

    @property
    def ids(self) -> list[str]:
        """The image ids."""
        return [self.images.store.images[row].image_id for row in self.images.rows]

    def as_json(self) -> dict[str, Any]:
        """Return the record for `metrics.json`."""
        return {
            "images": len(self.images.rows),
            "known_normal": sum(self.normal),
            "left_out": dict(self.left_out),
        }

    def record(self) -> dict[str, Any]:
        """Return what a run keeps of the data for `provenance.json`."""
        return data_record(self.images.store, {"unlabelled": self.ids})

    def lines(self) -> list[str]:
        """Return in words what they are, a sentence each."""
        known = f", {sum(self.normal):,} of them known to be normal" if any(self.normal) else ""
        lines = [f"{len(self.images.rows):,} images without labels{known}."]
        if self.left_out:
            lines.append(f"Left out of them: {left_out_text(self.left_out)}.")
        if self.is_pool and self.num_unknown_patients:
            lines.append(
                f"Of {self.num_unknown_patients:,} of them the patient is not known: whether they "
                "show one with validation or test images can't be told."
            )
        if self.images.augment is None:
            lines.append(
                "augment is null: the student sees what the teacher sees, but for mirroring."
            )
        return lines

    @property
    def num_unknown_patients(self) -> int:
        """The number of images of which no patient is known."""
        images = self.images.store.images
        return sum(not images[row].patient for row in self.images.rows)


def unlabelled_images(
    store: Store, splits: LabelledSplits, recipe: FinetuneRecipe, *, num_steps: int
) -> Unlabelled | None:
    """Return the recipe's images without labels, None if it has none.

    Args:
        store: Store of the labelled images.
        splits: The labelled images.
        recipe: Recipe of the run.
        num_steps: Steps of the run.

    Raises:
        DataError: If there is none that may be used, or they are of another size than the labelled
            ones, or the burn-in takes all steps.
    """
    section = recipe.unlabelled
    if section is None:
        return None
    steps = num_steps - section.burn_in_steps
    if steps <= 0:
        raise DataError(
            f"unlabelled.burn_in_steps is {section.burn_in_steps}, and the run has {num_steps} "
            "steps: no image without labels would be looked at. Lower it, or train longer."
        )
    pool = store if section.store is None else Store(section.store)
    _check_size(pool, store)
    chosen, left_out = _chosen(pool, store, splits, recipe)
    rows = [row for row, image in enumerate(pool.images) if image.image_id in chosen]
    if not rows:
        reasons = f": {left_out_text(left_out)}" if left_out else ""
        raise DataError(
            f"none of the {len(pool)} images of {pool.folder} can be used without its label"
            f"{reasons}. Name a store of other images (unlabelled.store), or lower "
            "data.label_fraction."
        )
    if section.pseudo_boxes == "shuffled" and len(rows) < section.batch_size:
        raise DataError(
            f"there are {len(rows)} images without labels, fewer than unlabelled.batch_size "
            f"{section.batch_size}: an image would get its own boxes. Lower it, or take more "
            "images."
        )
    augment = None if recipe.augment is None else recipe.augment.ranges
    images = UnlabelledImages(
        pool, rows, recipe.intensity.treatment, recipe.data.flip_probability, augment, recipe.seed
    )
    plan = BatchPlan(
        len(rows),
        batch_size=section.batch_size,
        num_epochs=-(-steps * section.batch_size // len(rows)),
        seed=recipe.seed ^ _SEED,
        max_steps=steps,
    )
    normal_ids = _normal_ids(pool) if section.known_normals else set[str]()
    normal = [pool.images[row].image_id in normal_ids for row in rows]
    truth = _truth(pool, rows, store, recipe)
    return Unlabelled(images, plan, normal, truth, left_out, is_pool=section.store is not None)


def _chosen(
    pool: Store, store: Store, splits: LabelledSplits, recipe: FinetuneRecipe
) -> tuple[set[str], dict[str, int]]:
    """Return the images that may be used without their labels, and how many may not, by reason."""
    assert recipe.unlabelled is not None
    if recipe.unlabelled.store is None:
        chosen, left_out = _not_held_out(pool, _rest(store, splits, recipe), store, recipe)
        return chosen, left_out | _normal_left_out(store, recipe)
    offered = {image.image_id for image in pool.images}
    chosen, left_out = _not_held_out(pool, offered, store, recipe)
    return _not_labelled(pool, chosen, left_out, store, splits)


def _rest(store: Store, splits: LabelledSplits, recipe: FinetuneRecipe) -> set[str]:
    """Return the training images whose labels the run does not see, and those nobody has read."""
    of_store = splits_of(store, protocol=recipe.data.protocol, normals=recipe.data.normals)
    labelled = {example.image_id for example in splits.train}
    train = {name for name, split in of_store.items() if split == "train"}
    return (train - labelled) | set(unread_ids(store, of_store))


def _check_size(pool: Store, store: Store) -> None:
    """Raise a `DataError` if images of two stores would not reach a detector alike."""
    sizes = [(one.manifest["size_px"], one.manifest["fit"]) for one in (pool, store)]
    if sizes[0] != sizes[1]:
        (side, fit), (own_side, own_fit) = sizes
        raise DataError(
            f"unlabelled.store {pool.folder} holds images of {side} px, {fit}, and {store.folder} "
            f"of {own_side} px, {own_fit}: findings would differ in size and shape. Ingest it "
            f"again with --size {own_side} --fit {own_fit}."
        )


def _not_held_out(
    pool: Store, offered: set[str], store: Store, recipe: FinetuneRecipe
) -> tuple[set[str], dict[str, int]]:
    """Return the offered images of a pool that show no validation or test image or patient.

    A copy of such an image counts as that image, in the store of the labelled images too.
    """
    splits = splits_of(store, protocol=recipe.data.protocol, normals=recipe.data.normals)
    held_out = {name for name, split in splits.items() if split != "train"}
    held_out |= {image.image_id for image in store.images if image.part in ("val", "test")}
    hashes, patients = store.source_sha256(), patients_of(store)
    held_hashes = {hashes[name] for name in held_out}
    held_patients = {patients[name] for name in held_out if name in patients}
    pool_hashes, pool_patients = pool.source_sha256(), patients_of(pool)
    same_image = {name for name in offered if pool_hashes[name] in held_hashes}
    same_patient = {name for name in offered if pool_patients.get(name) in held_patients}
    same_patient -= same_image
    counts = {
        "that are a validation or test image, file for file": len(same_image),
        "of a patient with validation or test images": len(same_patient),
    }
    left_out = {reason: count for reason, count in counts.items() if count}
    return offered - same_image - same_patient, left_out


def _not_labelled(
    pool: Store,
    offered: set[str],
    left_out: dict[str, int],
    store: Store,
    splits: LabelledSplits,
) -> tuple[set[str], dict[str, int]]:
    """Return the offered images of a pool that are no labelled training image of the run."""
    hashes, pool_hashes = store.source_sha256(), pool.source_sha256()
    labelled_hashes = {hashes[example.image_id] for example in splits.train}
    labelled = {name for name in offered if pool_hashes[name] in labelled_hashes}
    if labelled:
        reason = "that are a labelled training image, file for file"
        left_out = left_out | {reason: len(labelled)}
    return offered - labelled, left_out


def _normal_left_out(store: Store, recipe: FinetuneRecipe) -> dict[str, int]:
    """Return how many images without findings take no part, and so are not of the rest."""
    if recipe.data.normals:
        return {}
    rows = store.findings
    drawn = set(rows.loc[rows["category"].ne(NO_FINDING), "image_id"])
    held_out = {image.image_id for image in store.images if image.part in ("val", "test")}
    normal = len(set(rows["image_id"]) - drawn - held_out)
    return {"that readers found normal, as data.normals is false": normal} if normal else {}


def _normal_ids(store: Store) -> set[str]:
    """Return the images in which readers found nothing."""
    rows = store.findings
    others = {image.image_id for image in store.images if image.kind == "other finding"}
    with_finding = set(rows.loc[rows["category"].ne(NO_FINDING), "image_id"])
    return set(rows["image_id"]) - with_finding - others


def _truth(
    pool: Store, rows: Sequence[int], store: Store, recipe: FinetuneRecipe
) -> dict[int, Example]:
    """Return the hidden boxes of images that were read, where the classes are the same."""
    if not pool.classes or set(pool.classes) != set(store.classes):
        return {}
    reader = reader_of(recipe.data.fusion)
    if reader is not None and reader not in set(pool.findings["reader"]):
        return {}
    numbered = pool if pool.classes == store.classes else pool.numbered_as(store.classes)
    examples = examples_of(numbered, fusion=recipe.data.fusion, iou=recipe.data.consensus_iou)
    of_row = {example.row: example for example in examples if example.looked}
    return {place: of_row[row] for place, row in enumerate(rows) if row in of_row}

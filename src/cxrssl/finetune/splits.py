"""Training, validation and test images of a fine-tuning run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxrssl.config.label_savers import PasteSection
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import DataError
from cxrssl.data.cuts.augmentation import share_that_keeps_its_place
from cxrssl.data.cuts.paste import is_small
from cxrssl.data.detection import (
    Example,
    examples_of,
    in_split,
    patients_of,
    splits_of,
    training_ids,
)
from cxrssl.data.fusion import reader_of
from cxrssl.data.loaders import DetectionImages, Paste
from cxrssl.data.protocol import SPLITS, Split, labelled_ids
from cxrssl.data.sampling import BatchPlan, Visit, repeat_factors
from cxrssl.data.store import Store
from cxrssl.data.usage import Usage, usage_of

_MOST_TRIED = 200
"""Images that are changed to see how many findings have no place, how many images are empty."""
_EMPTY_SHARE = 0.05
"""Of its contrast, below which an image counts as empty."""


@dataclass(frozen=True)
class LabelledSplits:
    """Examples with the readers' consensus, by split.

    Attributes:
        train: The labelled fraction of the training split.
        val: The validation split; empty if the run does not validate.
        test: The test split.
        usage: How many images of the store that is, and why the others are left out.
    """

    train: list[Example]
    val: list[Example]
    test: list[Example]
    usage: Usage

    def warnings(self, *, batch_size: int) -> Iterator[str]:
        """Yield warnings of splits that are allowed and yet unlikely to be meant."""
        if len(self.train) < batch_size:
            yield (
                f"batch_size {batch_size} is more than the {len(self.train)} training images: "
                "every batch holds some of them more than once."
            )
        for name, examples in (("validation", self.val), ("test", self.test)):
            if examples and not any(len(example.boxes) for example in examples):
                yield (
                    f"none of the {len(examples)} {name} images has a box: there will be no AP on "
                    "them."
                )

    @property
    def ids(self) -> dict[str, list[str]]:
        """Image ids by split; one that the run does not look at is left out."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: [e.image_id for e in split] for name, split in splits.items() if split}


def labelled_splits(store: Store, recipe: FinetuneRecipe) -> LabelledSplits:
    """Return the examples that a run is trained, validated and tested on.

    Raises:
        DataError: If a split that is needed is empty, or no image that is seen has a box; with a
            gate, if images with or without boxes are missing where it is fitted.
    """
    data = recipe.data
    if not store.classes:
        raise DataError(
            f"{store.folder} is a pool of images without boxes; a detector needs some. Ingest a "
            "source with boxes (see `cxrssl ingest --layout`)."
        )
    examples = examples_of(store, fusion=data.fusion, iou=data.consensus_iou)
    splits = splits_of(store, protocol=data.protocol, normals=data.normals)
    train = {e.image_id: e for e in in_split(examples, splits, "train")}
    labelled_names = set(
        labelled_ids(
            training_ids(store, protocol=data.protocol, normals=data.normals, fusion=data.fusion),
            fraction=data.label_fraction,
            seed=recipe.seed,
            protocol=data.protocol,
            label_order=data.label_order,
            patients=patients_of(store),
        )
    )
    validates = recipe.validate_every_epochs is not None
    labelled = [example for name, example in train.items() if name in labelled_names]
    if not any(len(example.boxes) for example in labelled):
        raise DataError(
            f"none of the {len(labelled)} training images of {store.folder} that are seen has a "
            "box. Raise data.label_fraction, or ingest more images."
        )
    val = in_split(examples, splits, "val") if validates else []
    if recipe.keep == "best" and not any(len(example.boxes) for example in val):
        raise DataError(
            f"none of the {len(val)} validation images of {store.folder} has a box, so that no "
            "detector is the best. Set keep to last, or ingest more images."
        )
    if recipe.gate is not None:
        check_gate_images(store, {"training": labelled, "validation": val})
    test = in_split(examples, splits, "test")
    return LabelledSplits(labelled, val, test, _usage(store, recipe, splits, (labelled, val, test)))


def check_gate_images(store: Store, parts: Mapping[str, Sequence[Example]]) -> None:
    """Check that there are images of both kinds where an image-level gate is fitted.

    Raises:
        DataError: If all images of a part have boxes, or none has.
    """
    for name, examples in parts.items():
        num_with = sum(len(example.boxes) > 0 for example in examples)
        if num_with in (0, len(examples)):
            raise DataError(
                f"{num_with} of the {len(examples)} {name} images of {store.folder} that are seen "
                "have a box; a gate needs images with boxes and images without. Set gate to null, "
                "raise data.label_fraction, or ingest more images."
            )


def _usage(
    store: Store,
    recipe: FinetuneRecipe,
    splits: Mapping[str, Split],
    parts: tuple[list[Example], list[Example], list[Example]],
) -> Usage:
    """Count what the run uses of the store, and what it leaves out."""
    used = {name: part for name, part in zip(SPLITS, parts, strict=True) if part}
    return usage_of(
        store,
        {name: [example.image_id for example in part] for name, part in used.items()},
        splits=splits,
        unused_of_split={
            "train": f"whose labels are not seen (data.label_fraction is "
            f"{recipe.data.label_fraction:g})",
            "val": "for validation, which there is none of (validate_every_epochs is null)",
        },
        normals=recipe.data.normals,
        reader=reader_of(recipe.data.fusion),
        examples=[example for part in used.values() for example in part],
    )


def training_images(
    store: Store, train: list[Example], recipe: FinetuneRecipe
) -> tuple[DetectionImages, BatchPlan]:
    """Return the training images and the plan of their batches, with repeated images.

    Raises:
        DataError: If small findings are to be pasted and there are none.
    """
    threshold, paste = recipe.data.oversample_threshold, None
    factors = None
    if threshold is not None:
        factors = repeat_factors([example.labels for example in train], threshold=threshold)
    if recipe.paste is not None:
        paste = paste_of(store, train, recipe.paste)
        repeats = np.ones(len(train))
        repeats[[number for number, _ in paste.findings]] = recipe.paste.repeats
        factors = repeats if factors is None else np.maximum(factors, repeats)
    plan = BatchPlan(
        len(train),
        batch_size=recipe.batch_size,
        num_epochs=recipe.epochs,
        seed=recipe.seed,
        max_steps=recipe.max_steps,
        factors=factors,
        rounding=recipe.data.oversample_rounding,
    )
    images = DetectionImages(
        store,
        train,
        recipe.intensity.treatment,
        recipe.data.flip_probability,
        recipe.seed,
        augment=None if recipe.augment is None else recipe.augment.ranges,
        paste=paste,
    )
    return images, plan


def lines_on_changes(images: DetectionImages) -> list[str]:
    """Return in words what of the random changes of images is not as the recipe says."""
    return [*_lines_on_places(images), *_lines_on_levels(images), *_lines_on_pastes(images)]


def _lines_on_levels(images: DetectionImages) -> list[str]:
    """Say in how many of the first images of an epoch next to nothing can be seen."""
    if images.augment is None:
        return []
    visits = [Visit(0, row) for row in range(min(len(images.examples), _MOST_TRIED))]
    plain = replace(images, augment=None, paste=None)
    changed = replace(images, paste=None)
    contrasts = [
        [float(side[visit][0].float().std()) for side in (plain, changed)] for visit in visits
    ]
    empty = sum(after < _EMPTY_SHARE * before for before, after in contrasts)
    if not empty:
        return []
    return [
        f"augment: in {empty} of the first {len(visits)} images next to nothing can be seen, for "
        "less than a twentieth of their contrast is left. Narrow contrast, brightness, gamma, "
        "shift or cutout."
    ]


def _lines_on_pastes(images: DetectionImages) -> list[str]:
    """Say how many findings find no free place, by the first images of an epoch."""
    if images.paste is None:
        return []
    visits = [Visit(0, row) for row in range(min(len(images.examples), _MOST_TRIED))]
    drawn = sum(images.num_drawn(visit) for visit in visits)
    there = sum(len(images.examples[visit.row].boxes) for visit in visits)
    plain = replace(images, augment=None)
    placed = sum(len(plain[visit][1]["labels"]) for visit in visits) - there
    if placed >= drawn:
        return []
    return [
        f"paste: {drawn - placed} of {drawn} findings that were drawn for the first {len(visits)} "
        "images have no free place, and are left out."
    ]


def _lines_on_places(images: DetectionImages) -> list[str]:
    """Say how many images keep their place, because no geometry shows all of their boxes."""
    if images.augment is None:
        return []
    generator = np.random.default_rng(images.seed)
    boxes = [example.boxes.reshape(-1, 4) for example in images.examples]
    side_px = images.store.manifest["size_px"]
    share = share_that_keeps_its_place(boxes, images.augment, generator, side_px=side_px)
    if share == 0:
        return []
    return [
        f"augment: about {max(1, round(100 * share))} % of the training images keep their place, "
        "for none of ten geometries shows the middle of each of their boxes. Narrow scale, shift "
        "or rotation_degrees if that is too many."
    ]


def paste_of(store: Store, train: Sequence[Example], section: PasteSection) -> Paste:
    """Return the small findings of the training images, to be pasted into others.

    Raises:
        DataError: If there is none, or the store has no class of `within`.
    """
    unknown = sorted(set(section.within) - set(store.classes))
    if unknown:
        raise DataError(
            f"paste.within names {', '.join(unknown)}, and the classes of {store.folder} are "
            f"{', '.join(store.classes)}. Name some of these, or none ([])."
        )
    side_px = store.manifest["size_px"]
    findings = [
        (number, int(box))
        for number, example in enumerate(train)
        for box in np.flatnonzero(
            is_small(
                example.boxes.reshape(-1, 4), side_px=side_px, largest_side=section.largest_side
            )
        )
    ]
    if not findings:
        raise DataError(
            f"none of the boxes of the {len(train)} training images is at most "
            f"{section.largest_side:g} of an image's side (paste.largest_side), so that there is "
            "nothing small to paste. Raise it, or set paste to null."
        )
    within = [store.classes.index(name) for name in section.within]
    return Paste(section.ranges, findings, within)

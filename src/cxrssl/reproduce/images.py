"""The images of a plan before it begins: how many each run has, and whether they suffice."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, LabelSection, PretrainRecipe
from cxrssl.core.errors import DataError, RunError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.detection import patients_of
from cxrssl.data.protocol import (
    TRAIN_FRACTION,
    Protocol,
    Split,
    folds_of,
    labelled_ids,
    split_images,
)
from cxrssl.data.sampling import repeat_factors
from cxrssl.data.store import Store
from cxrssl.data.tables.source import Source, read_source
from cxrssl.reproduce.jobs import POOLS, Training
from cxrssl.reproduce.pool_overlap import files_in_both


@dataclass(frozen=True)
class PlanImages:
    """The images with labels of a plan, read from its store or, where none is yet, its source.

    Attributes:
        plan: The plan.
        out: Folder of the plan.
    """

    plan: Plan
    out: Path

    @property
    def are_known(self) -> bool:
        """Return whether there is a store or a source; a phantom does not exist yet."""
        return self._has_store or self.plan.data.source is not None

    @property
    def location(self) -> Path:
        """Return the folder of the images."""
        return self.out / "store" if self._has_store else self.plan.data.source or self.out

    def splits(self, protocol: Protocol, *, normals: bool) -> dict[str, Split]:
        """Return the split of every known image that takes part, in the order of the table."""
        rows, parts, patients = self._table
        chosen = rows if normals else rows[rows["category"].ne(NO_FINDING)]
        ids = [str(name) for name in pd.unique(chosen["image_id"])]
        return split_images(ids, protocol=protocol, parts=parts, patients=patients)

    @property
    def num_unread(self) -> int:
        """Return how many known images nobody is known to have read."""
        if self._has_store:
            store = Store(self.out / "store")
            return len(store) - store.findings["image_id"].nunique()
        return len(self._source.table.unread) + len(self._source.table.unmarked)

    @property
    def patients(self) -> dict[str, str]:
        """Return the patient of each image of which one is known."""
        return self._table[2]

    def num_in_pool(self, image_ids: Iterable[str]) -> int:
        """Return how many images are in the plan's pool too, file for file.

        0 once there is a store: of stores the report says it.
        """
        pool = self.plan.data.pool
        if pool is None or self._has_store or not self.are_known:
            return 0
        files = self._source.files
        in_pool = read_source(pool, layout="images").files
        return files_in_both((files[name] for name in image_ids), in_pool.values())

    def with_findings(self) -> set[str]:
        """Return the ids of the images with a box of any reader."""
        rows = self._table[0]
        return set(rows.loc[rows["category"].ne(NO_FINDING), "image_id"])

    def num_boxes(self) -> dict[str, int]:
        """Return how many boxes of all readers each image has, of those that have some."""
        rows = self._table[0]
        drawn = rows.loc[rows["category"].ne(NO_FINDING), "image_id"]
        return {str(name): int(count) for name, count in drawn.value_counts().items()}

    def num_training(self, protocol: Protocol, *, normals: bool) -> int:
        """Return the number of training images, estimated for a phantom that does not exist yet."""
        if self.are_known:
            splits = self.splits(protocol, normals=normals)
            return sum(split == "train" for split in splits.values())
        phantom = self.plan.data.phantom
        assert phantom is not None  # the schema wants a source or a phantom
        return int(TRAIN_FRACTION * phantom.images * (1 if normals else 1 - phantom.normal_share))

    def mean_repeats(self, data: LabelSection) -> float:
        """Return how often an epoch visits a training image on average: repeat-factor sampling.

        The classes of an image are those of all its readers, before their boxes are fused. A
        phantom that does not exist yet counts as 1.
        """
        if data.oversample_threshold is None or not self.are_known:
            return 1.0
        rows = self._table[0]
        boxes = rows[rows["category"].ne(NO_FINDING)]
        classes = pd.Series(pd.factorize(boxes["category"])[0], index=boxes["image_id"])
        by_image = {str(name): group.to_numpy() for name, group in classes.groupby(level=0)}
        splits = self.splits(data.protocol, normals=data.normals)
        train = [name for name, split in splits.items() if split == "train"]
        none = np.empty(0, np.int64)
        factors = repeat_factors(
            [by_image.get(name, none) for name in train], threshold=data.oversample_threshold
        )
        if data.oversample_rounding == "ceil":
            factors = np.ceil(factors)
        return float(factors.mean()) if train else 1.0

    @property
    def _has_store(self) -> bool:
        return (self.out / "store" / "manifest.json").is_file()

    @cached_property
    def _table(self) -> tuple[pd.DataFrame, dict[str, str], dict[str, str]]:
        """Return the rows of readable images, and image id -> part and patient."""
        if self._has_store:
            store = Store(self.out / "store")
            parts = {image.image_id: image.part for image in store.images if image.part}
            patients = patients_of(store)
            return store.findings, self._parts(store.findings, parts, patients), patients
        source = self._source
        usable = set(source.files) - set(source.faults)
        rows = source.table.rows[source.table.rows["image_id"].isin(usable)]
        patients = dict(source.table.patients)
        return rows, self._parts(rows, dict(source.table.parts), patients), patients

    @cached_property
    def _source(self) -> Source:
        data = self.plan.data
        assert data.source is not None  # `are_known`
        return read_source(
            data.source, layout=data.layout, patient_from=data.patient_from, split=data.split
        )

    def _parts(
        self, rows: pd.DataFrame, parts: dict[str, str], patients: dict[str, str]
    ) -> dict[str, str]:
        """Return the part of each image; in a plan with folds that of the first."""
        num_folds = self.plan.data.folds
        if num_folds is None:
            return parts
        if parts:
            raise RunError(
                f"{self.location} says itself which films are for training and for the test, and "
                "data.folds divide all of them anew. Say data.split=none to do so, or leave out "
                "data.folds."
            )
        ids = set(map(str, rows["image_id"]))
        fold_of = folds_of(ids, patients=patients, num_folds=num_folds)
        return {name: "test" if fold == 1 else "train" for name, fold in fold_of.items()}


def check_images(images: PlanImages, trainings: Sequence[Training]) -> None:
    """Check that every fine-tuning of a plan has images, and boxes among them.

    Raises:
        RunError: With all that is missing.
        DataError: If the source can't be read.
    """
    recipes = [run.recipe for run in trainings if isinstance(run.recipe, FinetuneRecipe)]
    faults = dict.fromkeys(fault for recipe in recipes for fault in _missing(images, recipe))
    faults |= dict.fromkeys(fault for run in trainings for fault in _small_pool(images, run))
    if faults:
        lines = "\n".join(f"  {fault}" for fault in list(faults)[:20])
        raise RunError(
            f"the images of {images.location} will not do for this plan, and nothing has been "
            f"trained:\n{lines}"
        )


def _missing(images: PlanImages, recipe: FinetuneRecipe) -> Iterator[str]:
    data = recipe.data
    rule = f"protocol {data.protocol} and normals {str(data.normals).lower()}"
    if not images.are_known:
        if not images.num_training(data.protocol, normals=data.normals):
            yield f"the phantom leaves no training image with {rule}: raise data.phantom.images."
        return
    splits = images.splits(data.protocol, normals=data.normals)
    with_findings = images.with_findings()
    if not with_findings:
        yield "no image has a box: name a source with boxes (see `cxrssl ingest --layout`)."
        return
    validates = recipe.validate_every_epochs is not None
    needed: tuple[Split, ...] = ("train", "val", "test") if validates else ("train", "test")
    for split in (split for split in needed if split not in splits.values()):
        yield (
            f"0 of {len(splits)} images are in the split {split} with {rule}: take more images, or "
            "another protocol."
        )
    train = [name for name, split in splits.items() if split == "train"]
    if train:
        yield from _unlabelled(train, with_findings, recipe, images.patients)


def _small_pool(images: PlanImages, run: Training) -> Iterator[str]:
    """Yield a fault if the pool of a pretraining is smaller than its batch."""
    recipe = run.recipe
    if not isinstance(recipe, PretrainRecipe) or recipe.data.store.name in POOLS:
        return
    if not images.are_known:
        return
    data = recipe.data
    count = images.num_training(data.protocol, normals=data.normals)
    num_unread = images.num_unread if data.unread else 0
    pool = round(data.pool_fraction * count) + num_unread
    if pool < recipe.batch_size:
        yield (
            f"{run.job.name} has about {pool} images to learn from, fewer than one batch of "
            f"{recipe.batch_size}: set batch_size in the plan's pretrainings to at most {pool}, or "
            "take more images."
        )


def _unlabelled(
    train: list[str],
    with_findings: set[str],
    recipe: FinetuneRecipe,
    patients: Mapping[str, str],
) -> Iterator[str]:
    """Yield a fault if the labelled fraction of a run has no image, or no box."""
    data = recipe.data
    share = f"{100 * data.label_fraction:g} % of {len(train)} training images"
    try:
        labelled = labelled_ids(
            train,
            fraction=data.label_fraction,
            seed=recipe.seed,
            protocol=data.protocol,
            label_order=data.label_order,
            patients=patients,
        )
    except DataError:
        yield f"{share} is none: take larger label_fractions or more images."
        return
    if with_findings.isdisjoint(labelled):
        yield f"{share}, drawn with seed {recipe.seed}, hold no box: take more of either."

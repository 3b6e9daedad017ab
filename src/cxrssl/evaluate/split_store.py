"""A store divided as a detector's run had it: what is scored, trained on, and chosen on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cxrssl.data.coco.index import Remarks
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.protocol import Split
from cxrssl.data.store import Store
from cxrssl.evaluate.choose import Chosen, choose
from cxrssl.evaluate.inputs import EvaluationInputs
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.paired import OtherRun, read_other_run
from cxrssl.evaluate.prior import Prior, prior_of_inputs
from cxrssl.evaluate.settings import Settings
from cxrssl.evaluate.store_inputs import inputs_of_store
from cxrssl.evaluate.subset import Subset, read_subset
from cxrssl.evaluate.training_images import training_examples
from cxrssl.models.detector import Detector

_FEW = 30
"""Images with boxes below which a choice is warned of."""


@dataclass(frozen=True)
class ToScore:
    """The images that are scored.

    Attributes:
        examples: The images.
        inputs: Their truth.
        subset: Which of the split they are; None for all.
        other_run: What the detector is compared with there, or None.
        remarks: Remarks on the files behind these.
    """

    examples: list[Example]
    inputs: EvaluationInputs
    subset: Subset | None
    other_run: OtherRun | None
    remarks: Remarks


@dataclass(frozen=True)
class SplitStore:
    """A store whose images have the splits and the truth of an evaluation.

    Attributes:
        store: The store.
        detector: The detector that is evaluated.
        settings: Which split is scored, and what is true.
    """

    store: Store
    detector: Detector
    settings: Settings

    @cached_property
    def examples(self) -> list[Example]:
        """All images with their truth."""
        settings = self.settings
        return examples_of(self.store, fusion=settings.fusion, iou=settings.consensus_iou)

    def in_split(self, split: Split) -> list[Example]:
        """Return the images of a split.

        Raises:
            DataError: If there is none.
        """
        normals, protocol = self.settings.normals, self.detector.protocol
        splits = splits_of(self.store, protocol=protocol, normals=normals)
        return in_split(self.examples, splits, split)

    def to_score(self, bootstrap: Bootstrap, against: Path | None, only: Path | None) -> ToScore:
        """Return the images that are scored.

        Args:
            bootstrap: Draws behind the intervals.
            against: Another run's predictions or scores, or None.
            only: A list of images, or None for all of the split.

        Raises:
            DataError: If a file can't be read, or names what is not there.
        """
        examples = self.in_split(self.settings.split)
        inputs, remarks = inputs_of_store(self.store, examples), Remarks()
        subset = None if only is None else read_subset(only, inputs.index)
        other_run = None if against is None else read_other_run(against, inputs, bootstrap, subset)
        if other_run is not None:
            remarks += other_run.remarks
        if subset is not None:
            remarks += subset.remarks
            inputs = subset.inputs(inputs)
            examples = [examples[number] for number in subset.numbers]
        return ToScore(examples, inputs, subset, other_run, remarks)

    def training(self, checkpoint: Path) -> tuple[list[Example], str]:
        """Return the images that fixed boxes are chosen on; see `training_examples`."""
        protocol = self.detector.protocol
        return training_examples(self.store, self.examples, checkpoint, self.settings, protocol)

    def chosen(self, split: Split | None, *, rank: int, num_processes: int) -> Chosen | None:
        """Choose NMS and thresholds on a split, None on none; see `choose`."""
        if split is None:
            return None
        examples = self.in_split(split)
        inputs = inputs_of_store(self.store, examples)
        return choose(
            self.detector,
            self.store,
            examples,
            inputs,
            split,
            rank=rank,
            num_processes=num_processes,
        )


def prior_of_store(
    store: Store, train: Sequence[Example], fitted_on: str, scored: EvaluationInputs
) -> Prior | None:
    """Return fixed boxes chosen on training images of a store; None where they hold no box.

    Args:
        store: The store.
        train: Training images.
        fitted_on: Which these are, in words.
        scored: What is scored.
    """
    if not any(len(example.labels) for example in train):
        return None
    return prior_of_inputs(inputs_of_store(store, train), scored, fitted_on)


def remarks_on(chosen: Chosen | None, scored: Split) -> Remarks:
    """Return what was chosen, and warnings if it was on few images, or on what is scored."""
    if chosen is None:
        return Remarks()
    warnings = []
    num = chosen.images["n_images_with_boxes"]
    if num < _FEW:
        warnings.append(
            f"NMS and thresholds were chosen on the {num} images of the {chosen.split} split that "
            "have boxes: so few choose mostly by chance"
        )
    if chosen.split == scored:
        warnings.append(
            f"NMS and thresholds were chosen on the {scored} split, and that is scored here: these "
            "scores are optimistic. Choose on val, and score on test"
        )
    elif chosen.split == "test":
        warnings.append(
            "NMS and thresholds were chosen on the test split: scores on it are optimistic from "
            "now on. Choose on val"
        )
    elif chosen.split == "train":
        warnings.append(
            "NMS and thresholds were chosen on images that the detector was trained on, where it "
            "scores too high. Choose on val"
        )
    return Remarks((chosen.note,), tuple(warnings))

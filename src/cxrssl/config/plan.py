"""The fields of a plan: data, recipes, treatments, label fractions and seeds.

`config.arms` derives the runs from them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cxrssl.config.detectors import SidePx
from cxrssl.config.section import Fraction, Section
from cxrssl.config.sizing import SizingSection
from cxrssl.config.treatments import STARTS, Name, TreatmentSection, with_treatments
from cxrssl.core.errors import RecipeError
from cxrssl.core.layouts import Layout

# Names of a cluster; a partition may be several, separated by commas.
_CLUSTER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}"
Partition = Annotated[str, Field(pattern=rf"^{_CLUSTER_NAME}(,{_CLUSTER_NAME})*$")]
Account = Annotated[str, Field(pattern=rf"^{_CLUSTER_NAME}$")]


class PhantomSection(Section):
    """A synthetic data set."""

    images: int = Field(ge=1)
    seed: int = Field(ge=0)
    normal_share: Annotated[float, Field(ge=0, lt=1)]
    min_side_px: int = Field(ge=64)
    max_side_px: int = Field(ge=64)


class PlanData(Section):
    """Where a plan's images come from: a source folder, or a phantom if `source` is null."""

    source: Path | None
    layout: Layout = "auto"
    """Layout of the source, as for `cxrssl ingest --layout`."""
    patient_from: str = ""
    """As for `cxrssl ingest --patient-from`: a regular expression that finds the patient in the
    path of an image; empty for what the table says."""
    split: str = ""
    """As for `cxrssl ingest --split`: empty for the table's own split or none, `folders`, `none`,
    or the path of a CSV file."""
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    """Folds of the films that were read, by patient: every run is made once a fold, and all films
    are tested on by the run that did not see them. Null for one split."""
    fresh_seeds: bool = False
    """Whether each fold's run has a seed of its own, seed * folds + fold - 1, so that labels that
    are seen, initial weights and order differ by fold; names of runs keep the plan's seed."""
    phantom: PhantomSection | None
    pool: Path | None = None
    """Folder of more images, whose labels are not read, for pretrainings and teachers that have the
    pool `external`."""
    pool_patient_from: str = ""
    """As `patient_from`, for the files of `pool`."""
    pool_phantom: PhantomSection | None = None
    """A made pool, whose labels are hidden, for a plan without the folder `pool`."""
    size_px: SidePx
    fit: Literal["squash", "letterbox"]
    """How an image becomes a square: stretched, as in the paper, or with black borders."""

    @model_validator(mode="after")
    def _folds_fit_the_source(self) -> "PlanData":
        if self.folds is not None and self.source is None:
            raise ValueError("folds need a source folder: set data.source")
        if self.folds is None and self.fresh_seeds:
            raise ValueError(
                "fresh_seeds are a seed for each fold: set data.folds, or leave it out"
            )
        if self.folds is not None and self.split not in ("", "none"):
            raise ValueError(f"folds divide the films themselves: leave out split {self.split!r}")
        return self

    @model_validator(mode="after")
    def _has_one_pool(self) -> "PlanData":
        if self.pool is not None and self.pool_phantom is not None:
            raise ValueError("pool and pool_phantom are both there: leave out one of them")
        seeds = [one.seed for one in (self.phantom, self.pool_phantom) if one is not None]
        if self.source is None and len(set(seeds)) < len(seeds):
            raise ValueError(
                f"phantom and pool_phantom have the seed {seeds[0]}, and so the same images: give "
                "them different ones"
            )
        return self

    @property
    def has_pool(self) -> bool:
        """Return whether there are images beside the source's."""
        return self.pool is not None or self.pool_phantom is not None

    @model_validator(mode="after")
    def _has_source_or_phantom(self) -> "PlanData":
        if self.source is None and self.phantom is None:
            raise ValueError(
                "source and phantom are both null: name a folder with --set data.source"
            )
        return self


class RecipeSection(Section):
    """A recipe and the fields that the plan changes in it."""

    recipe: str
    """Packaged recipe, such as `finetune/demo`, or a path."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe, nested as they are there."""


class PretrainingSection(RecipeSection):
    """One way to pretrain a backbone."""

    pool: Literal["rest", "train", "external"]
    """Images it learns from: `rest` is the training images whose labels an arm does not use (one
    pretraining a label fraction), `train` all training images, `external` those of `data.pool`."""
    after: Name | None = None
    """Another pretraining that this one starts from."""


AnswerMetric = Literal["AP", "AP50", "AP40", "AR100_agnostic", "froc_mean"]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class ReadingSection(Section):
    """How long a reader takes, which nobody but the user knows."""

    seconds_per_image: Seconds
    """To look at an image, whether it has something to draw or not."""
    seconds_per_box: Seconds
    """To draw a box, on top."""


class AnswerSection(Section):
    """The comparison in the report's first sentence, chosen before anything is run."""

    metric: AnswerMetric
    label_fraction: Fraction
    """Fraction of the labels at which labels saved are counted."""
    target: dict[AnswerMetric, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    """Scores for which the report says how many films and boxes each treatment needs."""
    reading: ReadingSection | None = None
    """Null is not told; then the report has no reader minutes."""


class SlurmSection(Section):
    """Resources of a job on a Slurm cluster.

    The upper bounds are beyond any cluster's: they catch slips of the keyboard before Slurm does.
    """

    partition: Partition | None = None
    account: Account | None = None
    minutes: int = Field(default=720, ge=1, le=525_600)
    """Time limit of a job; one that reaches it is queued again and resumes."""
    requeues: int = Field(default=5, ge=0, le=1000)
    """How often a job may reach its limit."""
    gpus: int = Field(default=1, ge=0, le=64)
    """GPUs of a job that trains."""
    cpus: int = Field(default=8, ge=1, le=4096)
    memory_gb: int = Field(default=32, ge=1, le=100_000)
    most_at_once: int = Field(default=16, ge=1, le=1000)
    """Jobs of one array that run side by side."""


class Plan(Section):
    """`cxrssl reproduce`: treatments x label fractions x seeds, on one data set."""

    other_names: ClassVar[Mapping[str, str]] = {STARTS: "treatments"}

    task: Literal["plan"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    data: PlanData
    protocol: Literal["published", "described", "corrected"]
    """How images are split, for all runs; see data/protocol.py."""
    finetuning: RecipeSection
    pretrainings: dict[Name, PretrainingSection] = Field(default_factory=dict)
    treatments: dict[Name, TreatmentSection] = Field(min_length=1)
    """In a file also `initialisations`, for those that change `init` alone."""
    label_fractions: tuple[Fraction, ...] = Field(min_length=1)
    """Fractions of the training labels that fine-tuning uses; where the pool is the rest, a
    treatment has no arm that uses all."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    answer: AnswerSection
    faults: tuple[Fraction, ...] = ()
    """Label fractions below 1 at which faults P4 and P5 of the published code are re-introduced."""
    paper: bool = False
    """Whether the images are those of the paper, so that its numbers stand beside."""
    gallery_images: int = Field(default=12, ge=0)
    """Test images that the report holds, pixels and all."""
    slurm: SlurmSection = Field(default_factory=SlurmSection)
    sizing: SizingSection | None = None
    """How the sizes of the plan are decided from a budget of time; null for as they stand."""

    @property
    def num_repeats(self) -> int:
        """Return how often an arm is trained anew, with another seed.

        That is once a seed; with `data.fresh_seeds` once a fold, on other test images each time.
        """
        folds = self.data.folds if self.data.fresh_seeds else None
        return len(self.seeds) if folds is None else folds

    @property
    def main(self) -> str | None:
        """Return the treatment that the answer is about: the first that has a control."""
        return next((name for name, section in self.treatments.items() if section.controls), None)

    @property
    def uses_pool(self) -> bool:
        """Return whether a pretraining or a teacher learns from the images of `data.pool`."""
        pools = {section.pool for section in self.pretrainings.values()}
        teachers = {section.unlabelled_pool for section in self.treatments.values()}
        return "external" in pools or "external" in teachers

    @model_validator(mode="before")
    @classmethod
    def _initialisations_are_treatments(cls, content: object) -> object:
        return with_treatments(content) if isinstance(content, Mapping) else content

    @model_validator(mode="after")
    def _folds_fit_the_protocol(self) -> "Plan":
        if self.data.folds is not None and (self.protocol != "corrected" or self.faults):
            raise ValueError("data.folds go with protocol corrected, and without faults")
        return self

    @model_validator(mode="after")
    def _sizing_has_no_made_pool(self) -> "Plan":
        if self.sizing is not None and self.data.pool_phantom is not None:
            raise ValueError("data.pool_phantom is for plans without a section sizing")
        return self

    @model_validator(mode="after")
    def _values_are_unique(self) -> "Plan":
        texts = {
            "label_fractions": [f"{100 * fraction:g} %" for fraction in self.label_fractions],
            "faults": [f"{100 * fraction:g} %" for fraction in self.faults],
            "seeds": [str(seed) for seed in self.seeds],
        }
        for name, values in texts.items():
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names one value twice: {', '.join(values)}")
        titles = [section.title for section in self.treatments.values()]
        if len(set(titles)) != len(titles):
            raise ValueError(f"two treatments have one title: {', '.join(titles)}")
        return self

    @model_validator(mode="after")
    def _treatment_references_exist(self) -> "Plan":
        for name, section in self.treatments.items():
            self._check_pretraining(f"pretraining of treatment {name}", section.pretraining)
            for control in section.controls:
                if control not in self.treatments or control == name:
                    raise ValueError(
                        f"controls of treatment {name}: {control} is not another treatment"
                    )
            other_fractions = set(section.label_fractions or ()) - set(self.label_fractions)
            if other_fractions:
                raise ValueError(
                    f"label_fractions of treatment {name} are none of the plan's: {other_fractions}"
                )
            if section.unlabelled_pool == "external" and not self.data.has_pool:
                raise ValueError(
                    f"treatment {name} has unlabelled_pool external, and there is no pool: name a "
                    "folder of images with --set data.pool"
                )
        return self

    @model_validator(mode="after")
    def _pretraining_references_exist(self) -> "Plan":
        for name, section in self.pretrainings.items():
            self._check_pretraining(f"pretrainings.{name}.after", section.after)
            if section.pool == "external" and not self.data.has_pool:
                raise ValueError(
                    f"pretrainings.{name} needs data.pool, and it is null: name a folder of "
                    "images with --set data.pool"
                )
        return self

    def _check_pretraining(self, field: str, name: str | None) -> None:
        if name is not None and name not in self.pretrainings:
            defined = ", ".join(self.pretrainings) or "none"
            raise ValueError(f"{field}: unknown pretraining {name!r}; defined are: {defined}")

    @model_validator(mode="after")
    def _pretrainings_have_no_cycle(self) -> "Plan":
        for name in self.pretrainings:
            chain = [name]
            while (previous := self.pretrainings[chain[-1]].after) is not None:
                if previous in chain:
                    raise ValueError(
                        f"pretrainings go in a circle: {' after '.join(chain)} after {previous}"
                    )
                chain.append(previous)
        return self

    @model_validator(mode="after")
    def _answer_and_faults_have_arms(self) -> "Plan":
        if self.answer.label_fraction not in self.label_fractions:
            raise ValueError(
                f"answer.label_fraction {self.answer.label_fraction:g} is none of label_fractions"
            )
        if not self.faults:
            return self
        main = None if self.main is None else self.treatments[self.main]
        if self.protocol != "corrected" or main is None or main.pretraining is None:
            raise ValueError(
                "faults are put back into protocol corrected, into a treatment with a "
                "pretraining and a control"
            )
        if self.pretrainings[main.pretraining].pool != "rest":
            raise ValueError("faults are about the pool `rest`, and the pretraining has another")
        missing = set(self.faults) - (set(self.label_fractions) - {1.0})
        if missing or 1.0 not in self.label_fractions:
            raise ValueError("faults need label_fractions of the same shares, below 1, and of 1")
        return self


def within(plan: Plan, hours: float) -> Plan:
    """Return a plan whose sizes are decided for a budget of hours.

    Raises:
        RecipeError: If its sizes are fixed.
    """
    if plan.sizing is None:
        raise RecipeError(
            f"the plan {plan.name} has no section sizing: its sizes stand in it, and a budget "
            "changes none. Take the plan own, or say --dry-run to see what this one takes."
        )
    return plan.model_copy(update={"sizing": plan.sizing.model_copy(update={"hours": hours})})

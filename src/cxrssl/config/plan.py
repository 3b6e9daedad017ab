"""What a plan may say: which data, recipes, initialisations, label shares and seeds.

`config.arms` says which runs follow from it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cxrssl.config.detectors import SidePx
from cxrssl.config.section import Section, Share

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


# Names of a cluster; a partition may be several, separated by commas.
_CLUSTER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}"
Partition = Annotated[str, Field(pattern=rf"^{_CLUSTER_NAME}(,{_CLUSTER_NAME})*$")]
Account = Annotated[str, Field(pattern=rf"^{_CLUSTER_NAME}$")]


class PhantomSection(Section):
    """A made data set."""

    images: int = Field(ge=1)
    seed: int = Field(ge=0)
    normal_share: Annotated[float, Field(ge=0, lt=1)]
    min_side_px: int = Field(ge=64)
    max_side_px: int = Field(ge=64)


class PlanData(Section):
    """Where a plan's images come from: a source folder, or a phantom if `source` is null."""

    source: Path | None
    phantom: PhantomSection | None
    pool: Path | None = None
    """Folder of more images without labels, for pretrainings on the pool `external`."""
    size_px: SidePx
    fit: Literal["squash", "letterbox"]
    """How an image becomes a square: stretched, as in the paper, or with black borders."""

    @model_validator(mode="after")
    def _one_origin(self) -> "PlanData":
        if self.source is None and self.phantom is None:
            raise ValueError(
                "source and phantom are both null: name a folder with --set data.source"
            )
        return self


class RecipeSection(Section):
    """A recipe, and what the plan changes in it."""

    recipe: str
    """Packaged recipe, such as `finetune/demo`, or a path."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe, nested as they are there."""


class PretrainingSection(RecipeSection):
    """One way to pretrain a backbone."""

    pool: Literal["rest", "train", "external"]
    """Images it learns from: `rest` is the training images whose labels an arm does not see (one
    pretraining a label share), `train` all training images, `external` those of `data.pool`."""
    after: Name | None = None
    """Another pretraining that this one starts from."""


class InitialisationSection(Section):
    """What detectors start from."""

    title: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,60}$")]
    """In the report."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the fine-tuning recipe's section `init`, such as `init: {start: imagenet}`; in all
    else initialisations are the same."""
    pretraining: Name | None = None
    controls: tuple[Name, ...] = ()
    """Initialisations that it is compared with, label for label; the first is its control."""
    label_fractions: tuple[Share, ...] | None = None
    """Those of the plan's at which it has arms; null is all."""

    @model_validator(mode="after")
    def _differs_in_its_start_alone(self) -> "InitialisationSection":
        others = sorted(key for key in self.set if key.split(".")[0] != "init")
        if others:
            raise ValueError(
                f"set changes {', '.join(others)}: initialisations differ in their start alone, so "
                "that scores can be compared. Set it in finetuning.set, for all"
            )
        if len(set(self.controls)) != len(self.controls):
            raise ValueError(f"controls names one twice: {', '.join(self.controls)}")
        return self


class AnswerSection(Section):
    """What the report's first sentence is about, named before anything is run."""

    metric: Literal["AP", "AP50", "AP40", "AR100_agnostic"]
    label_fraction: Share
    """Share of the labels at which labels saved are counted."""


class SlurmSection(Section):
    """What a job asks of a Slurm cluster.

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
    """`cxrssl reproduce`: initialisations x label shares x seeds, on one data set."""

    task: Literal["plan"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    data: PlanData
    protocol: Literal["published", "described", "corrected"]
    """How images are split, for all runs; see data/protocol.py."""
    finetuning: RecipeSection
    pretrainings: dict[Name, PretrainingSection] = Field(default_factory=dict)
    initialisations: dict[Name, InitialisationSection] = Field(min_length=1)
    label_fractions: tuple[Share, ...] = Field(min_length=1)
    """Shares of the training labels that fine-tuning sees; where the pool is the rest, an
    initialisation has no arm that sees all."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    answer: AnswerSection
    faults: tuple[Share, ...] = ()
    """Label shares below 1 at which faults P4 and P5 of the published code are put back."""
    paper: bool = False
    """Whether the images are those of the paper, so that its numbers stand beside."""
    gallery_images: int = Field(default=12, ge=0)
    """Test images that the report holds, pixels and all."""
    slurm: SlurmSection = Field(default_factory=SlurmSection)

    @property
    def main(self) -> str | None:
        """The initialisation that the answer is about: the first that has a control."""
        return next((name for name, one in self.initialisations.items() if one.controls), None)

    @model_validator(mode="after")
    def _no_twins(self) -> "Plan":
        texts = {
            "label_fractions": [f"{100 * share:g} %" for share in self.label_fractions],
            "faults": [f"{100 * share:g} %" for share in self.faults],
            "seeds": [str(seed) for seed in self.seeds],
        }
        for name, values in texts.items():
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names one value twice: {', '.join(values)}")
        titles = [one.title for one in self.initialisations.values()]
        if len(set(titles)) != len(titles):
            raise ValueError(f"two initialisations have one title: {', '.join(titles)}")
        return self

    @model_validator(mode="after")
    def _initialisations_name_what_is_there(self) -> "Plan":
        for name, one in self.initialisations.items():
            place = f"initialisations.{name}"
            if one.pretraining is not None and one.pretraining not in self.pretrainings:
                raise ValueError(f"{place}.pretraining names {one.pretraining}, and there is none")
            for control in one.controls:
                if control not in self.initialisations or control == name:
                    raise ValueError(f"{place}.controls names {control}, which is no other one")
            unknown = set(one.label_fractions or ()) - set(self.label_fractions)
            if unknown:
                raise ValueError(f"{place}.label_fractions are none of the plan's: {unknown}")
        return self

    @model_validator(mode="after")
    def _pretrainings_name_what_is_there(self) -> "Plan":
        for name, own in self.pretrainings.items():
            if own.after is not None and own.after not in self.pretrainings:
                raise ValueError(f"pretrainings.{name}.after names {own.after}, and there is none")
            if own.pool == "external" and self.data.pool is None:
                raise ValueError(
                    f"pretrainings.{name} needs data.pool, and it is null: name a folder of images "
                    "with --set data.pool"
                )
        return self

    @model_validator(mode="after")
    def _pretrainings_end(self) -> "Plan":
        for name in self.pretrainings:
            chain = [name]
            while (following := self.pretrainings[chain[-1]].after) is not None:
                if following in chain:
                    raise ValueError(
                        f"pretrainings go in a circle: {' after '.join(chain)} after {following}"
                    )
                chain.append(following)
        return self

    @model_validator(mode="after")
    def _answer_and_faults_have_arms(self) -> "Plan":
        if self.answer.label_fraction not in self.label_fractions:
            raise ValueError(
                f"answer.label_fraction {self.answer.label_fraction:g} is none of label_fractions"
            )
        if not self.faults:
            return self
        main = None if self.main is None else self.initialisations[self.main]
        if self.protocol != "corrected" or main is None or main.pretraining is None:
            raise ValueError(
                "faults are put back into protocol corrected, into an initialisation "
                "with a pretraining and a control"
            )
        if self.pretrainings[main.pretraining].pool != "rest":
            raise ValueError("faults are about the pool `rest`, and the pretraining has another")
        missing = set(self.faults) - (set(self.label_fractions) - {1.0})
        if missing or 1.0 not in self.label_fractions:
            raise ValueError("faults need label_fractions of the same shares, below 1, and of 1")
        return self

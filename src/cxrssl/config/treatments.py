"""The section `treatments` of a plan, and `initialisations`, its name where only the start differs.

A treatment is a named set of changes to pretraining and fine-tuning. `config.comparable` holds a
treatment and its control to the fields that are listed here.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cxrssl.config.load import flattened
from cxrssl.config.section import Fraction, Section

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Pool = Literal["rest", "external"]

SECTIONS = ("init", "augment", "paste", "ema", "unlabelled", "gate")
"""Sections of a fine-tuning recipe that a treatment may set, entire or field by field."""
FIELDS = (
    "model.backbone",
    "optim.layer_decay",
    "model.frozen_stages",
    "intensity.mean",
    "intensity.std",
)
"""Single fields that it may set. Another backbone brings its own widths and pyramid with it; mean
and standard deviation are those of the images that its weights were trained on."""
STARTS = "initialisations"
"""What a plan may call its treatments that change `init` alone."""


def is_settable(key: str) -> bool:
    """Return whether a treatment may set a field of a fine-tuning recipe, given its dotted name."""
    return key in FIELDS or key.split(".")[0] in SECTIONS


class TreatmentSection(Section):
    """A named set of changes to pretraining and fine-tuning: a start, an augmentation, a teacher.

    In all else, treatments of a plan are the same: data, labels, seeds, the rest of the detector,
    labelled steps.
    """

    title: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,60}$")]
    """Its title in the report."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the fine-tuning recipe, nested as they are there, such as `init: {start: imagenet}`
    or `ema: {decay: 0.99}`; null for a section is none of it. `SECTIONS` and `FIELDS` are those
    that it may change."""
    unlabelled_pool: Pool | None = None
    """Images of the section `unlabelled`: `rest` is the training images whose labels an arm does
    not use, `external` those of `data.pool`. Null for a recipe without that section."""
    pretraining: Name | None = None
    """Pretraining of the plan whose backbone it starts from."""
    controls: tuple[Name, ...] = ()
    """Treatments that it is compared with at equal labels; the first is its control."""
    label_fractions: tuple[Fraction, ...] | None = None
    """Label fractions of the plan at which it has arms; null is all."""

    @model_validator(mode="after")
    def _changes_what_it_may(self) -> "TreatmentSection":
        keys = [key for key, _ in flattened(self.set)]
        others = sorted(key for key in keys if not is_settable(key))
        if others:
            raise ValueError(
                f"set changes {', '.join(others)}: a treatment may change {', '.join(SECTIONS)}, "
                f"{', '.join(FIELDS[:-1])} and {FIELDS[-1]}, so that scores can be compared. Set "
                "other fields in finetuning.set, for all"
            )
        if "unlabelled.store" in keys:
            raise ValueError(
                "set names unlabelled.store, which the plan decides: say unlabelled_pool: rest or "
                "external"
            )
        if len(set(self.controls)) != len(self.controls):
            raise ValueError(f"controls names one twice: {', '.join(self.controls)}")
        return self


def with_treatments(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a plan with its `initialisations` among its `treatments`.

    They keep the order that they have in the content.

    Raises:
        ValueError: If one changes more than its start, or a name is in both.
    """
    if not all(isinstance(content.get(key) or {}, Mapping) for key in (STARTS, "treatments")):
        found = STARTS if not isinstance(content.get(STARTS) or {}, Mapping) else "treatments"
        raise ValueError(f"{found} holds no sections: expected NAME: {{title: TITLE}} for each")
    starts = content.get(STARTS) or {}
    faults = [
        fault for name, section in starts.items() for fault in _more_than_start(name, section)
    ]
    twice = sorted(map(str, starts.keys() & (content.get("treatments") or {}).keys()))
    if twice:
        faults.append(
            f"{', '.join(twice)} is in {STARTS} and in treatments: name it in one of them"
        )
    if faults:
        raise ValueError("; ".join(faults))
    merged: dict[str, Any] = {}
    for key, value in content.items():
        if key in (STARTS, "treatments"):
            merged.setdefault("treatments", {}).update(value or {})
        else:
            merged[key] = value
    return merged


def _more_than_start(name: object, section: object) -> Iterator[str]:
    """Yield what an initialisation changes beside the start; faults of its form come later."""
    if not isinstance(section, Mapping):
        return
    changed = section.get("set")
    keys = changed.keys() if isinstance(changed, Mapping) else ()
    others = sorted(str(key) for key in keys if str(key).split(".")[0] != "init")
    if section.get("unlabelled_pool") is not None:
        others.append("unlabelled_pool")
    if others:
        yield (
            f"{STARTS}.{name}.set changes {', '.join(others)}: {STARTS} differ in their start "
            "alone. Move it to treatments, which may change more, or set it in finetuning.set, for "
            "all"
        )

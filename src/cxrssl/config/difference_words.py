"""In what a treatment differs from its control, in words, from the recipes of both."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrssl.config.detectors import InitSection
from cxrssl.config.gate import GateSection
from cxrssl.config.label_savers import (
    AugmentSection,
    EmaSection,
    PasteSection,
    UnlabelledSection,
)
from cxrssl.config.load import flattened, path_end
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.config.section import Section
from cxrssl.config.treatments import FIELDS, SECTIONS

NOTHING = "nothing: their recipes are equal"
_STARTS = {"imagenet": "ImageNet", "coco": "COCO", "published": "published weights"}
_TITLES = {
    "augment": "augmentation",
    "paste": "pasted small findings",
    "ema": "average of the weights",
    "unlabelled": "teacher",
    "gate": "image-level gate",
}
_TEACHERS = {
    "teacher": "a teacher",
    "shuffled": "shuffled pseudo boxes (control) of a teacher",
}
_BOXES = {"teacher": "the teacher's pseudo boxes", "shuffled": "shuffled pseudo boxes (control)"}
_FIELD_TITLES = {
    "optim.layer_decay": "layer decay",
    "model.frozen_stages": "frozen stages",
    "intensity.mean": "grey levels normalised by mean",
    "intensity.std": "grey levels normalised by standard deviation",
}


@dataclass(frozen=True)
class Known:
    """What is known of a plan's runs beside their recipes.

    Attributes:
        methods: Title of the method of each pretraining, by its key in the plan.
        pool_images: Number of images in the pool; None where it is not known.
        parameters: Number of parameters of a backbone as the detector has it, by timm's name.
    """

    methods: Mapping[str, str] = field(default_factory=dict)
    pool_images: int | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)


def differences(
    plan: Plan,
    names: tuple[str, str],
    recipes: tuple[FinetuneRecipe, FinetuneRecipe],
    known: Known,
) -> list[str]:
    """Return in what a treatment differs from its control, a phrase each.

    Args:
        plan: The plan of both.
        names: The treatment and its control.
        recipes: A fine-tuning of each, with the same labels.
        known: What is known of the plan's runs beside.
    """
    phrases = [*_start(plan, names, recipes, known)]
    pools = [_images(plan.treatments[name].unlabelled_pool, known) for name in names]
    for name in SECTIONS[1:]:
        section, control = (getattr(recipe, name, None) for recipe in recipes)
        if section is None and control is not None:
            phrases.append(f"no {_TITLES[name]}")
        elif section is not None and control is None:
            phrases.append(_described(section, name, pools[0]))
        elif section is not None and control is not None:
            if name == "unlabelled" and pools[0] != pools[1]:
                phrases.append(f"teacher on {pools[0]} instead of {pools[1]}")
            phrases += _changes(name, section, control)
    return [*_of_fields(recipes, known), *phrases]


def _of_fields(recipes: tuple[FinetuneRecipe, FinetuneRecipe], known: Known) -> Iterator[str]:
    """Yield differences in the single fields that treatments may set."""
    for name in FIELDS:
        value, before = (_field(recipe, name) for recipe in recipes)
        if value == before:
            continue
        if name == "model.backbone":
            texts = [_backbone(str(field), known) for field in (value, before)]
            yield f"another backbone: {texts[0]} instead of {texts[1]}"
        else:
            yield f"{_FIELD_TITLES[name]} {_text(value)} instead of {_text(before)}"


def _backbone(architecture: str, known: Known) -> str:
    """Return a backbone with its size."""
    number = known.parameters.get(architecture)
    return architecture if number is None else f"{architecture} ({number / 1e6:.1f} M parameters)"


def difference_text(phrases: list[str]) -> str:
    """Return the phrases of `differences` as a list in a sentence."""
    if not phrases:
        return NOTHING
    return phrases[0] if len(phrases) == 1 else f"{'; '.join(phrases[:-1])}; and {phrases[-1]}"


def subject(plan: Plan, name: str) -> str:
    """Return what saves labels or not where a treatment is compared with its control.

    That is pretraining where it is the only difference but for the start, else the treatment's
    title.
    """
    treatment = plan.treatments[name]
    control = plan.treatments[treatment.controls[0]] if treatment.controls else None
    if control is None or treatment.pretraining is None or control.pretraining is not None:
        return treatment.title
    settings = [
        {key: value for key, value in flattened(side.set) if key.split(".")[0] != "init"}
        for side in (treatment, control)
    ]
    pools = treatment.unlabelled_pool, control.unlabelled_pool
    is_pretraining = settings[0] == settings[1] and pools[0] == pools[1]
    return "pretraining" if is_pretraining else treatment.title


def pool_overlap_text(plan: Plan, verb: str) -> str:
    """Return what follows for test images that are in the pool of a plan too.

    Args:
        plan: The plan.
        verb: How pretraining and their pixels met, such as `saw`.
    """
    pretrains = any(section.pool == "external" for section in plan.pretrainings.values())
    teaches = any(section.unlabelled_pool == "external" for section in plan.treatments.values())
    parts = []
    if pretrains or not teaches:
        parts.append(
            f"pretraining {verb} their pixels, if not their labels. Take them out of data.pool."
        )
    if teaches:
        start = "The" if parts else "the"
        parts.append(f"{start} teacher leaves out those that are equal byte for byte.")
    return " ".join(parts)


def _start(
    plan: Plan,
    names: tuple[str, str],
    recipes: tuple[FinetuneRecipe, FinetuneRecipe],
    known: Known,
) -> Iterator[str]:
    """Yield differences of the initial weights, a pretraining of the plan among them."""
    init, control = (recipe.init for recipe in recipes)
    keys = tuple(plan.treatments[name].pretraining for name in names)
    if keys[0] != keys[1]:
        pretraining, before = (_pretraining(plan, key, known) for key in keys)
        if keys[0] is None:
            yield f"no {before}"
        else:
            yield pretraining if keys[1] is None else f"{pretraining} instead of {before}"
    start, before = (_start_text(section) for section in (init, control))
    if start != before:
        yield f"{start} instead of {before} start"
    if init.keep_stages != control.keep_stages:
        kept, before = (
            "all" if n is None else str(n) for n in (init.keep_stages, control.keep_stages)
        )
        yield f"first stages whose weights are kept: {kept} instead of {before}"
    done = {"start", "weights", "keep_stages", *(("backbone",) if any(keys) else ())}
    for name in type(init).model_fields:
        value, other = (getattr(section, name) for section in (init, control))
        if name not in done and value != other:
            title = "published backbone" if name == "backbone" else f"init.{name}"
            yield f"{title} {_text(value)} instead of {_text(other)}"


def _start_text(init: InitSection) -> str:
    """Return a start, with the file that it is from."""
    text = _STARTS.get(init.start, init.start)
    if init.start == "mean_var":
        source = "ImageNet" if init.backbone is None else "the backbone"
        text = f"random weights with mean and variance of {source}"
    return text if init.weights is None else f"{text} ({path_end(init.weights)})"


def _pretraining(plan: Plan, key: str | None, known: Known) -> str:
    """Return a pretraining of the plan, and those before it, in words."""
    if key is None:
        return "pretraining"
    section = plan.pretrainings[key]
    text = f"pretraining {known.methods.get(key, key)} on {_images(section.pool, known)}"
    if section.after is None:
        return text
    return f"{text}, after {_pretraining(plan, section.after, known)}"


def _images(pool: str | None, known: Known) -> str:
    """Return the images of a pool in words."""
    if pool == "external":
        number = "" if known.pool_images is None else f"{known.pool_images:,} "
        return f"the {number}images of the pool"
    if pool == "train":
        return "all training images"
    return "the training images whose labels it does not see"


def _changes(name: str, section: Section, control: Section) -> Iterator[str]:
    """Yield the fields in which two sections differ that both recipes have."""
    fields, others = (dict(flattened(side.model_dump())) for side in (section, control))
    for key in dict.fromkeys((*fields, *others)):
        value, before = fields.get(key), others.get(key)
        if value == before or key == "store":  # which `differences` names by its pool
            continue
        if key == "pseudo_boxes":
            yield f"{_BOXES[str(value)]} instead of {_BOXES[str(before)]}"
        else:
            yield f"{_TITLES[name]} with {key} {_text(value)} instead of {_text(before)}"


def _described(section: Section, name: str, images: str) -> str:
    """Return a section that the control lacks, with its settings."""
    if isinstance(section, AugmentSection):
        return _with("augmentation", _augmentation(section))
    if isinstance(section, PasteSection):
        return _with("pasted small findings", _pasting(section))
    if isinstance(section, EmaSection):
        return f"an average of the weights (decay {section.decay:g})"
    if isinstance(section, UnlabelledSection):
        return _with(f"{_TEACHERS[section.pseudo_boxes]} on {images}", _teacher(section))
    if isinstance(section, GateSection):
        return _with("an image-level gate", _gate(section))
    settings = [f"{key} {_text(value)}" for key, value in flattened(section.model_dump())]
    return _with(_TITLES[name], settings)


def _augmentation(section: AugmentSection) -> Iterator[str]:
    """Yield the parts of an augmentation that change something."""
    if section.scale != (1, 1):
        yield f"scale {_range(section.scale)}"
    if section.shift:
        yield f"shifts up to {100 * section.shift:g} %"
    if section.rotation_degrees:
        yield f"turns up to {section.rotation_degrees:g} degrees"
    yield from _grey_levels(section)
    if section.cutout is not None:
        yield f"up to {section.cutout.most} cut squares"


def _grey_levels(section: AugmentSection) -> Iterator[str]:
    for name, neutral in (("gamma", 1), ("contrast", 1), ("brightness", 0)):
        ends = getattr(section, name)
        if ends != (neutral, neutral):
            yield f"{name} {_range(ends)}"
    if section.blur_sigma_px[1]:
        yield f"blur of {_range(section.blur_sigma_px)} px"
    if section.noise_share[1]:
        yield f"noise of {_range(section.noise_share)} of the mean"


def _pasting(section: PasteSection) -> Iterator[str]:
    yield f"up to {section.most} an image with probability {section.probability:g}"
    yield f"sides up to {100 * section.largest_side:g} % of the image"
    if section.repeats != 1:
        yield f"images with small findings {section.repeats:g} times as often"
    yield f"scale {_range(section.scale)}"
    if section.rotation_degrees:
        yield f"turns up to {section.rotation_degrees:g} degrees"
    if section.within:
        yield f"within {', '.join(section.within)}"


def _teacher(section: UnlabelledSection) -> Iterator[str]:
    yield f"{section.batch_size} a step"
    yield f"score {section.threshold:g} and more"
    yield f"from step {section.burn_in_steps} on"
    ramp = f", reached over {section.ramp_steps} steps" if section.ramp_steps else ""
    yield f"weight {section.weight:g}{ramp}"
    if section.relation_weight:
        yield f"relation consistency with weight {section.relation_weight:g}"
    if section.known_normals:
        yield "no box on films known to be normal"


def _gate(section: GateSection) -> Iterator[str]:
    """Yield what a gate does with p, the probability that an image has a finding."""
    if section.power:
        yield f"scores times p to the power {section.power:g}"
    if section.drop_below:
        yield f"no box on an image with p below {section.drop_below:g}"


def _with(title: str, settings: Iterable[str]) -> str:
    text = ", ".join(settings)
    return f"{title} ({text})" if text else title


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"


def _field(recipe: FinetuneRecipe, name: str) -> object:
    section, _, last = name.partition(".")
    return getattr(getattr(recipe, section), last, None)


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a recipe holds
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Path):
        return str(path_end(value))
    if isinstance(value, tuple):
        is_range = len(value) == 2 and all(isinstance(part, int | float) for part in value)
        return _range(value) if is_range else ", ".join(map(str, value)) or "none"
    return str(value)

"""A plan for own data, sized to a machine, the images and a budget of time.

Seeds, shares of the labels, image size and steps are chosen so that all runs fit into seven tenths
of the budget; the rest is for ingest, scoring, the report, and a machine that is busier than it was
when a step was measured.
"""

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import NamedTuple

import torch

from cxrssl.config.load import flattened, load_recipe, recipe_path
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.config.sizing import DecisionSection, SizingSection, TierSection
from cxrssl.core.devices import device_of_one_process
from cxrssl.core.duration import duration
from cxrssl.core.errors import RecipeError, RunError
from cxrssl.data.tables.source import read_source
from cxrssl.jobs.local import job_environments
from cxrssl.reproduce.checks import check_folder
from cxrssl.reproduce.images import PlanImages
from cxrssl.reproduce.jobs import WEIGHTS_FILE, trainings
from cxrssl.reproduce.resources import Resources

_USED = 0.7
# To start, read and score a run on one core.
_START_S = 25.0
_PRETRAIN_SHARE = 0.25
_LEAST_STEPS, _GOOD_STEPS, _MOST_STEPS = 100, 400, 5000
_LEAST_IMAGES, _LEAST_POOL = 5, 4
# Folds differ by a few images, and an image may fail to be decoded.
_OF_THE_POOL = 0.9
_SEEDS = 3
_SIMCLR = "simclr"
_SSL, _IMAGENET, _RANDOM = "ssl", "imagenet", "random"


class _Size(NamedTuple):
    """Seeds and label fractions of a plan, and how many trainings they come to."""

    seeds: int
    fractions: tuple[float, ...]
    num_pretrainings: int
    num_runs: int
    """Fine-tunings."""


class _Steps(NamedTuple):
    """Seconds of a step of fine-tuning and of pretraining."""

    finetune_s: float
    pretrain_s: float


def sized(plan: Plan, out: Path, resources: Resources) -> Plan:
    """Return a plan with the sizes that fit its budget; one without a section `sizing` as it is.

    What was decided before for this folder is decided again, so that a plan that is called again
    is the same.

    Raises:
        RecipeError: If the plan lacks what is sized.
        RunError: If the budget takes not even the smallest size, there are too few images, or
            `out` holds something else.
        DataError: If the source can't be read.
    """
    sizing = plan.sizing
    if sizing is None:
        return plan
    if sizing.decided is not None:
        return plan
    if {*plan.pretrainings} != {_SIMCLR}:
        raise RecipeError(
            f"a plan with a section sizing has one pretraining, {_SIMCLR}; this one has "
            f"{', '.join(plan.pretrainings) or 'none'}."
        )
    others = sorted(plan.treatments.keys() - {_SSL, _IMAGENET, _RANDOM})
    if others:
        raise RecipeError(
            f"a plan with a section sizing has the starts {_SSL} and {_RANDOM}, and {_IMAGENET} "
            f"where its weights are at hand; this one has {', '.join(others)} too. Take the sizes "
            "that were decided from the plan.yaml of a run, and set sizing to null."
        )
    before = _decided_before(out, sizing)
    if before is not None:
        return applied(plan, out, before)
    check_folder(out, plan)  # to measure takes a while
    return applied(plan, out, _decide(plan, out, sizing, resources))


def _decided_before(out: Path, sizing: SizingSection) -> DecisionSection | None:
    path = out / "plan.yaml"
    if not path.is_file():
        return None
    try:
        previous = load_recipe(path, Plan, overrides=[]).sizing
    except RecipeError:
        return None  # `check_folder` says what is wrong with it
    if previous is None or previous.decided is None:
        return None
    if previous.model_copy(update={"decided": None}) == sizing:
        return previous.decided
    if previous.hours == sizing.hours:
        return None  # `check_folder` says that it is another plan
    raise RunError(
        f"{out} was sized for {duration(3600 * previous.hours)}, and its runs stay so. Say "
        f"--budget {_budget(previous.hours)} to go on there, or name another folder with --out."
    )


def _decide(plan: Plan, out: Path, sizing: SizingSection, resources: Resources) -> DecisionSection:
    """Decide for the largest tier that the budget takes with all seeds, or else for less of all."""
    images = PlanImages(plan, out)
    num_images = images.num_training("corrected", normals=True)
    fractions = tuple(f for f in plan.label_fractions if round(f * num_images) >= _LEAST_IMAGES)
    if len(fractions) < 2:
        raise RunError(
            f"{plan.data.source} has {num_images} training images, and a curve needs two shares of "
            f"them with {_LEAST_IMAGES} or more. Take more images."
        )
    num_pool = _num_pool(plan, num_images + images.num_unread)
    core_s = 3600 * sizing.hours * len(job_environments()) * _USED
    chosen: DecisionSection | None = None
    for number, tier in enumerate(sizing.tiers):
        has_imagenet = (
            tier.imagenet is not None
            and resources.fault_of_start("imagenet", tier.imagenet) is None
        )
        tentative = DecisionSection(
            tier=number,
            seeds=1,
            label_fractions=fractions,
            finetune_steps=_LEAST_STEPS,
            pretrain_steps=_LEAST_STEPS,
            imagenet=has_imagenet,
            images=num_images,
            pool=num_pool,
        )
        seconds = _measured(plan, out, tentative, resources)
        least = _LEAST_STEPS if number == 0 else _GOOD_STEPS
        sizes = _sizes(fractions, plan.data.folds or 1, has_imagenet=has_imagenet)
        fitting = [
            (size, steps)
            for size in (sizes if number == 0 else sizes[:1])
            if (steps := _finetune_steps(size, seconds, core_s)) >= least
        ]
        if not fitting:
            break  # larger tiers take longer
        size, steps = fitting[0]
        chosen = tentative.model_copy(
            update={
                "seeds": size.seeds,
                "label_fractions": size.fractions,
                "finetune_steps": steps,
                "pretrain_steps": _pretrain_steps(size, seconds, core_s),
            }
        )
    if chosen is None:
        needed = _core_seconds(sizes[-1], seconds, _LEAST_STEPS) / (core_s / sizing.hours)
        raise RunError(
            f"a budget of {duration(3600 * sizing.hours)} is too small for {plan.name} on this "
            f"machine: the smallest size, {sizes[-1].num_runs} trainings of {_LEAST_STEPS} steps, "
            f"takes about {duration(3600 * needed)}. Say --budget {_budget(1.2 * needed)}."
        )
    return chosen


def _num_pool(plan: Plan, num_train: int) -> int:
    """Return how many images are pretrained on.

    Raises:
        RunError: If there are fewer than two.
    """
    pool = plan.data.pool
    count = num_train if pool is None else len(read_source(pool, layout="images").files)
    if count < _LEAST_POOL:
        raise RunError(f"{count} image(s) to pretrain on are too few. Take {_LEAST_POOL} or more.")
    return count


def _budget(hours: float) -> str:
    """Return hours as `--budget` takes them, rounded up."""
    return f"{ceil(60 * hours - 1e-6)}m" if hours < 2 else f"{ceil(10 * hours - 1e-6) / 10:g}h"


def _sizes(fractions: tuple[float, ...], num_folds: int, *, has_imagenet: bool) -> list[_Size]:
    """Return the seeds and shares that a plan may have, in the order in which they are tried."""
    few = (fractions[0], *fractions[-2:]) if len(fractions) > 3 else fractions
    # Of a random start, beside ImageNet, the ends of the curve are enough.
    extra = 2 if has_imagenet else 0
    return [
        _Size(seeds, shares, num_folds * seeds, num_folds * seeds * (2 * len(shares) + extra))
        for seeds, shares in ((_SEEDS, fractions), (2, fractions), (2, few), (1, few))
    ]


def _finetune_steps(size: _Size, seconds: _Steps, core_s: float) -> int:
    """Return how many steps each fine-tuning can have."""
    left = core_s * (1 - _PRETRAIN_SHARE) - size.num_runs * _START_S
    return _rounded(left / size.num_runs / seconds.finetune_s)


def _pretrain_steps(size: _Size, seconds: _Steps, core_s: float) -> int:
    left = core_s * _PRETRAIN_SHARE / size.num_pretrainings - _START_S
    return max(20, _rounded(left / seconds.pretrain_s))


def _core_seconds(size: _Size, seconds: _Steps, steps: int) -> float:
    """Return what a size takes on one core."""
    finetuning = size.num_runs * (_START_S + steps * seconds.finetune_s)
    return finetuning / (1 - _PRETRAIN_SHARE)


def _rounded(steps: float) -> int:
    """Return a number of steps, whole tens, within what makes sense."""
    return int(max(0.0, min(steps, _MOST_STEPS)) // 10 * 10)


def _measured(plan: Plan, out: Path, decision: DecisionSection, resources: Resources) -> _Steps:
    """Measure a step of a tier's trainings on this machine, as one of several runs at once."""
    device = device_of_one_process()
    if device.type == "cpu":
        torch.set_num_threads(1)  # as the jobs have
    seconds: dict[str, float] = {}
    for run in trainings(applied(plan, out, decision), out):
        command = run.job.arguments[0]
        if command not in seconds:
            an_image = resources.timed[command](run.recipe, device)
            seconds[command] = an_image * run.recipe.batch_size
    return _Steps(seconds["finetune"], seconds["pretrain"])


def applied(plan: Plan, out: Path, decision: DecisionSection) -> Plan:
    """Return a plan with its sizes as they were decided."""
    sizing = plan.sizing
    assert sizing is not None  # as every plan that is sized has
    tier, content = sizing.tiers[decision.tier], plan.model_dump()
    section = content["pretrainings"][_SIMCLR]
    images = max(1, round(min(decision.label_fractions) * decision.images))
    recipe = load_recipe(recipe_path(plan.finetuning.recipe), FinetuneRecipe, overrides=[])
    sizes = _merged(plan.finetuning.set, tier.finetuning)
    batch_size = int(str(sizes.get("batch_size", recipe.batch_size)))
    finetuning: dict[str, object] = {
        "max_steps": decision.finetune_steps,
        "epochs": -(-decision.finetune_steps * batch_size // images) + 1,
        "optim.warmup_steps": decision.finetune_steps // 10,
    }
    least_pool = max(2, int(decision.pool * _OF_THE_POOL))
    pretraining: dict[str, object] = {
        "batch_size": min(_pretrain_batch_size(plan, tier), least_pool),
        "max_steps": decision.pretrain_steps,
        "optim.warmup_steps": decision.pretrain_steps // 10,
    }
    weights = out / WEIGHTS_FILE
    starts = _starts(decision, weights)
    if decision.imagenet:
        pretraining |= {"body.start": "imagenet", "body.weights": str(weights)}
    plan_set = content["finetuning"]["set"]
    content["finetuning"]["set"] = _merged(plan_set, tier.finetuning, finetuning)
    section["set"] = _merged(section["set"], tier.pretraining, pretraining)
    section["pool"] = "train" if plan.data.pool is None else "external"
    content["data"]["size_px"] = tier.size_px
    fractions = decision.label_fractions
    content |= {
        "treatments": starts,
        "label_fractions": fractions,
        "seeds": tuple(range(decision.seeds)),
    }
    content["answer"]["label_fraction"] = sorted(fractions)[1 if len(fractions) > 2 else 0]
    content["sizing"]["decided"] = decision.model_dump()
    return Plan.model_validate(content)


def _pretrain_batch_size(plan: Plan, tier: TierSection) -> int:
    section = plan.pretrainings[_SIMCLR]
    recipe = load_recipe(recipe_path(section.recipe), PretrainRecipe, overrides=[])
    sizes = _merged(section.set, tier.pretraining)
    return int(str(sizes.get("batch_size", recipe.batch_size)))


def _starts(decision: DecisionSection, weights: Path) -> dict[str, dict[str, object]]:
    """Return the starts of a sized plan, as its treatments."""
    random: dict[str, object] = {"title": "random start"}
    if not decision.imagenet:
        ssl: dict[str, object] = {
            "title": "SimCLR", "pretraining": _SIMCLR, "controls": (_RANDOM,)
        }  # fmt: skip
        return {_SSL: ssl, _RANDOM: random}
    ends = min(decision.label_fractions), max(decision.label_fractions)
    return {
        _SSL: {
            "title": "SimCLR from ImageNet", "pretraining": _SIMCLR, "controls": (_IMAGENET,)
        },
        _IMAGENET: {
            "title": "ImageNet", "set": {"init.start": "imagenet", "init.weights": str(weights)}
        },
        _RANDOM: random | {"label_fractions": ends},
    }  # fmt: skip


def _merged(*sets: Mapping[str, object]) -> dict[str, object]:
    merged: dict[str, object] = {}
    for fields in sets:
        merged |= dict(flattened(fields))
    return merged

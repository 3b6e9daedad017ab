"""`cxrssl reproduce --dry-run`: every run of a plan, and about what it costs on this machine.

What an image takes in a training step is measured here, on noise, with the recipe's network at the
recipe's size; how many images there are is read from the store, or from the table if nothing has
been ingested yet. Scoring, starting and reading data come on top: `_START_S` a run.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.devices import device_of_one_process
from cxrssl.core.duration import duration
from cxrssl.data.store import Store
from cxrssl.data.tables.source import read_source
from cxrssl.jobs.local import places
from cxrssl.reproduce.checks import check, check_folder
from cxrssl.reproduce.cost_table import CostRow, print_cost_table
from cxrssl.reproduce.images import PlanImages, check_images
from cxrssl.reproduce.jobs import POOL, Training, data_jobs, trainings

Recipe = PretrainRecipe | FinetuneRecipe
Timed = Callable[[Any, torch.device], float]
"""Returns the seconds that an image takes in a training step of a recipe."""
_START_S = 15.0


def print_costs(plan: Plan, out: Path, *, timed: Mapping[str, Timed]) -> None:
    """Print every run and its cost; nothing is run and nothing written.

    Args:
        plan: Checked as `reproduce` does.
        out: Where the runs would be.
        timed: By command, `pretrain` and `finetune`.

    Raises:
        RecipeError: If a recipe is missing or does not fit.
        RunError: If the runs don't fit together, or the images won't do for them.
    """
    runs = trainings(plan, out)
    check(plan, runs)
    check_folder(out, plan)
    images = PlanImages(plan, out)
    check_images(images, runs)
    at_once = places()
    device = device_of_one_process()
    if device.type == "cpu":
        torch.set_num_threads(1)  # as the jobs have
    pool, seconds = _pool(plan, out), _seconds(runs, device, timed)
    rows = [CostRow(job.name, "", job.done, None) for job in data_jobs(plan, out)]
    total, repeats = 0.0, dict[object, float]()
    for run in runs:
        visits = run.visits(labelled=_epoch_visits(images, run.recipe, repeats), pool=pool)
        cost = visits * seconds[_key(run.recipe)] + _START_S
        total += 0.0 if run.job.done else cost
        what = f"{visits // run.recipe.batch_size} steps of {run.recipe.batch_size} images"
        rows.append(CostRow(run.job.name, what, run.job.done, cost))
    where = f"{device.type}, one thread a run" if device.type == "cpu" else device.type
    print_cost_table(
        f"{plan.name}: {len(rows)} jobs, {sum(row.is_done for row in rows)} done",
        rows,
        f"Left: about {duration(total)} of work, {duration(total / len(at_once))} with "
        f"{len(at_once)} runs at once on this machine ({where}), measured on noise just now. "
        f"About {_counts(images, runs)}" + (f", {pool} in the pool." if pool else "."),
    )


def _training_images(images: PlanImages, recipe: Recipe) -> int:
    return images.num_training(recipe.data.protocol, normals=recipe.data.normals)


def _epoch_visits(images: PlanImages, recipe: Recipe, repeats: dict[object, float]) -> int:
    """Return how many images an epoch visits if it sees all labels; fills `repeats` by settings."""
    number = _training_images(images, recipe)
    if not isinstance(recipe, FinetuneRecipe):
        return number
    data = recipe.data
    key = data.protocol, data.normals, data.oversample_threshold, data.oversample_rounding
    if key not in repeats:
        repeats[key] = images.mean_repeats(data)
    return round(number * repeats[key])


def _counts(images: PlanImages, runs: Sequence[Training]) -> str:
    """Say how many images train, and by which count where the recipes of a plan differ."""
    counts = {
        run.recipe.data.normals: _training_images(images, run.recipe)
        for run in runs
        if run.recipe.data.store.name != POOL
    }
    if len(counts) == 1:
        return f"{next(iter(counts.values()))} training images"
    return f"{counts[False]} training images with findings, {counts[True]} with and without"


def _pool(plan: Plan, out: Path) -> int:
    if all(section.pool != "external" for section in plan.pretrainings.values()):
        return 0
    if (out / "pool" / "manifest.json").is_file():
        return len(Store(out / "pool"))
    assert plan.data.pool is not None  # the schema wants one
    return len(read_source(plan.data.pool, layout="images").files)


def _seconds(
    runs: Sequence[Training], device: torch.device, timed: Mapping[str, Timed]
) -> dict[str, float]:
    """Return the seconds an image takes, measured once for each network and size."""
    seconds: dict[str, float] = {}
    for run in runs:
        key = _key(run.recipe)
        if key not in seconds:
            seconds[key] = timed[run.job.arguments[0]](run.recipe, device)
    return seconds


def _key(recipe: Recipe) -> str:
    parts = {"model", "body", "method"}
    size = recipe.size_px if isinstance(recipe, FinetuneRecipe) else recipe.views.size_px
    network = recipe.model_dump(mode="json", include=parts)
    return json.dumps([recipe.task, size, network], sort_keys=True)

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
from rich.console import Console
from rich.table import Table

from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.devices import device_of_one_process
from cxrssl.core.duration import duration
from cxrssl.data.store import Store
from cxrssl.data.tables.source import read_source
from cxrssl.jobs.local import job_environments
from cxrssl.reproduce.checks import check, check_folder
from cxrssl.reproduce.images import PlanImages, check_images
from cxrssl.reproduce.jobs import POOL, Training, data_jobs, trainings

Recipe = PretrainRecipe | FinetuneRecipe
Timed = Callable[[Any, torch.device], float]
"""Returns the seconds that an image takes in a training step of a recipe."""
_START_S = 15.0


def print_costs(plan: Plan, out: Path, *, timed: Mapping[str, Timed]) -> None:
    """Print every run and its cost; nothing is run and nothing written.

    Args:
        plan: The plan; it is checked as `reproduce` checks it.
        out: Where the runs would be.
        timed: Measures the seconds an image takes, by command: `pretrain` and `finetune`.

    Raises:
        RecipeError: If a recipe is missing or does not fit.
        RunError: If the runs don't fit together, or the images won't do for them.
    """
    runs = trainings(plan, out)
    check(plan, runs)
    check_folder(out, plan)
    images = PlanImages(plan, out)
    check_images(images, runs)
    environments = job_environments()
    device = device_of_one_process()
    if device.type == "cpu":
        torch.set_num_threads(1)  # as the jobs have
    pool, seconds = _num_pool_images(plan, out), _image_seconds(runs, device, timed)
    jobs = [*data_jobs(plan, out), *(run.job for run in runs)]
    num_done = sum(job.done for job in jobs)
    table = Table("job", "what", title=f"{plan.name}: {len(jobs)} jobs, {num_done} done")
    table.add_column("about", justify="right")
    for job in data_jobs(plan, out):
        table.add_row(job.name, "", "done" if job.done else "")
    total, repeats = 0.0, dict[object, float]()
    for run in runs:
        visits = run.visits(labelled=_epoch_visits(images, run.recipe, repeats), pool=pool)
        cost = visits * seconds[_network_key(run.recipe)] + _START_S
        total += 0.0 if run.job.done else cost
        steps_text = f"{visits // run.recipe.batch_size} steps of {run.recipe.batch_size} images"
        table.add_row(run.job.name, steps_text, "done" if run.job.done else duration(cost))
    device_text = f"{device.type}, one thread a run" if device.type == "cpu" else device.type
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Left: about {duration(total)} of work, {duration(total / len(environments))} with "
        f"{len(environments)} runs at once on this machine ({device_text}), measured on noise just "
        f"now. About {_counts_text(images, runs)}" + (f", {pool} in the pool." if pool else "."),
        markup=False,
        soft_wrap=True,
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


def _counts_text(images: PlanImages, runs: Sequence[Training]) -> str:
    """Return the number of training images in words; recipes with and without normals apart."""
    counts = {
        run.recipe.data.normals: _training_images(images, run.recipe)
        for run in runs
        if run.recipe.data.store.name != POOL
    }
    if len(counts) == 1:
        return f"{next(iter(counts.values()))} training images"
    return f"{counts[False]} training images with findings, {counts[True]} with and without"


def _num_pool_images(plan: Plan, out: Path) -> int:
    if all(section.pool != "external" for section in plan.pretrainings.values()):
        return 0
    if (out / "pool" / "manifest.json").is_file():
        return len(Store(out / "pool"))
    assert plan.data.pool is not None  # the schema wants one
    return len(read_source(plan.data.pool, layout="images").files)


def _image_seconds(
    runs: Sequence[Training], device: torch.device, timed: Mapping[str, Timed]
) -> dict[str, float]:
    """Return the seconds an image takes, measured once for each network and size."""
    seconds: dict[str, float] = {}
    for run in runs:
        network = _network_key(run.recipe)
        if network not in seconds:
            seconds[network] = timed[run.job.arguments[0]](run.recipe, device)
    return seconds


def _network_key(recipe: Recipe) -> str:
    parts = {"model", "body", "method"}
    size = recipe.size_px if isinstance(recipe, FinetuneRecipe) else recipe.views.size_px
    network = recipe.model_dump(mode="json", include=parts)
    return json.dumps([recipe.task, size, network], sort_keys=True)

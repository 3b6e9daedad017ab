"""`cxrssl reproduce --dry-run`: every run of a plan, and about what it costs on this machine.

What an image takes in a training step is measured here, on noise, with the recipe's network at the
recipe's size; how many images there are is read from the store, or from the table if nothing has
been ingested yet. Scoring, starting and reading data come on top: `_START_S` a run.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from cxrssl.reproduce.jobs import POOLS, Training, data_jobs, trainings
from cxrssl.reproduce.outlook import outlook, treatments_in_words
from cxrssl.reproduce.resources import Resources
from cxrssl.reproduce.same_sources import check_same_sources
from cxrssl.reproduce.sizing import sized

Recipe = PretrainRecipe | FinetuneRecipe
_START_S = 15.0
_SEED_OR_FOLD = re.compile(r"(-fold\d+)?-seed\d+$")


def print_costs(plan: Plan, out: Path, resources: Resources) -> None:
    """Print the runs of a plan, their cost and what they would say; nothing is run or written.

    Args:
        plan: The plan; it is sized and checked as `reproduce` does it.
        out: Where the runs would be.
        resources: What it can count on.

    Raises:
        RecipeError: If a recipe is missing or does not fit.
        RunError: If the runs don't fit together, the images won't do for them, or the source has
            changed since the store of `out` was made.
    """
    plan = sized(plan, out, resources)
    runs = trainings(plan, out)
    check(plan, runs, resources)
    check_folder(out, plan)
    check_same_sources(plan, out)
    images = PlanImages(plan, out)
    check_images(images, runs)
    num_parallel, device = len(job_environments()), device_of_one_process()
    if device.type == "cpu":
        torch.set_num_threads(1)  # as the jobs have
    pool, seconds = _num_pool_images(plan, out), _image_seconds(runs, device, resources)
    jobs = [*data_jobs(plan, out), *(run.job for run in runs)]
    num_done = sum(job.done for job in jobs)
    table = Table("runs", "each", title=f"{plan.name}: {len(jobs)} jobs, {num_done} done")
    for name in ("left", "about"):
        table.add_column(name, justify="right")
    for job in data_jobs(plan, out):
        table.add_row(job.name, "", "done" if job.done else "1", "")
    total, repeats = 0.0, dict[object, float]()
    rows: dict[tuple[str, str], _Row] = {}
    for run in runs:
        labelled = _epoch_visits(images, run.recipe, repeats)
        visits = run.visits(labelled=labelled, pool=pool)
        steps_text = f"{visits // run.recipe.batch_size} steps of {run.recipe.batch_size} images"
        row = rows.setdefault((_SEED_OR_FOLD.sub("", run.job.name), steps_text), _Row())
        row.num_runs += 1
        if not run.job.done:
            row.num_left += 1
            work = run.work(labelled=labelled, pool=pool)
            row.cost_s += work * seconds[_network_key(run.recipe)] + _START_S
    for (name, steps_text), row in rows.items():
        left = f"{row.num_left} of {row.num_runs}" if row.num_left else "done"
        table.add_row(name, steps_text, left, duration(row.cost_s) if row.num_left else "")
        total += row.cost_s
    device_text = f"{device.type}, one thread a run" if device.type == "cpu" else device.type
    console = Console(highlight=False)
    console.print(table)
    lines = [
        f"Left: about {duration(total)} of work, {duration(total / num_parallel)} with "
        f"{num_parallel} runs at once on this machine ({device_text}), measured on noise just "
        f"now. About {_counts_text(images, runs)}" + (f", {pool} in the pool." if pool else "."),
        *_sizing_lines(plan),
        *treatments_in_words(plan, runs, pool),
        *outlook(plan, images, runs),
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


@dataclass
class _Row:
    """Runs that differ by seed and fold alone: how many there are, are left, and their cost."""

    num_runs: int = 0
    num_left: int = 0
    cost_s: float = 0.0


def _sizing_lines(plan: Plan) -> Iterator[str]:
    """Yield what was decided for a sized plan."""
    if plan.sizing is None or plan.sizing.decided is None:
        return
    decided, tier = plan.sizing.decided, plan.sizing.tiers[plan.sizing.decided.tier]
    shares = ", ".join(f"{100 * fraction:g} %" for fraction in decided.label_fractions)
    imagenet = f"ImageNet weights of {tier.imagenet} are"
    yield (
        f"Sized for {duration(3600 * plan.sizing.hours)}: {tier.title}, {decided.seeds} seed(s), "
        f"shares {shares} of {decided.images} training images. {imagenet} "
        f"{'at hand' if decided.imagenet else 'not at hand, so that no run starts from them'}."
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
        if run.recipe.data.store.name not in POOLS
    }
    if len(counts) == 1:
        return f"{next(iter(counts.values()))} training images"
    return f"{counts[False]} training images with findings, {counts[True]} with and without"


def _num_pool_images(plan: Plan, out: Path) -> int:
    if not plan.uses_pool:
        return 0
    if (out / "pool" / "manifest.json").is_file():
        return len(Store(out / "pool"))
    if plan.data.pool_phantom is not None:
        return plan.data.pool_phantom.images
    assert plan.data.pool is not None  # the schema wants one
    return len(read_source(plan.data.pool, layout="images").files)


def _image_seconds(
    runs: Sequence[Training], device: torch.device, resources: Resources
) -> dict[str, float]:
    """Return the seconds an image takes, measured once for each network and size."""
    seconds: dict[str, float] = {}
    for run in runs:
        network = _network_key(run.recipe)
        if network not in seconds:
            seconds[network] = resources.timed[run.job.arguments[0]](run.recipe, device)
    return seconds


def _network_key(recipe: Recipe) -> str:
    parts = {"model", "body", "method"}
    size = recipe.size_px if isinstance(recipe, FinetuneRecipe) else recipe.views.size_px
    network = recipe.model_dump(mode="json", include=parts)
    return json.dumps([recipe.task, size, network], sort_keys=True)

"""Checks before a plan begins, which report all faults at once."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from cxrssl.config.arms import arms_of, pairs_of
from cxrssl.config.comparable import unequal
from cxrssl.config.load import (
    flattened,
    load_recipe,
    load_run_recipe,
    map_paths,
    path_end,
    to_yaml,
)
from cxrssl.config.moved import MOVED
from cxrssl.config.plan import Plan, PretrainingSection
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import CxrsslError, HubError, RecipeError, RunError
from cxrssl.core.files import write_text
from cxrssl.core.hub_address import is_on_hub
from cxrssl.hub.pull import fetch, fetch_weights
from cxrssl.models.initial_weights import check_published
from cxrssl.reproduce.jobs import POOLS, WEIGHTS, Training
from cxrssl.reproduce.resources import Resources
from cxrssl.run.folder import check_no_file_in_path

# Folders that a plan makes: without a plan.yaml beside them they are not those of a plan.
_PLAN_FOLDERS = ("store", *POOLS, "phantom", "phantom-pool", "folds")


def check_folder(out: Path, plan: Plan) -> None:
    """Check that a folder is free, or holds this plan or one that it has grown from.

    Raises:
        RunError: If the folder holds something else, or is a file.
    """
    check_no_file_in_path(out)
    path = out / "plan.yaml"
    if not path.is_file():
        folder_names = [name for name in _PLAN_FOLDERS if (out / name).exists()]
        if folder_names or any(out.glob("*-seed*")):
            raise RunError(
                f"{out} holds {', '.join(folder_names) or 'runs'} and no plan.yaml, so it is not "
                "the folder of a plan. Name another folder with --out."
            )
        return
    try:
        previous = load_recipe(path, Plan, overrides=[])
    except RecipeError as error:
        raise RunError(
            f"{path} is not a plan of this version: {error} Name another folder with --out."
        ) from error
    changed = list(_changed(previous, plan))
    if changed:
        raise RunError(
            f"{out} holds runs of another plan: {', '.join(changed)} differ (see {path}). Name "
            "another folder with --out, or delete it to begin anew. A plan that is there may "
            "grow by label_fractions, seeds and faults."
        )


def write_plan(out: Path, plan: Plan, trainings: Sequence[Training]) -> None:
    """Write the plan into its folder, which is new or holds an earlier state of this plan.

    Unfinished runs get the paths that the folder has now, in case it was moved.

    Raises:
        RunError: If the folder holds runs of another plan.
    """
    check_folder(out, plan)
    path, text = out / "plan.yaml", to_yaml(plan)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    for run in trainings:
        path, recipe_yaml = run.folder / "recipe.yaml", to_yaml(run.recipe)
        is_unfinished = path.is_file() and not run.job.done
        if is_unfinished and path.read_text(encoding="utf-8") != recipe_yaml:
            write_text(path, recipe_yaml)  # `check` has seen that it is the same run


def _changed(previous: Plan, plan: Plan) -> Iterator[str]:
    """Yield the fields in which a plan differs from the one that its folder holds."""
    for name in Plan.model_fields:
        old, new = getattr(previous, name), getattr(plan, name)
        match name:
            case "label_fractions" | "seeds" | "faults":  # a plan may grow
                is_equal = set(old) <= set(new)
            case "answer":  # targets and reading times may be asked for later
                old, new = ((a.metric, a.label_fraction) for a in (old, new))
                is_equal = old == new
            case "slurm" | "gallery_images":  # they change no run
                is_equal = True
            case "pretrainings":
                is_equal = _in_new_form(old) == _in_new_form(new)
            case "data":
                old, new = (map_paths(data.model_dump(), Path.resolve) for data in (old, new))
                is_equal = old == new
            case _:
                is_equal = old == new
        if not is_equal:
            yield name


def _in_new_form(pretrainings: Mapping[str, PretrainingSection]) -> object:
    """Return a plan's pretrainings with the current names of the fields that they set."""
    return {
        name: section.model_dump()
        | {"set": {MOVED.get(key, key): value for key, value in flattened(section.set)}}
        for name, section in pretrainings.items()
    }


def check(plan: Plan, trainings: Sequence[Training], resources: Resources) -> None:
    """Check that the runs of a plan fit together, and that files, folders and weights are there.

    Raises:
        RunError: With all faults.
    """
    by_name = {run.job.name: run for run in trainings}
    run_faults = [fault for run in trainings for fault in _run_faults(run, by_name)]
    start_faults = _missing_starts(trainings, resources)
    faults = list(
        dict.fromkeys(
            [
                *_missing_folders(plan),
                *_missing_arms(plan),
                *run_faults,
                *start_faults,
                *_unequal_pairs(plan, by_name),
            ]
        )
    )
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults[:20])
        raise RunError(f"the plan can't run, and nothing has been trained:\n{lines}")


def _unequal_pairs(plan: Plan, by_name: Mapping[str, Training]) -> Iterator[str]:
    """Yield each treatment that differs from a control in what no treatment may change, once."""
    seen = set()
    for arm, control in pairs_of(plan):
        names = arm.treatment, control.treatment
        recipes = [by_name[run.name].recipe for run in (arm, control)]
        first, second = recipes
        if names in seen or not isinstance(first, FinetuneRecipe):
            continue
        assert isinstance(second, FinetuneRecipe)  # as every arm is
        faults = unequal(first, second)
        if faults:
            seen.add(names)
            texts = "; ".join(faults)
            yield f"{arm.name} can't be compared with its control {control.name}: {texts}."


def _missing_folders(plan: Plan) -> Iterator[str]:
    for name in ("source", "pool"):
        folder: Path | None = getattr(plan.data, name)
        if folder is not None and not folder.is_dir():
            yield f"data.{name} is {folder}, and there is no such folder: --set data.{name}=FOLDER"


def _missing_arms(plan: Plan) -> Iterator[str]:
    """Yield the arms that the answer needs and the plan does not have."""
    if plan.main is None:
        return
    fractions: dict[str, set[float]] = {}
    for arm in arms_of(plan):
        if not arm.faults:
            fractions.setdefault(arm.treatment, set()).add(arm.label_fraction)
    control = plan.treatments[plan.main].controls[0]
    fraction = plan.answer.label_fraction
    if fraction not in fractions.get(plan.main, set()):
        yield (
            f"the answer is about {plan.main} with {fraction:g} of the labels, and it has no arm "
            "there: set answer.label_fraction to a share that it has (where the pool is the rest, "
            "below 1)."
        )
    if len(fractions.get(control, set())) < 2:
        yield (
            f"the control {control} has arms at {len(fractions.get(control, set()))} label share, "
            "and labels saved are read off its curve: give it two label_fractions or more."
        )


def _run_faults(run: Training, by_name: Mapping[str, Training]) -> Iterator[str]:
    recipe = run.recipe
    written = run.folder / "recipe.yaml"
    if written.is_file() and not _is_same_recipe(written, recipe):
        yield (
            f"{run.folder} holds a run of another recipe (see {written}). Delete that folder, "
            "or name another with --out."
        )
    yield from _missing_initial_weights(run)
    for need in run.job.needs:
        previous = by_name.get(need)
        if previous is None:
            continue
        if previous.recipe.backbone != recipe.backbone:
            yield (
                f"{run.job.name} has the backbone {recipe.backbone}, and what it starts from "
                f"{previous.recipe.backbone}. Name one in both recipes."
            )
        if previous.recipe.intensity != recipe.intensity:
            yield (
                f"{run.job.name} sees other grey levels than what it starts from: make the "
                "section intensity of both recipes equal."
            )


def _missing_initial_weights(run: Training) -> Iterator[str]:
    """Yield the initial weights of a run that are missing; those on the Hub are fetched now."""
    recipe = run.recipe
    if isinstance(recipe, FinetuneRecipe):
        weights, backbone = recipe.init.weights, recipe.init.backbone
        is_file = True
    else:
        weights, backbone = recipe.body.weights, None
        is_file = recipe.body.start != "run"
    for source in (weights, backbone):
        if source is not None and is_on_hub(source):
            fault = _hub_fault(source, is_file=is_file and source == weights)
            if fault is not None:
                yield f"{source} is to be started from: {fault}"
    is_made = WEIGHTS in run.job.needs
    if weights is not None and is_file and not is_made and _is_missing(weights):
        yield f"{run.job.name} starts from {weights}, and there is no such file."
    elif weights is not None and is_file:
        fault = _published_fault(_start_of(recipe), recipe.backbone, weights)
        if fault is not None:
            yield f"{run.job.name}: {fault}"


def _start_of(recipe: PretrainRecipe | FinetuneRecipe) -> str:
    return recipe.init.start if isinstance(recipe, FinetuneRecipe) else recipe.body.start


@cache
def _published_fault(start: str, architecture: str, weights: Path) -> str | None:
    """Return why published weights are not those of an architecture, as far as they say it."""
    if start != "published":
        return None
    try:
        named = fetch_weights(weights)
        assert named.file is not None  # as one is named
        check_published(architecture, named.file, source=str(named.source))
    except HubError:
        return None  # which is told with the address
    except CxrsslError as error:
        return str(error)
    return None


def _missing_starts(trainings: Sequence[Training], resources: Resources) -> Iterator[str]:
    """Yield each published start that runs have and that can't be had, once."""
    starts: dict[tuple[str, str], list[str]] = {}
    for run in trainings:
        recipe = run.recipe
        section = recipe.init if isinstance(recipe, FinetuneRecipe) else recipe.body
        is_published = section.start in ("imagenet", "coco", "mean_var") and section.weights is None
        replaced = isinstance(recipe, FinetuneRecipe) and recipe.init.backbone is not None
        if is_published and not replaced and not run.job.done:
            published = "imagenet" if section.start == "mean_var" else section.start
            starts.setdefault((published, recipe.backbone), []).append(run.job.name)
    for (start, architecture), names in starts.items():
        fault = resources.fault_of_start(start, architecture)
        if fault is not None:
            yield f"{len(names)} run(s), such as {names[0]}, start from {start}: {fault}"


def _is_missing(weights: Path) -> bool:
    return not is_on_hub(weights) and not weights.is_file()


@cache
def _hub_fault(address: Path, *, is_file: bool) -> str | None:
    """Fetch a repository of the Hub, once for all runs, and return the error if it fails."""
    try:
        if is_file:
            fetch_weights(address)
        else:
            fetch(address)
    except HubError as error:
        return str(error)
    return None


def _is_same_recipe(written: Path, recipe: PretrainRecipe | FinetuneRecipe) -> bool:
    """Return whether the recipe of a run folder equals a recipe, apart from the folder's place."""
    try:
        written_recipe = load_run_recipe(written.parent, type(recipe))
    except CxrsslError:
        return False
    written_fields, fields = (
        map_paths(fields.model_dump(), path_end) for fields in (written_recipe, recipe)
    )
    return written_fields == fields

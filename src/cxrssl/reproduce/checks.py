"""What is checked before a plan begins: all faults at once, and nothing has been trained yet."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath

from cxrssl.config.arms import arms_of
from cxrssl.config.load import load_recipe, load_run_recipe, to_yaml
from cxrssl.config.moved import MOVED
from cxrssl.config.plan import Plan, PretrainingSection
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import CxrsslError, HubError, RecipeError, RunError
from cxrssl.core.files import write_text
from cxrssl.core.hub_address import is_on_hub
from cxrssl.hub.pull import fetched
from cxrssl.reproduce.jobs import Training, flat
from cxrssl.run.folder import check_no_file

# A plan may grow by these, and its jobs may ask for other machines: what is done stays true.
_MAY_GROW = ("label_fractions", "seeds", "faults")
_MAY_CHANGE = ("slurm", "gallery_images")
# What a plan makes in its folder: without its plan.yaml they are someone else's.
_MADE = ("store", "pool", "phantom")


def check_folder(out: Path, plan: Plan) -> None:
    """Check that a folder is free, or holds this plan or one that it has grown from.

    Raises:
        RunError: If the folder holds something else, or is a file.
    """
    check_no_file(out)
    path = out / "plan.yaml"
    if not path.is_file():
        found = [name for name in _MADE if (out / name).exists()]
        if found or any(out.glob("*-seed*")):
            raise RunError(
                f"{out} holds {', '.join(found) or 'runs'} and no plan.yaml, so it is no plan's. "
                "Name another folder with --out."
            )
        return
    try:
        before = load_recipe(path, Plan, overrides=[])
    except RecipeError as error:
        raise RunError(
            f"{path} is no plan of this version: {error} Name another folder with --out."
        ) from error
    changed = list(_changed(before, plan))
    if changed:
        raise RunError(
            f"{out} holds runs of another plan: {', '.join(changed)} differ (see {path}). Name "
            "another folder with --out, or delete it to begin anew. A plan that is there may "
            "grow by label_fractions, seeds and faults."
        )


def claim(out: Path, plan: Plan, trainings: Sequence[Training]) -> None:
    """Make `out` this plan's folder, or let the plan in it grow.

    Runs that were begun when the folder lay elsewhere get the paths that it has now.

    Raises:
        RunError: If the folder holds runs of another plan.
    """
    check_folder(out, plan)
    path, text = out / "plan.yaml", to_yaml(plan)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    for one in trainings:
        written, own = one.folder / "recipe.yaml", to_yaml(one.recipe)
        if written.is_file() and not one.job.done and written.read_text(encoding="utf-8") != own:
            write_text(written, own)  # `check` has seen that it is the same run


def _changed(before: Plan, after: Plan) -> Iterator[str]:
    for name in type(after).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if name in _MAY_CHANGE or old == new:
            continue
        if name in _MAY_GROW and set(old) <= set(new):
            continue
        if name == "pretrainings" and _new_form(old) == _new_form(new):
            continue
        if name == "data" and _absolute(old.model_dump()) == _absolute(new.model_dump()):
            continue
        yield name


def _new_form(pretrainings: Mapping[str, PretrainingSection]) -> object:
    """Return a plan's pretrainings with what they set under the names that it has now."""
    return {
        name: section.model_dump()
        | {"set": {MOVED.get(key, key): value for key, value in flat(section.set)}}
        for name, section in pretrainings.items()
    }


def _absolute(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _absolute(one) for key, one in value.items()}
    return value.resolve() if isinstance(value, Path) else value


def check(plan: Plan, trainings: Sequence[Training]) -> None:
    """Check that runs fit together, that their files exist, and that no folder is another run's.

    Raises:
        RunError: With all faults.
    """
    by_name = {one.job.name: one for one in trainings}
    found = [fault for one in trainings for fault in _faults(one, by_name)]
    faults = list(dict.fromkeys([*_missing_folders(plan), *_missing_arms(plan), *found]))
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults[:20])
        raise RunError(f"the plan can't run, and nothing has been trained:\n{lines}")


def _missing_folders(plan: Plan) -> Iterator[str]:
    for name in ("source", "pool"):
        folder: Path | None = getattr(plan.data, name)
        if folder is not None and not folder.is_dir():
            yield f"data.{name} is {folder}, and there is no such folder: --set data.{name}=FOLDER"


def _missing_arms(plan: Plan) -> Iterator[str]:
    """Yield what the answer would need and the plan has no arm for."""
    if plan.main is None:
        return
    at: dict[str, set[float]] = {}
    for arm in arms_of(plan):
        if not arm.faults:
            at.setdefault(arm.initialisation, set()).add(arm.label_fraction)
    control = plan.initialisations[plan.main].controls[0]
    fraction = plan.answer.label_fraction
    if fraction not in at.get(plan.main, set()):
        yield (
            f"the answer is about {plan.main} with {fraction:g} of the labels, and it has no arm "
            "there: set answer.label_fraction to a share that it has (where the pool is the rest, "
            "below 1)."
        )
    if len(at.get(control, set())) < 2:
        yield (
            f"the control {control} has arms at {len(at.get(control, set()))} label share, and "
            "labels saved are read off its curve: give it two label_fractions or more."
        )


def _faults(one: Training, by_name: Mapping[str, Training]) -> Iterator[str]:
    recipe = one.recipe
    written = one.folder / "recipe.yaml"
    if written.is_file() and not _is_same(written, recipe):
        yield (
            f"{one.folder} holds a run of another recipe (see {written}). Delete that folder, or "
            "name another with --out."
        )
    yield from _missing_starts(one)
    for need in one.job.needs:
        before = by_name.get(need)
        if before is None:
            continue
        if before.recipe.backbone != recipe.backbone:
            yield (
                f"{one.job.name} has the backbone {recipe.backbone}, and what it starts from "
                f"{before.recipe.backbone}. Name one in both recipes."
            )
        if before.recipe.intensity != recipe.intensity:
            yield (
                f"{one.job.name} sees other grey levels than what it starts from: make the section "
                "intensity of both recipes equal."
            )


def _missing_starts(one: Training) -> Iterator[str]:
    """Yield what a run starts from and is not there; what is on the Hub is fetched now."""
    recipe = one.recipe
    if isinstance(recipe, FinetuneRecipe):
        weights, backbone = recipe.init.weights, recipe.init.backbone
        is_file = True
    else:
        weights, backbone = recipe.body.weights, None
        is_file = recipe.body.start != "run"
    for place in (weights, backbone):
        if place is not None and is_on_hub(place):
            fault = _hub_fault(place)
            if fault is not None:
                yield f"{place} is to be started from: {fault}"
    if weights is not None and is_file and not is_on_hub(weights) and not weights.is_file():
        yield f"{one.job.name} starts from {weights}, and there is no such file."


@cache
def _hub_fault(place: Path) -> str | None:
    """Fetch what is on the Hub, once for all runs, and return why it can't be had."""
    try:
        fetched(place)
    except HubError as error:
        return str(error)
    return None


def _is_same(written: Path, recipe: PretrainRecipe | FinetuneRecipe) -> bool:
    """Return whether a run's recipe is the one it would get now, wherever its folder has moved."""
    try:
        found = load_run_recipe(written.parent, type(recipe))
    except CxrsslError:
        return False
    return _portable(found.model_dump()) == _portable(recipe.model_dump())


def _portable(value: object) -> object:
    """Return fields with paths by their end: where a plan's folder lies changes no result."""
    if isinstance(value, Mapping):
        return {key: _portable(one) for key, one in value.items()}
    if isinstance(value, PurePath) and not is_on_hub(Path(value)):
        parts = value.parts
        return parts[-2:] if parts[-1:] == ("backbone",) else parts[-1:]
    return value

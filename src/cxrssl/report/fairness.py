"""Whether runs that are compared differ in nothing but their treatment, by what they recorded."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cxrssl.config.arms import in_folds, pairs_of
from cxrssl.config.comparable import unequal
from cxrssl.config.load import load_run_recipe
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RecipeError, RunError
from cxrssl.core.records import read_record, reading
from cxrssl.report.results import Results

Recipes = Mapping[str, FinetuneRecipe]
"""By the name of a run."""
_MOST_SHOWN = 5


def recorded_recipes(runs: Path, plan: Plan, results: Results) -> dict[str, FinetuneRecipe]:
    """Return the recipe of every run of the finished arms without faults that can be read."""
    recipes = {}
    for finished in results.plain:
        for run in in_folds(plan, finished.arm):
            try:
                recipes[run.name] = load_run_recipe(runs / run.name, FinetuneRecipe)
            except RecipeError:
                continue  # `unread` names it
    return recipes


def unread(plan: Plan, results: Results, recipes: Recipes) -> list[str]:
    """Return a caution if it is not known of runs what they were trained with."""
    names = [run.name for finished in results.plain for run in in_folds(plan, finished.arm)]
    missing = [name for name in names if name not in recipes]
    if not missing or not any(section.controls for section in plan.treatments.values()):
        return []
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return [
        f"{len(missing)} of {len(names)} runs hold no recipe.yaml that can be read ({shown}), so "
        "that it is not known whether they differ from their controls in their treatment alone."
    ]


def check_pairs(runs: Path, plan: Plan, recipes: Recipes) -> None:
    """Check that runs of treatments and controls are equal in data, labels, detector and steps.

    Args:
        runs: Folder of the plan.
        plan: The plan.
        recipes: What its finished runs recorded.

    Raises:
        RunError: If a pair of runs differs in what no treatment may change.
    """
    faults = list(_faults(runs, plan, recipes))
    if not faults:
        return
    more = [f"and {len(faults) - _MOST_SHOWN} more pairs"] if len(faults) > _MOST_SHOWN else []
    lines = "\n".join(f"  {text}" for text in [*faults[:_MOST_SHOWN], *more])
    raise RunError(
        f"{runs}: runs differ from their controls in more than their treatment, so that they can't "
        f"be compared:\n{lines}\nDelete the folders that are not as the plan says, and run "
        "`cxrssl reproduce` again."
    )


def _faults(runs: Path, plan: Plan, recipes: Recipes) -> Iterator[str]:
    for arm, control in pairs_of(plan):
        if arm.name not in recipes or control.name not in recipes:
            continue
        faults = unequal(recipes[arm.name], recipes[control.name])
        steps = [_num_steps(runs / run.name) for run in (arm, control)]
        if None not in steps and steps[0] != steps[1]:
            faults.append(f"the labelled steps are {steps[0]} and {steps[1]}")
        if faults:
            yield f"{arm.name} and {control.name}: {'; '.join(faults)}"


def _num_steps(folder: Path) -> int | None:
    """Return how many steps a run had; None if it did not record them."""
    path = folder / "length.json"
    if not path.is_file():
        return None
    record = read_record(path, "num_steps")
    with reading(path):
        return int(record["num_steps"])

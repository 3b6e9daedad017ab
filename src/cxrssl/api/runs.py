"""Calls of commands that train: `recipe`, `pretrain`, `finetune`, `reproduce`."""

import json
import os
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from cxrssl.api.arguments import (
    PathLike,
    check_flags,
    check_one_of,
    checked_path,
    checked_texts,
)
from cxrssl.config.catalogue import COMMANDS, KINDS, Task, recipe_path
from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan, within
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.duration import hours_of
from cxrssl.core.errors import ArgumentError, RecipeError
from cxrssl.core.processes import random_state_restored
from cxrssl.core.yaml_text import read_yaml

AnyRecipe: TypeAlias = PretrainRecipe | FinetuneRecipe | Plan
Kind = TypeVar("Kind", PretrainRecipe, FinetuneRecipe, Plan)

_TASKS: dict[type, Task] = {PretrainRecipe: "pretrain", FinetuneRecipe: "finetune", Plan: "plan"}


def recipe(name: PathLike, **changes: object) -> AnyRecipe:
    """Return a checked recipe or plan for `pretrain`, `finetune` or `reproduce`.

    Args:
        name: A YAML file, or a packaged recipe: `pretrain/demo`, `finetune/smoke`, `plans/demo`.
        **changes: Fields by their dotted names, as in `recipe("pretrain/demo", **{"data.store":
            "stores/mine", "epochs": 10})`. A value is what YAML can hold, a path, or a scalar of
            NumPy or torch.

    Raises:
        CxrsslError: If there is no such recipe, or a field or a value is wrong; all are named.
    """
    if not isinstance(name, str | os.PathLike):
        raise ArgumentError(
            f"{name!r} is not the name of a recipe. Give the path of a YAML file, or the name of a "
            "packaged recipe, such as pretrain/demo."
        )
    for key in changes:
        if "=" in key:
            raise ArgumentError(f"{key!r} is not the name of a field; expected one such as epochs.")
    path = recipe_path(os.fspath(name))
    content = read_yaml(path)
    task = content.get("task") if isinstance(content, dict) else None
    kinds = {task: kind for kind, task in _TASKS.items()}
    if task not in kinds:
        raise RecipeError(f"{path}: task is {task!r}; expected {', '.join(kinds)}.")
    overrides = [f"{key}={_yaml_value(key, value)}" for key, value in changes.items()]
    try:
        return load_recipe(path, kinds[task], overrides=overrides)
    except RecipeError as error:
        raise RecipeError(_argument_error_text(str(error))) from error


@disk_faults()
@random_state_restored()
def pretrain(recipe: AnyRecipe | PathLike, out: PathLike, *, resume: bool = False) -> Path:
    """Pretrain a backbone on unlabelled images and return its folder, in timm's format.

    The losses are those of `cxrssl pretrain` to the bit, with as many threads (`torch` has the
    caller's); on a CPU the command is faster, because its process may keep freed memory.

    Args:
        recipe: From `cxrssl.recipe`, or a file or packaged name to be taken as it is.
        out: Run folder: new, or with `resume` one to go on with.
        resume: Whether to go on with a run that was cut short.

    Raises:
        CxrsslError: If the recipe, the store, the run folder or a start can't be used, or memory
            runs out.
    """
    checked, folder = _checked_recipe(recipe, PretrainRecipe), checked_path("out", out)
    check_flags(resume=resume)
    from cxrssl.pretrain import pretrain as train
    from cxrssl.run.process_state import process_restored

    with process_restored():
        return train(checked, folder, resume=resume)


@disk_faults()
@random_state_restored()
def finetune(recipe: AnyRecipe | PathLike, out: PathLike, *, resume: bool = False) -> Path:
    """Train a detector on labelled images and return its folder, for `cxrssl.load_detector`.

    Its scores on the test split are in `out/metrics.json`. Losses are those of `cxrssl finetune`;
    see `pretrain`.

    Args:
        recipe: From `cxrssl.recipe`, or a file or packaged name to be taken as it is.
        out: Run folder: new, or with `resume` one to go on with.
        resume: Whether to go on with a run that was cut short.

    Raises:
        CxrsslError: If the recipe, the store, the labels, the run folder or a start can't be used,
            or memory runs out.
    """
    checked, folder = _checked_recipe(recipe, FinetuneRecipe), checked_path("out", out)
    check_flags(resume=resume)
    from cxrssl.finetune import finetune as train
    from cxrssl.run.process_state import process_restored

    with process_restored():
        return train(checked, folder, resume=resume)


@disk_faults()
@random_state_restored()
def reproduce(
    plan: AnyRecipe | PathLike,
    out: PathLike | None = None,
    *,
    executor: Literal["local", "slurm"] = "local",
    budget: str | None = None,
) -> Path:
    """Run what is not done of a plan, each run a process of its own, and return the HTML report.

    Args:
        plan: From `cxrssl.recipe`, a file, or the name of a packaged plan, such as `smoke`.
        out: Folder of all runs; `runs/NAME` if None.
        executor: `local` runs on this machine, `slurm` submits to a cluster and waits.
        budget: Time that a plan such as `own` may take, such as `30m` or `2h`; None for its own.

    Raises:
        CxrsslError: If the plan or its data can't be used, or a run failed; the others have run
            then, and the report shows them.
    """
    checked = _checked_recipe(plan, Plan)
    if budget is not None:
        checked = within(checked, _hours(budget))
    folder = Path("runs") / checked.name if out is None else checked_path("out", out)
    check_one_of("executor", executor, ("local", "slurm"))
    from cxrssl.finetune.timing import seconds_an_image as of_finetune
    from cxrssl.pretrain.timing import seconds_an_image as of_pretrain
    from cxrssl.reproduce import reproduce as run
    from cxrssl.reproduce.resources import Resources
    from cxrssl.run.process_state import process_restored
    from cxrssl.weights import fault_of_start

    resources = Resources({"pretrain": of_pretrain, "finetune": of_finetune}, fault_of_start)
    with process_restored():
        return run(checked, folder, resources=resources, executor=executor)


def _hours(budget: object) -> float:
    (text,) = checked_texts("budget", [budget])
    try:
        return hours_of(text)
    except ValueError as error:
        raise ArgumentError(f"budget is {error}.") from error


def _yaml_value(key: str, value: object) -> str:
    """Return the value of a field as JSON, which is YAML.

    Raises:
        ArgumentError: If YAML can't hold it.
    """
    try:
        return json.dumps(value, default=_json_value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{key} is {value!r}, a {type(value).__name__}, which a recipe can't hold. Give a "
            "number, text, a bool, None, a path, or a list or dict of such."
        ) from error


def _json_value(value: object) -> object:
    """Return a path as text, and a scalar of NumPy or torch as one of Python."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        number = item()
        if isinstance(number, bool | int | float | str):
            return number
    raise TypeError(type(value).__name__)


def _argument_error_text(text: str) -> str:
    """Return a message about `--set` as one about an argument of `recipe`."""
    if not text.startswith("--set "):
        return text
    text = text.removeprefix("--set ")
    if "." in text.partition("=")[0]:
        return text
    return f'{text} A dotted name is given so: recipe(name, **{{"data.store": "stores/mine"}}).'


def _checked_recipe(recipe: AnyRecipe | PathLike, kind: type[Kind]) -> Kind:
    """Return the recipe of a call, read if it is named.

    Raises:
        CxrsslError: If it is of another kind, or not a recipe.
    """
    task = _TASKS[kind]
    if isinstance(recipe, str | os.PathLike):
        return load_recipe(recipe_path(os.fspath(recipe), task), kind, overrides=[])
    if isinstance(recipe, kind):
        return recipe
    if type(recipe) not in _TASKS:
        raise ArgumentError(
            f"{recipe!r} is not a recipe. Give a file, a name or cxrssl.recipe(...)."
        )
    raise RecipeError(
        f"cxrssl.{COMMANDS[task]} got {KINDS[_TASKS[type(recipe)]]}, and {KINDS[task]} is "
        f"expected. Give it to cxrssl.{COMMANDS[_TASKS[type(recipe)]]}."
    )

"""Calls of commands: `recipe`, `pretrain`, `finetune`, `reproduce`, `ingest`, `predict`."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, get_args

from cxrssl.api.arguments import (
    PathLike,
    check_flags,
    check_one_of,
    checked_integer,
    checked_number,
    checked_path,
    checked_paths,
    checked_texts,
)
from cxrssl.config.catalogue import COMMANDS, KINDS, Task, recipe_path
from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan, within
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.duration import hours_of
from cxrssl.core.errors import ArgumentError, RecipeError
from cxrssl.core.images import Fit, check_square
from cxrssl.core.layouts import Layout
from cxrssl.core.processes import available_cores, random_state_restored
from cxrssl.core.yaml_text import read_yaml

if TYPE_CHECKING:
    from cxrssl.ingest import IngestSummary
    from cxrssl.predict import Summary

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


@disk_faults()
@random_state_restored()
def ingest(  # noqa: PLR0913 - a keyword for each option of the command
    source: PathLike,
    store: PathLike,
    *,
    size_px: int = 512,
    fit: Fit = "squash",
    layout: Layout = "auto",
    patient_from: str = "",
    split: str = "",
    replace: bool = False,
    num_workers: int | None = None,
) -> "IngestSummary":
    """Decode a folder of radiographs and their readers' boxes into a store.

    An ingest that was cut goes on where it stopped. It starts worker processes: in a script, call
    it below `if __name__ == "__main__":`.

    Args:
        source: Folder with images and a table, such as COCO or CSV, or with images alone.
        store: Folder of the store.
        size_px: Side of the stored square, 16 to 8192 pixels.
        fit: `squash` stretches an image to the square, `letterbox` pads it.
        layout: What `source` looks like.
        patient_from: Regular expression that finds the patient in an image's path below `source`.
        split: Where the source's own split is from: "", `folders`, `none`, or a CSV file.
        replace: Whether to replace a store of another source or other settings.
        num_workers: Processes; one a core if None.

    Returns:
        Counts, and why for every image that could not be stored (`failures`) or may be wrong
        (`warnings`).

    Raises:
        CxrsslError: If the source can't be used at all, or the store can't be written.

    Warns:
        UserWarning: If some images could not be stored.
    """
    from cxrssl.core.images import opencv_threads_restored
    from cxrssl.core.processes import check_not_imported_by_worker, start_method_restored
    from cxrssl.data.tables import ReadOptions
    from cxrssl.ingest import ingest as run
    from cxrssl.ingest.shards import Settings

    check_square(size_px, fit)
    check_one_of("layout", layout, get_args(Layout))
    checked_texts("patient_from and split", (patient_from, split))
    check_flags(replace=replace)
    workers = available_cores() if num_workers is None else num_workers
    workers = checked_integer("num_workers", workers, at_least=1)
    folders = checked_path("source", source), checked_path("store", store)
    settings, options = Settings(size_px, fit), ReadOptions(layout, patient_from, split)
    check_not_imported_by_worker()
    with opencv_threads_restored(), start_method_restored():
        summary = run(*folders, settings, options=options, num_workers=workers, replace=replace)
    _warn_of_failures(summary.failures, f"image(s) are not in {store}")
    return summary


@disk_faults()
@random_state_restored()
def predict(
    checkpoint: PathLike | Sequence[PathLike],
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    threshold: float = 0.3,
    formats: str | Sequence[str] = ("coco", "csv", "pictures"),
    flip: bool = False,
    resume: bool = False,
) -> "Summary":
    """Detect in files and folders of any number, and write COCO JSON, CSV and pictures.

    A file that can't be read is listed and does not stop the rest: what it does to its decoder
    happens in a worker process. In a script, call it below `if __name__ == "__main__":`.

    Args:
        checkpoint: A finetune run, a detector's folder, or `hf-hub:ORG/NAME[@REVISION]`; or a list
            of such, whose boxes are fused (weighted boxes fusion) and whose classes must be equal.
        inputs: Image files, and folders that are searched for images.
        out: A new folder for what is found, or with `resume` one to go on with.
        threshold: Lowest score of the boxes that are drawn; the lists hold all.
        formats: What to write: "coco" (JSON), "csv", "pictures" (PNG); one, or a list of them.
        flip: Whether to detect in each image flipped left to right too; boxes are fused.
        resume: Whether to go on with a prediction that was cut short.

    Returns:
        Counts, why for every file that can't be read (`failures`), and what looks wrong with those
        that can (`warnings`).

    Raises:
        CxrsslError: If there is no detector, no image, or `out` can't be used.

    Warns:
        UserWarning: If some files can't be read.
    """
    lowest_score = checked_number("threshold", threshold, 0, 1)
    check_flags(flip=flip, resume=resume)
    checkpoints = checked_paths("checkpoint", checkpoint, "no detector is named")
    files, folder = checked_paths("inputs", inputs, "no input is named"), checked_path("out", out)
    from cxrssl.predict import FORMATS
    from cxrssl.predict import predict as run
    from cxrssl.run.process_state import process_restored

    names = [formats] if isinstance(formats, str) else checked_texts("formats", formats)
    if not names:
        raise ArgumentError(f"formats is empty; expected some of {', '.join(FORMATS)}.")
    for name in names:
        check_one_of("a name in formats", name, FORMATS)
    with process_restored():
        summary = run(
            checkpoints,
            files,
            folder,
            threshold=lowest_score,
            formats=names,
            flip=flip,
            resume=resume,
        )
    _warn_of_failures(summary.failures, "file(s) can't be read")
    return summary


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


def _warn_of_failures(failures: Mapping[str, str], subject: str) -> None:
    """Warn the caller of an API function with two decorators if something failed."""
    if failures:
        name, reason = next(iter(failures.items()))
        text = f"{len(failures)} {subject}, such as {name}: {reason}"
        warnings.warn(f"{text}. The summary's `failures` has them all.", stacklevel=5)


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

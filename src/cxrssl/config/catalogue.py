"""The recipes and plans that come with cxrssl, and finding one by its name.

A name is the path under `recipes/` without its suffix, such as `pretrain/demo` or `plans/smoke`.
"""

import difflib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrssl.core.errors import RecipeError
from cxrssl.core.packaged import packaged_folder
from cxrssl.core.yaml_text import read_yaml

Task = Literal["pretrain", "finetune", "plan"]

COMMANDS: dict[Task, str] = {"pretrain": "pretrain", "finetune": "finetune", "plan": "reproduce"}
"""The command that takes a recipe of each task."""
KINDS: dict[Task, str] = {
    "pretrain": "a pretraining recipe",
    "finetune": "a fine-tuning recipe",
    "plan": "a plan",
}
_FOLDERS: dict[Task, str] = {"pretrain": "pretrain", "finetune": "finetune", "plan": "plans"}
# A line of a recipe's header that begins a field.
_FIELD = re.compile(r"(Run|Data|Cost|Expect):\s*")
_LEAST_LIKENESS = 0.6


@dataclass(frozen=True)
class PackagedRecipe:
    """One recipe or plan that comes with cxrssl.

    Attributes:
        name: Name that commands take, such as `pretrain/demo`.
        task: Value of its key `task`.
        summary: The first sentence of its header.
        cost: Time and hardware from its header, empty if it states none.
        path: Its file.
    """

    name: str
    task: Task
    summary: str
    cost: str
    path: Path

    @property
    def command(self) -> str:
        """Return the name of the command that takes it."""
        return COMMANDS[self.task]


def packaged_recipes() -> list[PackagedRecipe]:
    """Return every recipe and plan that comes with cxrssl, by task and name."""
    folder = packaged_folder("recipes")
    return [
        _described(path, task)
        for task, name in _FOLDERS.items()
        for path in sorted((folder / name).glob("*.yaml"))
    ]


def packaged_names(task: Task | None = None) -> list[str]:
    """Return the names of the packaged recipes of a task, sorted; of all tasks if it is None."""
    folder = packaged_folder("recipes")
    paths = folder.rglob("*.yaml") if task is None else (folder / _FOLDERS[task]).glob("*.yaml")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in paths)


def recipe_path(name: str, task: Task | None = None) -> Path:
    """Return the file of a recipe that a user names.

    Args:
        name: A path, or a packaged name; with a task its last part is enough: `demo`.
        task: Task of the recipe; None for any.

    Raises:
        RecipeError: If there is none; the packaged recipes of the task are listed, near names
            first.
    """
    if is_file(Path(name)):
        return Path(name)
    folder = packaged_folder("recipes")
    short = f"{_FOLDERS[task]}/{name}" if task is not None else name
    for full in (short, name):
        if is_file(path := folder / f"{full}.yaml"):
            return path
    raise RecipeError(_not_found(name, task))


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for names that no file system accepts."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def shown_name(path: Path) -> str:
    """Return a recipe file as a user would name it: a packaged one by its name."""
    folder = packaged_folder("recipes")
    if path.is_relative_to(folder):
        return path.relative_to(folder).with_suffix("").as_posix()
    return str(path)


def wrong_task(path: Path, actual: Task, expected: Task) -> str:
    """Return the error text for a recipe of the wrong task, with the command that takes it."""
    name = shown_name(path)
    if is_file(path.parent / "provenance.json"):
        advice = f"go on with that run: {_resume(actual, path.parent)}"
    else:
        advice = f"run it: cxrssl {COMMANDS[actual]} {shlex.quote(name)}"
    kind = f"{KINDS[actual]} (task: {actual})"
    return f"{name} is {kind}, and {KINDS[expected]} is expected. To {advice}"


def _resume(task: Task, run: Path) -> str:
    return f"cxrssl {COMMANDS[task]} --resume --out {shlex.quote(str(run))}"


def _task_of_run(run: Path) -> Task | None:
    content = read_yaml(run / "recipe.yaml")
    name = content.get("task") if isinstance(content, dict) else None
    return next((task for task in COMMANDS if task == name), None)


def _not_found(name: str, task: Task | None) -> str:
    shown = name if len(name) <= 60 and name.isprintable() else f"{name[:57]!r}..."
    path = Path(name)
    if is_file(path / "recipe.yaml"):
        run_task = _task_of_run(path) or task or "pretrain"
        resume = _resume(run_task, path)
        return f"{shown} is the folder of a run, not a recipe. To go on with it: {resume}"
    if _is_folder(path):
        return f"{shown} is a folder. Expected a file or the name of a packaged recipe."
    if task is not None:
        for other, folder in _FOLDERS.items():
            other_name = f"{folder}/{name}"
            if other != task and other_name in packaged_names(other):
                return wrong_task(packaged_folder("recipes") / f"{other_name}.yaml", other, task)
    names = packaged_names(task)
    near = _near(name, names)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    far = [name for name in names if name not in near]
    recipes = "recipes" if task is None else f"recipes of `cxrssl {COMMANDS[task]}`"
    return (
        f"Not found: {shown}. Expected a file or the name of a packaged recipe.{hint} "
        f"Packaged {recipes}: {', '.join([*near, *far])}. `cxrssl recipes` describes them."
    )


def _near(name: str, names: Sequence[str]) -> list[str]:
    """Return at most three names similar to a mistyped one, the most similar first."""
    plain = name.removeprefix("recipes/").removesuffix(".yaml").removesuffix(".yml")

    def likeness(full: str) -> tuple[float, float]:
        # By the last part first: all names of a task begin alike.
        last = _ratio(plain.rpartition("/")[2], full.rpartition("/")[2])
        return last, _ratio(plain, full)

    ranked = sorted(names, key=likeness, reverse=True)
    return [full for full in ranked[:3] if likeness(full)[0] >= _LEAST_LIKENESS]


def _ratio(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, first, second).ratio()


def _described(path: Path, task: Task) -> PackagedRecipe:
    """Return a recipe with the summary and cost of its header comment."""
    parts = {"": list[str]()}
    field = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        # Two fields may share a line, some spaces apart.
        for piece in re.split(r"\s{2,}(?=Expect:)", text):
            match = _FIELD.match(piece)
            if match is not None:
                field = match[1]
                piece = piece[match.end() :]
            parts.setdefault(field, []).append(piece)
    about = " ".join(parts[""])
    summary = re.split(r"(?<=[.?!])\s", about, maxsplit=1)[0]
    return PackagedRecipe(
        shown_name(path), task, summary, " ".join(parts.get("Cost", [])).strip(), path
    )

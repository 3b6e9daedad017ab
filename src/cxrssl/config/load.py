"""Reading recipes: YAML, then `--set a.b=value`, then the schema. The only door to YAML."""

import difflib
import json
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cxrssl.core.errors import RecipeError

Recipe = TypeVar("Recipe", bound=BaseModel)


def load_recipe(path: Path, kind: type[Recipe], *, overrides: list[str]) -> Recipe:
    """Read a recipe file and its overrides into its model.

    Args:
        path: A YAML file.
        kind: Which model it must fit.
        overrides: `a.b=value` each, the value in YAML.

    Raises:
        RecipeError: If the file, a key or a value is wrong; all faults are listed at once.
    """
    if not path.is_file():
        raise RecipeError(f"{path} is no file. Packaged recipes: {', '.join(packaged_names())}.")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} should hold keys and values, and holds {content!r}.")
    for override in overrides:
        _override(content, override)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise RecipeError(_faults(path, kind, error)) from error


def recipe_path(name: str) -> Path:
    """Return the file of a recipe named by path, or as packaged: `pretrain/demo`, `plans/smoke`.

    Raises:
        RecipeError: If it is neither.
    """
    if Path(name).is_file():
        return Path(name)
    path = _packaged_folder() / f"{name}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(name, packaged_names(), n=3, cutoff=0.3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise RecipeError(f"{name!r} is neither a recipe file nor a packaged recipe.{hint}")
    return path


def packaged_names() -> list[str]:
    """Return the names of the recipes that come with cxrssl, such as `pretrain/demo`."""
    folder = _packaged_folder()
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in found)


def to_yaml(recipe: BaseModel) -> str:
    """Return a merged recipe as YAML that runs as it is."""
    content = json.loads(recipe.model_dump_json())
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _packaged_folder() -> Path:
    installed = Path(str(resources.files("cxrssl"))) / "recipes"
    # An editable install runs from the checkout, where recipes/ lies at the top.
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "recipes"


def _override(content: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise RecipeError(f"--set {override!r}: expected a.b=value")
    *sections, last = key.split(".")
    place: Any = content
    for name in sections:
        place = place.get(name) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        near = difflib.get_close_matches(key, _keys(content), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise RecipeError(f"--set {override!r}: the recipe has no key {key}.{hint}")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: {text!r} is not a YAML value") from error


def _keys(content: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in content.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += _keys(value, f"{prefix}{key}.")
    return found


def _faults(path: Path, kind: type[BaseModel], error: ValidationError) -> str:
    lines = [f"{path} does not fit {kind.__name__}:"]
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"]) or "recipe"
        given = "" if fault["type"] == "missing" else f" (got {_short(fault['input'])})"
        lines.append(f"  {place}: {fault['msg']}{given}")
    return "\n".join(lines)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

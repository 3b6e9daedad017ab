"""Reading recipes: YAML, then `--set a.b=value`, then the schema. The only door to YAML."""

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from cxrssl.core.errors import RecipeError
from cxrssl.core.packaged import packaged_folder

Recipe = TypeVar("Recipe", bound=BaseModel)


class _OneKeyOnce(yaml.SafeLoader):
    """Reads YAML, and refuses a key that comes twice in one place, of which YAML takes the last."""

    # The anchor is a name or None; the stubs of PyYAML have it otherwise.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401
        """Return a mapping as it is written: a merged one (`<<`) may state a key of the other."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        # Only text, numbers and the like: other keys are refused where the mapping is made.
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            # The tag tells the number 1 from the text "1".
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} comes twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


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
        content = yaml.load(path.read_text(), Loader=_OneKeyOnce)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} should hold keys and values, and holds {content!r}.")
    for override in overrides:
        _override(content, override, kind)
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
    path = packaged_folder("recipes") / f"{name}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(name, packaged_names(), n=3, cutoff=0.3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise RecipeError(f"{name!r} is neither a recipe file nor a packaged recipe.{hint}")
    return path


def packaged_names() -> list[str]:
    """Return the names of the recipes that come with cxrssl, such as `pretrain/demo`."""
    folder = packaged_folder("recipes")
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in found)


def to_yaml(recipe: BaseModel) -> str:
    """Return a merged recipe as YAML that runs as it is."""
    content = json.loads(recipe.model_dump_json())
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _override(content: dict[str, Any], override: str, kind: type[BaseModel]) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise RecipeError(f"--set {override!r}: expected a.b=value")
    known = _keys(kind)
    if not any(_fits(key.split("."), pattern.split(".")) for pattern in known):
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise RecipeError(f"--set {override!r}: a recipe has no key {key}.{hint}")
    *sections, last = key.split(".")
    place = content
    for name in sections:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {override!r}: {name} holds {place!r} and no keys.")
    try:
        place[last] = yaml.load(text, Loader=_OneKeyOnce)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: {text!r} is not a YAML value: {error}") from error


def _keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every key that a recipe may have, dotted, sections among them.

    `*` stands for a name that is free, and a last `**` for whatever may follow.
    """
    found = []
    for name, field in kind.model_fields.items():
        found.append(f"{prefix}{name}")
        if get_origin(field.annotation) is dict:
            value = get_args(field.annotation)[1]
            if isinstance(value, type) and issubclass(value, BaseModel):
                found += [f"{prefix}{name}.*", *_keys(value, f"{prefix}{name}.*.")]
            else:
                found.append(f"{prefix}{name}.**")
            continue
        parts = [field.annotation, *get_args(field.annotation)]
        for section in (p for p in parts if isinstance(p, type) and issubclass(p, BaseModel)):
            found += _keys(section, f"{prefix}{name}.")
    return found


def _fits(key: list[str], pattern: list[str]) -> bool:
    if pattern[-1] == "**":
        place = len(pattern) - 1
        return len(key) > place and all(key[place:]) and _fits(key[:place], pattern[:-1])
    return len(key) == len(pattern) and all(
        own and known in ("*", own) for own, known in zip(key, pattern, strict=True)
    )


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

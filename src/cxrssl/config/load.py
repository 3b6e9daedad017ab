"""Reading recipes: YAML, then `--set a.b=value`, then the schema."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cxrssl.config.catalogue import COMMANDS, Task, is_file, wrong_task
from cxrssl.config.catalogue import packaged_names as packaged_names
from cxrssl.config.catalogue import recipe_path as recipe_path
from cxrssl.config.moved import is_old_form, moved_fields, new_form
from cxrssl.config.section import Section
from cxrssl.config.yaml_text import parse_yaml, read_yaml, yaml_text
from cxrssl.core.errors import RecipeError
from cxrssl.core.files import write_text

Recipe = TypeVar("Recipe", bound=Section)
_MOST_DOTS = 16


def load_recipe(path: Path, kind: type[Recipe], *, overrides: list[str]) -> Recipe:
    """Read a recipe file and its overrides into its model.

    Args:
        path: A YAML file.
        kind: Which model it must fit.
        overrides: `a.b=value` each, the value in YAML.

    Raises:
        RecipeError: If the file, a key or a value is wrong; all faults are listed at once.
    """
    if not is_file(path):
        raise RecipeError(f"Not found: {path}. Expected a recipe, a YAML file.")
    content = _content(path, kind)
    if kind.moved and is_old_form(content):
        lines = "\n".join(f"  {line}" for line in moved_fields(content))
        raise RecipeError(
            f"{path} has the form of earlier versions, whose section model is now two: body, the "
            f"backbone, and method. Change it so:\n{lines}"
        )
    return _merged(path, content, kind, overrides)


def load_run_recipe(run: Path, kind: type[Recipe], *, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe in the folder of a run, which an earlier version may have written.

    Raises:
        RecipeError: If it is no recipe of that kind, or an override is wrong.
    """
    path = run / "recipe.yaml"
    content = _content(path, kind)
    if kind.moved and is_old_form(content):
        content = new_form(content)
    return _merged(path, content, kind, overrides)


def renew_run_recipe(run: Path, kind: type[Section]) -> None:
    """Write the recipe of a run that an earlier version began as this version would write it."""
    path = run / "recipe.yaml"
    if path.is_file() and is_old_form(_content(path, kind)):
        write_text(path, to_yaml(load_run_recipe(run, kind)))


def _content(path: Path, kind: type[Section]) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise RecipeError(f"{path} should hold keys and values, and holds {_short(content)}.")
    _check_task(path, content, kind)
    return content


def _merged(
    path: Path, content: dict[str, Any], kind: type[Recipe], overrides: Sequence[str]
) -> Recipe:
    for override in overrides:
        _override(content, override, kind)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        hint = _hint_on_kinds(overrides, kind)
        raise RecipeError(f"{_faults(path, kind, error)}{hint}") from error


def to_yaml(recipe: BaseModel) -> str:
    """Return a merged recipe as YAML that runs as it is."""
    content = json.loads(recipe.model_dump_json())
    return yaml_text(content)


def _check_task(path: Path, content: dict[str, Any], kind: type[Section]) -> None:
    """Refuse a recipe of another task before its keys are: none of them would fit.

    Raises:
        RecipeError: If it is one; the command that takes it is named.
    """
    field, found = kind.model_fields.get("task"), content.get("task")
    if field is None:
        return
    expected: Task = get_args(field.annotation)[0]
    for task in COMMANDS:
        if found == task != expected:
            raise RecipeError(wrong_task(path, task, expected))


def _override(content: dict[str, Any], override: str, kind: type[Section]) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise RecipeError(f"--set {_short(override)}: expected a.b=value")
    if key.count(".") > _MOST_DOTS:
        raise RecipeError(f"--set {_short(override)}: a key has at most {_MOST_DOTS} dots.")
    if key in kind.moved:
        raise RecipeError(f"--set {_short(override)}: {key} is now {kind.moved[key]}.")
    known = _keys(kind)
    if not any(_fits(key.split("."), pattern.split(".")) for pattern in known):
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise RecipeError(f"--set {_short(override)}: a recipe has no key {key}.{hint}")
    *sections, last = key.split(".")
    place = content
    for name in sections:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            held = _short(place)
            raise RecipeError(f"--set {_short(override)}: {name} holds {held} and no keys.")
    place[last] = parse_yaml(text, place=f"--set {_short(override)}", kind="a YAML value")


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


def _field(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return a place as a recipe writes it: pydantic puts the kind of a section into it."""
    field = kind.model_fields.get(str(loc[0])) if loc else None
    has_kind = field is not None and field.discriminator is not None
    return [str(part) for index, part in enumerate(loc) if not (has_kind and index == 1)]


def _hint_on_kinds(overrides: Sequence[str], kind: type[BaseModel]) -> str:
    """Say what to do where an override may have changed the kind of a section."""
    changed = {override.partition("=")[0] for override in overrides}
    for name, field in kind.model_fields.items():
        if field.discriminator and changed & {name, f"{name}.{field.discriminator}"}:
            return (
                f"\n  Which fields section {name} has depends on its {field.discriminator}: begin "
                "from a recipe that has it (`cxrssl recipes` lists them)"
            )
    return ""


def _faults(path: Path, kind: type[BaseModel], error: ValidationError) -> str:
    lines = [f"{path} does not fit {kind.__name__}:"]
    for fault in error.errors():
        place = ".".join(_field(kind, fault["loc"])) or "recipe"
        if fault["type"].startswith("union_tag"):
            lines.append(f"  {place}.{_unknown_kind(fault['ctx'])}")
            continue
        if fault["type"] == "value_error" and not fault["loc"]:  # its text names the fields
            lines.append(f"  {fault['ctx']['error']}")
            continue
        given = "" if fault["type"] == "missing" else f" (got {_short(fault['input'])})"
        lines.append(f"  {place}: {fault['msg']}{given}")
    return "\n".join(lines)


def _unknown_kind(context: Mapping[str, str]) -> str:
    """Say what is wrong with the field that tells the kinds of a section apart."""
    field = context["discriminator"].strip("'")
    if "tag" not in context:
        return f"{field}: Field required"
    kinds = context["expected_tags"].replace("'", "").replace(", ", " or ")
    return f"{field}: unknown {field} {_short(context['tag'])}; expected {kinds}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Reading recipes: YAML, then `--set a.b=value`, then the schema."""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cxrssl.config.catalogue import COMMANDS, Task, is_file, wrong_task
from cxrssl.config.catalogue import packaged_names as packaged_names
from cxrssl.config.catalogue import recipe_path as recipe_path
from cxrssl.config.moved import is_old_form, moved_fields, new_form
from cxrssl.config.section import Section
from cxrssl.core.errors import RecipeError
from cxrssl.core.files import write_text
from cxrssl.core.hub_address import is_on_hub
from cxrssl.core.yaml_text import parse_yaml, read_yaml, yaml_text

Recipe = TypeVar("Recipe", bound=Section)
_MOST_DOTS = 16


def load_recipe(path: Path, kind: type[Recipe], *, overrides: list[str]) -> Recipe:
    """Read a recipe file and its overrides into its model.

    Args:
        path: A YAML file.
        kind: The model that it must fit.
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
        RecipeError: If it is not a recipe of that kind, or an override is wrong.
    """
    path = run / "recipe.yaml"
    content = _content(path, kind)
    if kind.moved and is_old_form(content):
        content = new_form(content)
    return _merged(path, content, kind, overrides)


def renew_run_recipe(run: Path, kind: type[Section]) -> None:
    """Rewrite the recipe of a run that an earlier version began in the form of this version.

    Fields that have come since are null there, so that it says the same. A recipe that this version
    can't read stays: whoever compares it with another says so.
    """
    path = run / "recipe.yaml"
    if not path.is_file():
        return
    with suppress(RecipeError):
        renewed = to_yaml(load_run_recipe(run, kind))
        if renewed != path.read_text(encoding="utf-8"):
            write_text(path, renewed)


def _content(path: Path, kind: type[Section]) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"holds {_shortened(content)}"
        raise RecipeError(f"{path} {found}; expected a recipe: keys and values in YAML.")
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
        raise RecipeError(f"{_faults(path, content, kind, error)}{hint}") from error


def to_yaml(recipe: BaseModel) -> str:
    """Return a merged recipe as YAML that runs as it is."""
    content = json.loads(recipe.model_dump_json())
    return yaml_text(content)


def map_paths(value: object, change: Callable[[Path], Path]) -> object:
    """Return the nested fields of a dumped recipe with every path changed."""
    if isinstance(value, Mapping):
        return {key: map_paths(field, change) for key, field in value.items()}
    return change(value) if isinstance(value, Path) else value


def flattened(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the fields of nested mappings under dotted keys; an empty mapping is a value."""
    for key, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def path_end(path: Path) -> Path:
    """Return the end of a path, which stays when folders move: the last part, or `RUN/backbone`.

    An address on the Hub is returned unchanged.
    """
    if is_on_hub(path):
        return path
    return Path(*path.parts[-2:]) if path.name == "backbone" else Path(path.name)


def _check_task(path: Path, content: dict[str, Any], kind: type[Section]) -> None:
    """Refuse a recipe of another task before its keys are checked: none of them would fit.

    Raises:
        RecipeError: If its task is another one; the command that takes it is named.
    """
    field, task_name = kind.model_fields.get("task"), content.get("task")
    if field is None:
        return
    expected: Task = get_args(field.annotation)[0]
    for task in COMMANDS:
        if task_name == task != expected:
            raise RecipeError(wrong_task(path, task, expected))


def _override(content: dict[str, Any], override: str, kind: type[Section]) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise RecipeError(f"--set {_shortened(override)}: expected a.b=value")
    if key.count(".") > _MOST_DOTS:
        raise RecipeError(f"--set {_shortened(override)}: a key has at most {_MOST_DOTS} dots.")
    if key in kind.moved:
        raise RecipeError(f"--set {_shortened(override)}: {key} is now {kind.moved[key]}.")
    known_keys = _keys_as_called(kind, key.split(".")[0])
    if not any(_matches(key.split("."), pattern.split(".")) for pattern in known_keys):
        same_end = [known for known in known_keys if known.split(".")[-1] == key.split(".")[-1]]
        near = same_end or difflib.get_close_matches(key, known_keys, n=1, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
        raise RecipeError(f"--set {_shortened(override)}: a recipe has no key {key}.{hint}")
    *sections, last = key.split(".")
    mapping = content
    for name in sections:
        if mapping.get(name) is None:  # a section that the recipe leaves out, or says is null
            mapping[name] = {}
        mapping = mapping[name]
        if not isinstance(mapping, dict):
            value = _shortened(mapping)
            raise RecipeError(f"--set {_shortened(override)}: {name} holds {value} and no keys.")
    mapping[last] = parse_yaml(text, source=f"--set {_shortened(override)}", kind="a YAML value")


def _keys_as_called(kind: type[Section], name: str) -> list[str]:
    """Return every key that a recipe may have; those of a field's other name if `name` is one."""
    keys, field = _keys(kind), kind.other_names.get(name)
    if field is None:
        return keys
    return [name + key.removeprefix(field) for key in keys if key.split(".")[0] == field]


def _keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every key that a recipe may have, dotted, sections among them.

    `*` stands for any name, and `**` at the end for any keys.
    """
    keys = []
    for name, field in kind.model_fields.items():
        keys.append(f"{prefix}{name}")
        if get_origin(field.annotation) is dict:
            value = get_args(field.annotation)[1]
            if isinstance(value, type) and issubclass(value, BaseModel):
                keys += [f"{prefix}{name}.*", *_keys(value, f"{prefix}{name}.*.")]
            else:
                keys.append(f"{prefix}{name}.**")
            continue
        parts = [field.annotation, *get_args(field.annotation)]
        for section in (p for p in parts if isinstance(p, type) and issubclass(p, BaseModel)):
            keys += _keys(section, f"{prefix}{name}.")
    return keys


def _matches(key: list[str], pattern: list[str]) -> bool:
    if pattern[-1] == "**":
        depth = len(pattern) - 1
        return len(key) > depth and all(key[depth:]) and _matches(key[:depth], pattern[:-1])
    return len(key) == len(pattern) and all(
        part and pattern_part in ("*", part)
        for part, pattern_part in zip(key, pattern, strict=True)
    )


def _field_path(
    content: Mapping[str, Any], kind: type[Section], loc: tuple[int | str, ...]
) -> list[str]:
    """Return the path of a field as the recipe has it: pydantic adds the kind of a section."""
    field = kind.model_fields.get(str(loc[0])) if loc else None
    has_kind = field is not None and field.discriminator is not None
    path = [str(part) for index, part in enumerate(loc) if not (has_kind and index == 1)]
    for other, name in kind.other_names.items():
        if path[:1] == [name] and loc[1:2] and loc[1] in (content.get(other) or {}):
            path[0] = other
    return path


def _hint_on_kinds(overrides: Sequence[str], kind: type[BaseModel]) -> str:
    """Return advice if an override may have changed the kind of a section."""
    changed = {override.partition("=")[0] for override in overrides}
    for name, field in kind.model_fields.items():
        if field.discriminator and changed & {name, f"{name}.{field.discriminator}"}:
            return (
                f"\n  Which fields section {name} has depends on its {field.discriminator}: begin "
                "from a recipe that has it (`cxrssl recipes` lists them)"
            )
    return ""


def _faults(
    path: Path, content: Mapping[str, Any], kind: type[Section], error: ValidationError
) -> str:
    lines = [f"{path} does not fit {kind.__name__}:"]
    for fault in error.errors():
        name = ".".join(_field_path(content, kind, fault["loc"])) or "recipe"
        if fault["type"].startswith("union_tag"):
            lines.append(f"  {name}.{_unknown_kind(kind, name, fault['ctx'])}")
            continue
        if fault["type"] == "value_error" and isinstance(fault["input"], Mapping):
            section = f"{name}: " if fault["loc"] else ""
            lines.append(f"  {section}{fault['ctx']['error']}")  # which names the fields
            continue
        got = "" if fault["type"] == "missing" else f" (got {_shortened(fault['input'])})"
        text = "expected a path" if fault["type"] == "path_type" else fault["msg"]
        lines.append(f"  {name}: {text}{got}")
    return "\n".join(lines)


def _unknown_kind(kind: type[BaseModel], section: str, context: Mapping[str, str]) -> str:
    """Return the fault of the field that distinguishes the kinds of a section."""
    field = context["discriminator"].strip("'")
    sections = get_args(kind.model_fields[section].annotation)
    kinds = " or ".join(get_args(one.model_fields[field].annotation)[0] for one in sections)
    found = f"unknown {field} {_shortened(context['tag'])}" if "tag" in context else "is missing"
    return f"{field}: {found}; expected {kinds}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

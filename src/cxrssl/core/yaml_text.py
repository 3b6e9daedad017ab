"""YAML that may come from anyone, read with bounds. The only door to YAML.

A recipe, or a list of class names, is a page of words and numbers: no aliases, by which a kilobyte
becomes gigabytes, no types beyond JSON's, and nothing deep or large. Dates are text.
"""

from pathlib import Path
from typing import Any

import yaml

from cxrssl.core.errors import RecipeError

_MOST_BYTES = 1 << 20
_DEEPEST = 32
_MOST_DIGITS = 40
_TYPES = ("null", "bool", "int", "float", "str", "seq", "map")
_TAG = "tag:yaml.org,2002:"


class _Reader(yaml.SafeLoader):
    """Reads YAML; refuses aliases, depth, other types, and repeated keys of a mapping."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    # The stubs of PyYAML leave the arguments of these two open.
    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:  # noqa: ANN401
        """Return a node and what is in it."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refusal("anchors and aliases (& and *) are not read; write the part out", event)
        if self._depth >= _DEEPEST:
            raise _refusal(f"parts lie more than {_DEEPEST} deep in each other", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag.removeprefix(_TAG) not in _TYPES:
            raise _refusal(f"the type {node.tag.removeprefix(_TAG)!r} is not read", event)
        return node

    # The anchor is a name or None; the stubs of PyYAML have it otherwise.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401
        """Return a mapping, in which YAML would take the last of two equal keys."""
        node = super().compose_mapping_node(anchor)
        keys: set[tuple[str, str]] = set()
        # Only text, numbers and the like: other keys are refused where the mapping is made.
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            # The tag tells the number 1 from the text "1".
            if (key.tag, key.value) in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} comes twice", key.start_mark
                )
            keys.add((key.tag, key.value))
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return a number, unless it is longer than any that a recipe needs."""
        if len(node.value) > _MOST_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of more than {_MOST_DIGITS} digits", node.start_mark
            )
        is_integer = node.tag.endswith(":int")
        construct = self.construct_yaml_int if is_integer else self.construct_yaml_float
        number: int | float = construct(node)
        return number


_Reader.add_constructor(f"{_TAG}int", _Reader.construct_number)
_Reader.add_constructor(f"{_TAG}float", _Reader.construct_number)
_Reader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refusal(problem: str, event: yaml.Event) -> yaml.composer.ComposerError:
    return yaml.composer.ComposerError(None, None, problem, event.start_mark)  # type: ignore[arg-type]


def read_yaml(path: Path) -> object:
    """Return what a YAML file holds.

    Raises:
        RecipeError: If it can't be read, is not UTF-8 or not YAML, or exceeds the bounds above.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path} can't be read: {error.strerror}.") from error
    if len(content) > _MOST_BYTES:
        raise RecipeError(
            f"{path} has more than {_MOST_BYTES >> 20} MiB and is not a recipe. Name the YAML file."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}, line {line}: not UTF-8. Save the file as UTF-8.") from error
    return parse_yaml(text, source=str(path), kind="YAML")


def parse_yaml(text: str, *, source: str, kind: str) -> object:
    """Return what YAML text holds.

    Args:
        text: A recipe, or a part of one.
        source: Its origin, for messages.
        kind: What was expected, for messages.

    Raises:
        RecipeError: If it is not YAML, or exceeds the bounds above.
    """
    if len(text) > _MOST_BYTES:
        raise RecipeError(f"{source}: more than {_MOST_BYTES >> 20} MiB of text.")
    try:
        return yaml.load(text, Loader=_Reader)
    # PyYAML passes on Python's ValueError for a number such as 0x or 1:60.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{source} is not {kind}: {error}") from error


def yaml_text(content: object) -> str:
    """Return YAML of what JSON could hold, keys in the order given."""
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

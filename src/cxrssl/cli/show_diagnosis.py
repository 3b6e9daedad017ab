"""Findings of a command as text on a terminal: a line a finding, equal ones told once."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cxrssl.core.printable import printable

_MOST_NAMES = 3
_MOST_FAULTS = 10
_NUMBER = re.compile(r"\d+(\.\d+)?")


def print_ingest(found: Mapping[str, Any], *, store: Path) -> None:
    """Print the content of an `IngestSummary`: counts on stdout; what is odd or wrong on stderr."""
    out, err = Console(highlight=False), Console(highlight=False, stderr=True)
    images, reused, missing = found["num_images"], found["num_reused"], found["num_missing"]
    _say(out, str(found["marks"]))
    _say(out, f"{store}: {_images(images)}, {reused} of them from an earlier call")
    if missing:
        _say(out, f"{_counted(missing, 'shard')} left to other calls; then it is a store.")
    _print_notes(err, found["notes"])
    warnings, failures = found["warnings"], found["failures"]
    _print_warnings(err, warnings)
    _print_faults(err, failures)
    if not (warnings or failures):
        return
    counts = [f"{len(failures)} failed"] if failures else []
    if warnings:
        counts.insert(0, f"{_images(len(warnings))} with warnings")
    listed = "" if missing else f", all listed in {store / 'manifest.json'}"
    _say(err, f"{' and '.join(counts)}{listed}")


def print_diagnosis(found: Mapping[str, Any]) -> None:
    """Print the content of `cxrssl doctor --json` on stdout: what is wrong, then what is well."""
    console = Console(highlight=False)
    for fault in found["table"]:
        _say(console, f"table: {fault}")
    files: Mapping[str, Mapping[str, Any]] = found["files"]
    for name, entry in files.items():
        if "fault" in entry:
            _say(console, f"{name}: {entry['fault'].removeprefix(f'{name}: ')}")
    across = [pair for pair in found["duplicates"] if pair["across_splits"]]
    for pair in across:
        (first, second), (one, other) = pair["images"], pair["splits"]
        _say(
            console,
            f"{first} ({one}) and {second} ({other}) are one image: {pair['bits']} of 256 bits "
            f"differ, correlation {pair['correlation']:.3f}. Leave one of them out.",
        )
    _print_notes(console, found["notes"])
    _print_warnings(console, {n: e["warnings"] for n, e in files.items() if "warnings" in e})
    routes = Table(title=f"{_images(found['images'])} decoded")
    routes.add_column("route")
    routes.add_column("images", justify="right")
    for route, count in found["routes"].items():
        routes.add_row(printable(route), str(count))
    console.print(routes)
    if found["marks"]:
        _say(console, found["marks"])
    within = len(found["duplicates"]) - len(across)
    if within:
        pairs = _counted(within, "pair")
        _say(console, f"{pairs} of images within one split are one image; --json has them.")
    _say(console, _verdict(found, num_leaks=len(across)))


def print_json(found: dict[str, Any]) -> None:
    """Print one JSON object on stdout, and nothing else."""
    # Not by rich, which would turn ":heart:" into a picture.
    sys.stdout.write(json.dumps(found, indent=2, allow_nan=False) + "\n")


def _verdict(found: Mapping[str, Any], *, num_leaks: int) -> str:
    warnings = found["warnings"]
    if not found["ok"]:
        warned = f" {_images(warnings)} with warnings." if warnings else ""
        return (
            f"Wrong: {_counted(found['faults'], 'file')}, {_counted(len(found['table']), 'thing')} "
            f"about the table, {_counted(num_leaks, 'pair')} across splits.{warned}"
        )
    if warnings:
        return f"No file is broken, and {_images(warnings)} may be wrong: see the warnings."
    return "Nothing is wrong."


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        _say(console, f"note: {note}")


def _print_warnings(console: Console, warnings: Mapping[str, Sequence[str]]) -> None:
    """Print what was said of images, once for all of which the same was said."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, texts in warnings.items():
        for text in texts:
            groups.setdefault(_kind(name, text), []).append((name, text))
    for group in groups.values():
        _say(console, f"warning, {_images(len(group))}: {group[0][1]}")
        names, rest = [name for name, _ in group[:_MOST_NAMES]], len(group) - _MOST_NAMES
        _say(console, f"  {', '.join(names)}{f' and {rest} more' if rest > 0 else ''}")


def _print_faults(console: Console, failures: Mapping[str, str]) -> None:
    """Print the first failures of every kind, and how many more there are of it."""
    groups: dict[str, list[str]] = {}
    for name, reason in failures.items():
        text = reason.removeprefix(f"{name}: ")
        groups.setdefault(_kind(name, text), []).append(f"  {name}: {text}")
    for lines in groups.values():
        for line in lines[:_MOST_FAULTS]:
            _say(console, line)
        if len(lines) > _MOST_FAULTS:
            _say(console, f"  and {len(lines) - _MOST_FAULTS} more of this kind")


def _kind(name: str, text: str) -> str:
    """Return a text that is equal where only the name or numbers differ."""
    # As a whole: an image may be called "a".
    alone = rf"(?<![\w.-]){re.escape(name)}(?![\w-])"
    return _NUMBER.sub("0", re.sub(alone, "", text))


def _images(count: int) -> str:
    return _counted(count, "image")


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _say(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, soft_wrap=True, emoji=False)

"""Results of `ingest` and `doctor` on a terminal; equal warnings and failures are grouped."""

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


def print_ingest(summary: Mapping[str, Any], *, store: Path) -> None:
    """Print an `IngestSummary`: counts on stdout, warnings and failures on stderr."""
    out, err = Console(highlight=False), Console(highlight=False, stderr=True)
    images, reused, missing = summary["num_images"], summary["num_reused"], summary["num_missing"]
    _say(out, str(summary["marks"]))
    _say(out, f"{store}: {_images(images)}, {reused} of them from an earlier call")
    if missing:
        _say(out, f"{_counted(missing, 'shard')} left to other calls; then it is a store.")
    _print_notes(err, summary["notes"])
    warnings, failures = summary["warnings"], summary["failures"]
    _print_warnings(err, warnings)
    _print_faults(err, failures)
    if not (warnings or failures):
        return
    counts = [f"{len(failures)} failed"] if failures else []
    if warnings:
        counts.insert(0, f"{_images(len(warnings))} with warnings")
    listed = "" if missing else f", all listed in {store / 'manifest.json'}"
    _say(err, f"{' and '.join(counts)}{listed}")


def print_diagnosis(diagnosis: Mapping[str, Any]) -> None:
    """Print the content of `cxrssl doctor --json` on stdout: faults, then counts."""
    console = Console(highlight=False)
    for fault in diagnosis["table"]:
        _say(console, f"table: {fault}")
    files: Mapping[str, Mapping[str, Any]] = diagnosis["files"]
    for name, entry in files.items():
        if "fault" in entry:
            _say(console, f"{name}: {entry['fault'].removeprefix(f'{name}: ')}")
    across = [pair for pair in diagnosis["duplicates"] if pair["across_splits"]]
    for pair in across:
        (first, second), (first_split, second_split) = pair["images"], pair["splits"]
        _say(
            console,
            f"{first} ({first_split}) and {second} ({second_split}) are one image: {pair['bits']} "
            f"of 256 bits differ, correlation {pair['correlation']:.3f}. Leave one of them out.",
        )
    _print_notes(console, diagnosis["notes"])
    _print_warnings(console, {n: e["warnings"] for n, e in files.items() if "warnings" in e})
    routes = Table(title=f"{_images(diagnosis['images'])} decoded")
    routes.add_column("route")
    routes.add_column("images", justify="right")
    for route, count in diagnosis["routes"].items():
        routes.add_row(printable(route), str(count))
    console.print(routes)
    if diagnosis["marks"]:
        _say(console, diagnosis["marks"])
    _say_two_patients(console, diagnosis["duplicates"])
    within = len(diagnosis["duplicates"]) - len(across)
    if within:
        pairs = _counted(within, "pair")
        _say(console, f"{pairs} of images within one split are one image; --json has them.")
    _say(console, _verdict_text(diagnosis, num_leaks=len(across)))


def _say_two_patients(console: Console, duplicates: Sequence[Mapping[str, Any]]) -> None:
    """Warn of images that are one and are said to be of two patients."""
    apart = [pair for pair in duplicates if pair["two_patients"]]
    if apart:
        first, second = apart[0]["images"]
        _say(
            console,
            f"warning: {_counted(len(apart), 'pair')} of images that are one are of two patients, "
            f"first {first} and {second}. Is the patient the right column or pattern?",
        )


def print_json(diagnosis: dict[str, Any]) -> None:
    """Print one JSON object on stdout, and nothing else."""
    # Without rich, which would replace ":heart:" by an emoji.
    sys.stdout.write(json.dumps(diagnosis, indent=2, allow_nan=False) + "\n")


def _verdict_text(diagnosis: Mapping[str, Any], *, num_leaks: int) -> str:
    warnings = diagnosis["warnings"]
    if not diagnosis["ok"]:
        warned = f" {_images(warnings)} with warnings." if warnings else ""
        return (
            f"Wrong: {_counted(diagnosis['faults'], 'file')}, "
            f"{_counted(len(diagnosis['table']), 'thing')} about the table, "
            f"{_counted(num_leaks, 'pair')} across splits.{warned}"
        )
    if warnings:
        return f"No file is broken, and {_images(warnings)} may be wrong: see the warnings."
    return "Nothing is wrong."


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        _say(console, f"note: {note}")


def _print_warnings(console: Console, warnings: Mapping[str, Sequence[str]]) -> None:
    """Print each kind of warning once, with the number of images and the first names."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, texts in warnings.items():
        for text in texts:
            groups.setdefault(_group_key(name, text), []).append((name, text))
    for group in groups.values():
        _say(console, f"warning, {_images(len(group))}: {group[0][1]}")
        names, num_more = [name for name, _ in group[:_MOST_NAMES]], len(group) - _MOST_NAMES
        _say(console, f"  {', '.join(names)}{f' and {num_more} more' if num_more > 0 else ''}")


def _print_faults(console: Console, failures: Mapping[str, str]) -> None:
    """Print the first failures of every kind, and the number of further ones."""
    groups: dict[str, list[str]] = {}
    for name, reason in failures.items():
        text = reason.removeprefix(f"{name}: ")
        groups.setdefault(_group_key(name, text), []).append(f"  {name}: {text}")
    for lines in groups.values():
        for line in lines[:_MOST_FAULTS]:
            _say(console, line)
        if len(lines) > _MOST_FAULTS:
            _say(console, f"  and {len(lines) - _MOST_FAULTS} more of this kind")


def _group_key(name: str, text: str) -> str:
    """Return a key that is equal for texts in which only the name or numbers differ."""
    # As a whole word: an image may be called "a".
    name_pattern = rf"(?<![\w.-]){re.escape(name)}(?![\w-])"
    return _NUMBER.sub("0", re.sub(name_pattern, "", text))


def _images(count: int) -> str:
    return _counted(count, "image")


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _say(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, soft_wrap=True, emoji=False)

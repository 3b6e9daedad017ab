"""What a JSON export of Label Studio holds: tasks, their images and who annotated them.

Three forms: JSON (a list of tasks, or a file a task), JSON-MIN (a list of annotations) and what is
written to a target storage (a file an annotation). Described at labelstud.io/guide/export and
/guide/task_format. Shapes are read in `label_studio_regions`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.data.tables.json_head import json_head
from cxrssl.data.tables.rows import IMAGE_SUFFIXES

_MAX_BYTES = 1 << 31
_BOM = b"\xef\xbb\xbf"
_TASKS = re.compile(rb'"(annotations|completions)"\s*:\s*\[')
_OF_TASKS = re.compile(rb'"data"\s*:\s*\{|"result"\s*:\s*\[')
_OF_STORAGE = (re.compile(rb'"task"\s*:\s*\{'), re.compile(rb'"result"\s*:\s*\['))
_OF_MINIMAL = (re.compile(rb'"annotation_id"\s*:'), re.compile(rb'"(annotator|lead_time)"\s*:'))
_OF_COCO = (re.compile(rb'"images"\s*:\s*\['), re.compile(rb'"categories"\s*:\s*\['))
_IMAGE_KEYS = {"image", "img", "picture", "dicom", "film", "xray", "x-ray", "photo", "url"}


@dataclass(frozen=True)
class Annotation:
    """One annotator's work on a task.

    Attributes:
        reader: Id or e-mail address of the annotator, None where it is not said.
        results: Entries of `result`.
        time: When it was changed last, as the file writes it; "" where it is not said.
        is_skipped: Whether the task was skipped.
        place: Where it stands, for messages.
    """

    reader: int | str | None
    results: list[dict[str, Any]]
    time: str
    is_skipped: bool
    place: str


@dataclass(frozen=True)
class Task:
    """Images that are annotated together.

    Attributes:
        data: What is known of them.
        images: Key of `data` -> names of image files; one at least.
        annotations: Of each annotator.
        num_predictions: Number of a model's predictions, and of drafts.
        place: Where it stands, for messages.
    """

    data: Mapping[str, Any]
    images: dict[str, list[str]]
    annotations: list[Annotation]
    num_predictions: int
    place: str


def label_studio_tables(files: Iterable[Path]) -> list[Path]:
    """Return the files that are Label Studio's exports, by their content."""
    return [path for path in files if path.suffix.lower() == ".json" and _is_export(path)]


def tasks_of(path: Path, name: str) -> Iterator[Task]:
    """Yield the tasks of a file, called `name` in messages.

    Raises:
        DataError: If it can't be read, or is no export.
    """
    content = _content(path, name)
    entries = content if isinstance(content, list) else [content]
    for number, entry in enumerate(entries):
        place = f"{name}, entry {number}" if isinstance(content, list) else name
        if not isinstance(entry, dict):
            raise DataError(f"{place} is {type(entry).__name__}; expected an object, a task.")
        yield _task(_as_task(entry), place)


def _content(path: Path, name: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{name} is larger than 2 GiB. Export fewer tasks to a file.")
        return json.loads(path.read_bytes().removeprefix(_BOM).decode())
    except OSError as error:
        raise DataError(f"{name} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON in UTF-8: {error}. Export it again.") from error


def _is_export(path: Path) -> bool:
    head = json_head(path)
    if head is None:
        return False
    content, first = head.content, head.first
    if first not in (b"[", b"{") or (first == b"{" and _has_all(content, _OF_COCO)):
        return False
    if _TASKS.search(content) and _OF_TASKS.search(content):
        return True
    return _has_all(content, _OF_STORAGE if first == b"{" else _OF_MINIMAL)


def _has_all(content: bytes, patterns: Iterable[re.Pattern[bytes]]) -> bool:
    return all(pattern.search(content) for pattern in patterns)


def _as_task(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry in the form of the JSON export, whatever form it is of."""
    task = entry.get("task")
    if isinstance(task, dict) and "result" in entry:  # target storage
        return {"data": task.get("data"), "annotations": [entry]}
    if "data" not in entry and "annotation_id" in entry:  # JSON-MIN
        results: list[dict[str, Any]] = [
            {**item, "value": item}
            for value in entry.values()
            if isinstance(value, list)
            for item in value
            if isinstance(item, dict)
        ]
        choice = entry.get("choice")
        choices = choice.get("choices") if isinstance(choice, dict) else choice
        if choices:
            listed = choices if isinstance(choices, list) else [choices]
            results.append({"type": "choices", "value": {"choices": listed}})
        annotation = {"completed_by": entry.get("annotator"), "result": results}
        data = {key: value for key, value in entry.items() if isinstance(value, str | int)}
        times = {key: entry.get(key) for key in ("updated_at", "created_at")}
        return {"data": data, "annotations": [annotation | times]}
    return entry


def _task(entry: Mapping[str, Any], place: str) -> Task:
    data = entry.get("data")
    if not isinstance(data, dict):
        raise DataError(f"{place} has no data. Expected a task, as Label Studio exports it.")
    listed = entry.get("annotations", entry.get("completions"))
    if listed is None:
        listed = []
    annotations = [
        _annotation(item, f"{place}, annotation {number}")
        for number, item in enumerate(_list(listed, f"{place}: annotations"))
    ]
    others = [entry.get(key) for key in ("predictions", "drafts")]
    num_others = sum(len(other) for other in others if isinstance(other, list))
    return Task(data, _images(data, place), annotations, num_others, place)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{what} is {type(value).__name__}; expected a list.")
    return value


def _annotation(entry: object, place: str) -> Annotation:
    if not isinstance(entry, dict):
        raise DataError(
            f"{place} is {type(entry).__name__}; expected an object with a result. Export the "
            "annotations themselves, not their ids."
        )
    is_skipped = bool(entry.get("was_cancelled") or entry.get("skipped"))
    results = _list(entry.get("result") or [], f"{place}: result")
    if not all(isinstance(result, dict) for result in results):
        raise DataError(f"{place}: result holds what is no object; expected regions.")
    times = (entry.get("updated_at"), entry.get("created_at"))
    time = next((time for time in times if isinstance(time, str)), "")
    return Annotation(_reader(entry.get("completed_by")), results, time, is_skipped, place)


def _reader(value: object) -> int | str | None:
    if isinstance(value, dict):
        value = value.get("id", value.get("email"))
    if isinstance(value, str) and value.strip().isdigit():
        return int(value)
    return value if isinstance(value, int | str) and value != "" else None


def _images(data: Mapping[str, Any], place: str) -> dict[str, list[str]]:
    """Return the values that name image files: by their suffix, else by their key.

    Raises:
        DataError: If none does.
    """
    texts: dict[str, list[str]] = {}
    for key, value in data.items():
        names = value if isinstance(value, list) else [value]
        if names and all(isinstance(name, str) and name.strip() for name in names):
            texts[str(key)] = names
    found = {key: names for key, names in texts.items() if all(map(_is_image_name, names))}
    by_key = {key: names for key, names in texts.items() if key.casefold() in _IMAGE_KEYS}
    images = found or by_key or (texts if len(texts) == 1 else {})
    if not images:
        keys = ", ".join(sorted(texts)[:5]) or "none"
        raise DataError(
            f"{place}: nothing in its data is the name of an image file (texts: {keys[:200]}). "
            "Expected one such as image: a.png."
        )
    return images


def _is_image_name(name: str) -> bool:
    if "/data/local-files/" in name or name.startswith("/data/upload/"):
        return True
    path = name.partition("?")[0].partition("#")[0]
    return PurePosixPath(path.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES

"""What a store is made from and how, on record from the first moment of its ingest.

A call that names another source or other settings would overwrite a store that took hours; it is
refused, and with `--replace` the new store is made in a folder inside the old one, which stays
whole until the new one is. Then the new one's files take its place. A kill at any moment leaves
one of the two, or a folder whose next ingest ends the exchange.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cxrssl.core.files import write_json
from cxrssl.data.tables import Source, Table
from cxrssl.data.tables.rows import is_id
from cxrssl.ingest.shards import Settings

ORIGIN_FILE = "origin.json"
REPLACEMENT_FOLDER = ".replacement"
_SETTINGS = ("layout", "size_px", "fit", "exact")


@dataclass(frozen=True)
class Origin:
    """Where a store comes from.

    Attributes:
        layout: Layout of the source.
        size_px: Side of the stored square, pixels.
        fit: How an image lies in it.
        exact: Whether JPEG 2000 is decoded whole.
        folder_name: Name of the source folder; "" where it is not a plain name.
        folder_sha256: Hash of the folder's absolute path, which is not itself recorded.
        files_sha256: Hash of ids and sizes of the files; equal after a folder is moved.
        file_bytes: Image id -> size of its file; -1 where there is none.
        table_sha256: Part of the table as it was read, of `_table_sha256`, -> its hash.
    """

    layout: str
    size_px: int
    fit: str
    exact: bool
    folder_name: str
    folder_sha256: str
    files_sha256: str
    file_bytes: dict[str, int] = field(default_factory=dict)
    table_sha256: dict[str, str] = field(default_factory=dict)

    def write(self, store_folder: Path) -> None:
        """Put it on record in the folder of a store."""
        if _read(store_folder / ORIGIN_FILE) != asdict(self):
            write_json(store_folder / ORIGIN_FILE, asdict(self))


def origin_of(source_folder: Path, source: Source, settings: Settings) -> Origin:
    """Return where the store of a source comes from."""
    folder = source_folder.resolve()
    file_bytes = _file_bytes(source)
    return Origin(
        source.layout,
        settings.size_px,
        settings.fit,
        settings.exact,
        folder.name if is_id(folder.name) else "",
        _sha256(str(folder)),
        _files_sha256(file_bytes),
        file_bytes,
        _table_sha256(source.table),
    )


def changes_of_source(store_folder: Path, source: Source, *, with_split: bool = True) -> list[str]:
    """Return how a source differs from what a store was made of, each the end of "it has ...".

    What the store has no record of, as one of an earlier version, is taken to be equal; so is the
    split, if it is not to be compared.
    """
    recorded = _read(store_folder / ORIGIN_FILE)
    changes = []
    layout = recorded.get("layout", source.layout)
    if layout != source.layout:
        changes.append(f"the layout {source.layout}, and had {layout}")
    file_bytes = _file_bytes(source)
    if recorded.get("files_sha256") not in (None, _files_sha256(file_bytes)):
        changes.append(_changes_of_files(_mapping(recorded, "file_bytes"), file_bytes))
    stored = _mapping(recorded, "table_sha256")
    parts = [
        part
        for part, sha256 in _table_sha256(source.table).items()
        if stored.get(part, sha256) != sha256 and (with_split or part != "split")
    ]
    if parts:
        changes.append(f"other {', '.join(parts)} in its table")
    return changes


def _changes_of_files(before: dict[str, Any], now: dict[str, int]) -> str:
    if not before:
        return "other films, or films of other sizes"
    num_changed = sum(before[name] != now[name] for name in before.keys() & now.keys())
    counts = {
        "added": len(now.keys() - before.keys()),
        "removed": len(before.keys() - now.keys()),
        "whose file has another size": num_changed,
    }
    return "films " + ", ".join(f"{how} ({number})" for how, number in counts.items() if number)


def _file_bytes(source: Source) -> dict[str, int]:
    """Return image id -> bytes of its file, -1 where there is none, sorted."""
    return {
        name: path.stat().st_size if path.is_file() else -1
        for name, path in sorted(source.files.items())
    }


def _files_sha256(file_bytes: dict[str, int]) -> str:
    return _sha256("".join(f"{name}/{size}\n" for name, size in file_bytes.items()))


def _table_sha256(table: Table) -> dict[str, str]:
    """Return hashes of what a table says, by part, named as a user would."""
    by_image = {"split": table.parts, "patients": table.patients, "kinds": table.kinds}
    texts = {
        # In their order: which films a share of the labels takes may go by it.
        "boxes": f"{table.unit}{sorted(table.sizes.items())}{table.rows.to_csv(index=False)}",
        "classes": json.dumps(table.classes),
        **{part: json.dumps(sorted(said.items())) for part, said in by_image.items()},
    }
    return {part: _sha256(text) for part, text in texts.items()}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def difference(store_folder: Path, origin: Origin, source: Source) -> str | None:
    """Say how what a folder holds differs from what is to be stored there.

    Images that were added, mended or taken away, a table that was changed and a folder that was
    moved make no other source.

    Returns:
        The end of a sentence that says both; None where they agree, or the folder holds nothing.
    """
    recorded = _read(store_folder / ORIGIN_FILE)
    # A store of an earlier version has its settings in its manifest, and no more.
    stored = recorded or _read(store_folder / "manifest.json")
    current = asdict(origin)
    differing = [name for name in _SETTINGS if name in stored and stored[name] != current[name]]
    if differing:
        return (
            f"was made with {_settings_text(stored, differing)}, and this call has "
            f"{_settings_text(current, differing)}"
        )
    folder = str(recorded.get("folder_name", ""))
    source_text = f"was made from another source{f' (a folder {folder})' if is_id(folder) else ''}"
    is_moved = recorded and recorded.get("folder_sha256") != origin.folder_sha256
    if is_moved and recorded.get("files_sha256") != origin.files_sha256:
        return f"{source_text}: neither the folder nor the files are the same"
    stored_ids = _stored_ids(store_folder)
    first = next(stored_ids, None)
    if first is None or first in source.files or any(name in source.files for name in stored_ids):
        return None
    return f"{source_text}: none of its images is in this one"


def _settings_text(values: dict[str, Any], names: list[str]) -> str:
    texts = {"exact": "on" if values.get("exact") else "off"}
    return ", ".join(
        f"{name.removesuffix('_px')} {texts.get(name, values[name])}" for name in names
    )


def _stored_ids(store_folder: Path) -> Iterator[str]:
    for path in sorted(store_folder.glob("images-*-of-*.json")):
        images = _read(path).get("images")
        for row in images if isinstance(images, list) else ():
            if isinstance(row, dict):
                yield str(row.get("image_id"))


def _read(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; {} where there is none, or a broken one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _mapping(content: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what a record holds under a key; {} where that is none, or no mapping."""
    entry = content.get(key)
    return entry if isinstance(entry, dict) else {}


def put_in_place(store_folder: Path) -> None:
    """End an exchange: the whole store inside a folder takes the place of what the folder holds.

    Does nothing where there is no whole store inside. The old manifest goes first and the new one
    comes last, so that what is there is one of the two, or no store.
    """
    inside = store_folder / REPLACEMENT_FOLDER
    if not (inside / "manifest.json").is_file():
        return
    (store_folder / "manifest.json").unlink(missing_ok=True)
    names = set(_read(inside / "manifest.json").get("shards", ()))
    names |= {Path(name).with_suffix(".json").name for name in names}
    for path in store_folder.glob("images-*-of-*"):
        if path.name not in names:
            path.unlink()
    for path in sorted(inside.iterdir()):
        if path.name not in ("manifest.json", ".lock"):
            path.replace(store_folder / path.name)
    (inside / "manifest.json").replace(store_folder / "manifest.json")
    (inside / ".lock").unlink(missing_ok=True)
    inside.rmdir()

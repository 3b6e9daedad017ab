"""What a prediction has done so far, on disk: a line a file, so that a killed one goes on.

`unfinished.jsonl` begins with what was asked for; then comes every file that is done, in order. A
line that was cut by a kill or a full disk is dropped, and its file done again. Which formats are
written is not on record, because they are written of it when all files are done: a call that goes
on may ask for others. When they are written, the record goes.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Literal

from cxrssl.core.errors import RunError
from cxrssl.core.files import make_folder
from cxrssl.core.lock import claimed
from cxrssl.core.printable import valid_text
from cxrssl.core.records import UNFINISHED_PREDICTION, num_lines
from cxrssl.predict.found import Finding, Found

_LOCK = ".lock"


@dataclass(frozen=True)
class PredictionSettings:
    """All that decides what a prediction finds; one that goes on must have been asked the same.

    Attributes:
        version: Version of cxrssl.
        detector: A hash of the detectors' files, in order.
        flip: Whether they also look at flipped images.
        threshold: Least score of what is drawn, since pictures that are there are kept.
        files: A hash of the inputs' names, sizes and times, in order.
        operating_point: What decides which findings are kept, in words; empty if all are.
    """

    version: str
    detector: str
    flip: bool
    threshold: float
    files: str
    operating_point: str = ""


class Record:
    """The files that are done, appended to as they are."""

    def __init__(self, path: Path, file: IO[bytes], num_done: int) -> None:
        """Take a path, and the file there, which stands behind its last whole line."""
        self._path, self._file, self.num_done = path, file, num_done

    def add(self, found: Found) -> None:
        """Put a file on record; whatever happens then, it is done."""
        boxes = [[*finding.box, finding.label, finding.score] for finding in found]
        size = found.width, found.height
        content = [str(found.file), *size, boxes, found.warnings, found.failure]
        self._file.write(_line(content))
        self._file.flush()
        self.num_done += 1

    def __iter__(self) -> Iterator[Found]:
        """Yield every file that is done, in order, one in memory at a time."""
        with self._path.open("rb") as file:
            next(file)
            for line in file:
                yield _found_in(line)


def _found_in(line: bytes) -> Found:
    name, width, height, boxes, warnings, failure = json.loads(line)
    findings = tuple(Finding((*box[:4],), box[4], box[5]) for box in boxes)
    return Found(Path(name), width, height, findings, tuple(warnings), failure)


def state_of(out: Path) -> tuple[Literal["new", "unfinished", "other"], int]:
    """Return what a folder holds, and of an unfinished prediction how many files are done."""
    try:
        names = {path.name for path in out.iterdir()} - {_LOCK}
    except FileNotFoundError:
        return "new", 0
    if UNFINISHED_PREDICTION in names:
        num_done = num_lines(out / UNFINISHED_PREDICTION) - 1
        return ("unfinished", num_done) if num_done > 0 else ("new", 0)
    return ("other" if names else "new"), 0


def check_out(out: Path, *, resume: bool) -> None:
    """Check that a prediction can begin or go on in a folder.

    Raises:
        RunError: If something else is there, or one that is not to be resumed.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; --out needs a folder, which may be absent.")
    state, num_done = state_of(out)
    if state == "other":
        raise RunError(
            f"{out} is not empty. Name another folder with --out: there is no unfinished "
            "prediction in it."
        )
    if state == "unfinished" and not resume:
        raise RunError(
            f"{out} holds a prediction that has not ended; files that are done: {num_done}. "
            "Go on with --resume, or name another folder with --out."
        )


@contextmanager
def recorded(out: Path, settings: PredictionSettings, *, resume: bool) -> Iterator[Record]:
    """Hold a folder alone, and yield the record of what is done in it.

    The record goes when the block ends well.

    Raises:
        RunError: If another process works there, or `check_out` or what was asked for says no.
        OSError: If it can't be written.
    """
    make_folder(out)
    with claimed(out, [0], subject="prediction"):
        check_out(out, resume=resume)
        path = out / UNFINISHED_PREDICTION
        if state_of(out)[0] == "unfinished":
            _check_same(path, settings)
        else:
            _delete(out.glob("overlays/*.png"))  # of a call that left no record of its files
            path.write_bytes(_line(asdict(settings)))
        _delete(out.glob("*.tmp"), out.glob("overlays/*.tmp"))
        with path.open("r+b") as file:
            num_done = _truncate_to_last_line(file, path)
            yield Record(path, file, num_done)
        path.unlink()


def files_hash(files: Sequence[Path]) -> str:
    """Return a hash of the names, sizes and times of files, in order."""
    digest = sha256()
    for file in files:
        try:
            status = file.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "gone"  # it is listed when its turn comes
        digest.update(f"{valid_text(str(file))}\0{state}\n".encode())
    return digest.hexdigest()


def _check_same(path: Path, settings: PredictionSettings) -> None:
    with path.open("rb") as file, _damage_as_error(path):
        before: dict[str, Any] = dict(json.loads(next(file)))
    now = asdict(settings)
    if before.keys() != now.keys():
        before = {"version": None}
    texts = {
        "version": "another version of cxrssl",
        "detector": "another detector",
        "flip": "--flip" if before.get("flip") else "no --flip",
        "threshold": f"--threshold {before.get('threshold')}",
        "operating_point": before.get("operating_point") or "no --operating-point",
        "files": "other input files, or some of them have changed since",
    }
    differing = [text for name, text in texts.items() if before.get(name, now[name]) != now[name]]
    if differing:
        raise RunError(
            f"{path.parent} holds a prediction that was begun with {'; '.join(differing)}. Call it "
            "as it was called before, or name another folder with --out."
        )


def _delete(*groups: Iterable[Path]) -> None:
    for paths in groups:
        for path in list(paths):
            path.unlink()


@contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged, so that the prediction can't go on. Name another folder with "
            "--out, or delete this one."
        ) from error


def _truncate_to_last_line(file: IO[bytes], path: Path) -> int:
    """Cut off an unfinished last line, go to the end, and return the number of files on record.

    Raises:
        RunError: If a whole line is not as it was written.
    """
    num_bytes = num_lines = 0
    for line in file:
        if line.endswith(b"\n"):
            if num_lines:
                with _damage_as_error(path):
                    _found_in(line)
            num_bytes += len(line)
            num_lines += 1
    file.truncate(num_bytes)
    file.seek(num_bytes)
    return num_lines - 1


def _line(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"

"""A run folder: one command's recipe, provenance, log, checkpoints and product."""

import os
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any
from weakref import finalize

from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json, write_text
from cxrssl.core.lock import LOCK_NAME, hold
from cxrssl.core.records import read_record, reading

TRAINING_IMAGES = "training_images.png"
"""A sheet of a run's first images as the network is given them."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run; under several processes only one of them writes.

    Attributes:
        path: The folder.
        writes: Whether this process writes into it.
    """

    path: Path
    writes: bool

    @property
    def checkpoints(self) -> Path:
        """Return where checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """Return the JSON-lines log."""
        return self.path / "metrics.jsonl"

    @property
    def backbone(self) -> Path:
        """Return the folder of a pretraining's product."""
        return self.path / "backbone"

    @property
    def detector(self) -> Path:
        """Return the folder of a fine-tuning's product."""
        return self.path / "detector"

    @property
    def best(self) -> Path:
        """Return the folder of the detector that validated best."""
        return self.path / "best"

    def write_start(self, *, transfer: dict[str, Any] | None, provenance: dict[str, Any]) -> None:
        """Record what the run starts from, None if that is on record, and what it is made with."""
        if self.writes:
            if transfer is not None:
                write_json(self.path / "transfer.json", transfer)
            write_json(self.path / "provenance.json", provenance)

    def remember_chunk(self, chunk_images: int) -> None:
        """Record, from whichever process ran out of memory, what a later start may begin with."""
        write_json(self.path / "chunk.json", {"chunk_images": chunk_images})

    def chunk_bound(self) -> int | None:
        """Return the most images that memory has had room for at once, None if it never ran out."""
        path = self.path / "chunk.json"
        if not path.is_file():
            return None
        with reading(path):
            return int(read_record(path, "chunk_images")["chunk_images"])

    def finish(self, metrics: dict[str, Any]) -> None:
        """Write the final metrics, and with them end the run."""
        if self.writes:
            write_json(self.path / "metrics.json", metrics)


def open_run(path: Path, *, recipe_yaml: str, resume: bool, writes: bool) -> RunFolder:
    """Begin a run in an empty folder, or go on with one of the same recipe.

    The process that writes holds the folder until it ends, or until the run is let go of.

    Raises:
        RunError: If the run there is finished, or is not to be resumed, or has another recipe, or
            another process works in it.
    """
    run, recipe = RunFolder(path, writes), path / "recipe.yaml"
    if not writes:
        return run
    check_run(path, recipe_yaml=recipe_yaml, resume=resume)
    path.mkdir(parents=True, exist_ok=True)
    descriptor = hold(path)
    if descriptor is not None:
        finalize(run, os.close, descriptor)
    # Another process may have begun a run since, or ended the one that is there.
    check_run(path, recipe_yaml=recipe_yaml, resume=resume)
    if not recipe.is_file():
        write_text(recipe, recipe_yaml)
    return run


def check_run(path: Path, *, recipe_yaml: str, resume: bool, writes: bool = True) -> None:
    """Check that a run can begin or go on in a folder, before anything that takes time.

    Only the process that writes looks: for others the run may have begun already.

    Raises:
        RunError: If the run there is finished, or is not to be resumed, or has another recipe, or
            the path or one above it is a file.
    """
    recipe = path / "recipe.yaml"
    if not writes:
        return
    check_no_file(path)
    if is_finished(path):
        raise RunError(f"{path} holds a finished run. Name another folder with --out.")
    if recipe.is_file():
        _check_resumable(recipe, recipe_yaml, resume=resume)
    elif path.is_dir() and any(file.name != LOCK_NAME for file in path.iterdir()):
        raise RunError(f"{path} is not empty and holds no run. Name another folder with --out.")


def check_no_file(path: Path) -> None:
    """Check that neither a path nor one above it is a file, so that a folder can be made.

    Raises:
        RunError: If one is.
    """
    # A link to nothing is there, too: no folder can be made in its place.
    there = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
    if os.path.lexists(there) and not there.is_dir():
        raise RunError(f"{there} is a file; expected a new folder. Name another one with --out.")


def what_is_there(path: Path) -> str:
    """Say what a call with --resume finds in a folder to go on with."""
    if is_finished(path):
        return f"{path} holds a finished run."
    if not (path / "recipe.yaml").is_file():
        return f"{path} holds no run to go on with; a new one begins."
    step = checkpointed_step(path)
    if step is None:
        return f"{path} holds a run without a checkpoint; it begins again from its first step."
    return f"{path} holds a run that has not ended; it goes on from step {step}."


def checkpointed_step(path: Path) -> int | None:
    """Return how many steps the last whole checkpoint of a run has, None where there is none."""
    names = [folder.name for folder in RunFolder(path, writes=False).checkpoints.glob("step-*")]
    steps = [int(number) for number in (name[5:] for name in names) if number.isdecimal()]
    return max(steps, default=None)


def is_finished(path: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return (path / "metrics.json").is_file()


def _check_resumable(recipe: Path, recipe_yaml: str, *, resume: bool) -> None:
    if not resume:
        raise RunError(
            f"{recipe.parent} holds a run that has not ended. Go on with --resume, "
            "or name another folder with --out."
        )
    begun_with = recipe.read_text(encoding="utf-8")
    if begun_with != recipe_yaml:
        raise RunError(
            f"{recipe.parent} was begun with another recipe (see {recipe}):\n"
            f"{_differing_lines(begun_with, recipe_yaml)}\nName another folder "
            "with --out, or resume with the recipe that is there: --resume without a recipe."
        )


def _differing_lines(there: str, here: str, *, at_most: int = 10) -> str:
    """Return the lines in which two recipes differ, those of the run first with a minus."""
    diff = [*unified_diff(there.splitlines(), here.splitlines(), lineterm="", n=0)]
    lines = [f"  {line}" for line in diff if not line.startswith(("---", "+++", "@@"))]
    more = [f"  and {len(lines) - at_most} lines more"] if len(lines) > at_most else []
    return "\n".join(lines[:at_most] + more)

"""A run folder: one command's recipe, provenance, log, checkpoints and product."""

import os
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any
from weakref import finalize

from cxrssl.core.errors import RunError
from cxrssl.core.files import make_folder, write_json, write_text
from cxrssl.core.lock import LOCK_NAME, hold
from cxrssl.core.printable import printable
from cxrssl.core.records import read_record, reading

TRAINING_IMAGES = "training_images.png"
"""A sheet of a run's first images as the network receives them."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder; of several processes one writes into it.

    Attributes:
        path: The folder.
        writes: Whether this process writes into it.
    """

    path: Path
    writes: bool

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """Return the JSON-lines log."""
        return self.path / "metrics.jsonl"

    @property
    def backbone(self) -> Path:
        """Return the folder of the pretrained backbone."""
        return self.path / "backbone"

    @property
    def detector(self) -> Path:
        """Return the folder of the fine-tuned detector."""
        return self.path / "detector"

    @property
    def best(self) -> Path:
        """Return the folder of the detector with the best validation score."""
        return self.path / "best"

    def write_provenance(
        self, *, transfer: dict[str, Any] | None, provenance: dict[str, Any]
    ) -> None:
        """Record the provenance, and the audit of the initial weights unless it is None.

        Raises:
            RunError: If the run has a checkpoint, and its steps were trained on other data.
        """
        if self.writes:
            self._check_same_data(provenance)
            if transfer is not None:
                write_json(self.path / "transfer.json", transfer)
            write_json(self.path / "provenance.json", provenance)

    def _check_same_data(self, provenance: dict[str, Any]) -> None:
        path = self.path / "provenance.json"
        if checkpointed_step(self.path) is None or not path.is_file():
            return
        recorded = read_record(path)
        fields = ("images", "data_fingerprint", "unlabelled")
        if any(recorded.get(field) != provenance.get(field) for field in fields):
            before, now = (_image_counts(path, record) for record in (recorded, provenance))
            other = ", with other pixels, boxes or images without labels" if before == now else ""
            raise RunError(
                f"{self.path} was begun with other data: {before} then, {now} now{other}. Put the "
                "store back as it was, or name another folder with --out."
            )

    def write_chunk_size(self, chunk_images: int) -> None:
        """Record the chunk size for a later start, from the process that ran out of memory."""
        write_json(self.path / "chunk.json", {"chunk_images": chunk_images})

    def read_chunk_size(self) -> int | None:
        """Return the recorded chunk size, None if memory never ran out."""
        path = self.path / "chunk.json"
        if not path.is_file():
            return None
        with reading(path):
            return int(read_record(path, "chunk_images")["chunk_images"])

    def finish(self, metrics: dict[str, Any]) -> None:
        """Write the final metrics, which marks the run as finished."""
        if self.writes:
            write_json(self.path / "metrics.json", metrics)


def open_run(path: Path, *, recipe_yaml: str, resume: bool, writes: bool) -> RunFolder:
    """Begin a run in an empty folder, or resume one of the same recipe.

    The process that writes locks the folder until it ends, or the returned object is deleted.

    Raises:
        RunError: If the run there is finished, `resume` is false, its recipe differs, or another
            process works in it.
    """
    run, recipe = RunFolder(path, writes), path / "recipe.yaml"
    if not writes:
        return run
    check_run(path, recipe_yaml=recipe_yaml, resume=resume)
    make_folder(path)
    descriptor = hold(path)
    if descriptor is not None:
        finalize(run, os.close, descriptor)
    # Another process may have begun a run since, or ended the one that is there.
    check_run(path, recipe_yaml=recipe_yaml, resume=resume)
    if not recipe.is_file():
        write_text(recipe, recipe_yaml)
    return run


def check_run(path: Path, *, recipe_yaml: str, resume: bool, writes: bool = True) -> None:
    """Check that a run can begin or resume in a folder, before anything that takes time.

    Only the process that writes checks: for others the run may have begun already.

    Raises:
        RunError: If the run there is finished, `resume` is false, its recipe differs, or the path
            or a parent of it is a file.
    """
    recipe = path / "recipe.yaml"
    if not writes:
        return
    check_no_file_in_path(path)
    if is_finished(path):
        raise RunError(f"{path} holds a finished run. Name another folder with --out.")
    if recipe.is_file():
        _check_resumable(recipe, recipe_yaml, resume=resume)
    elif path.is_dir() and any(file.name != LOCK_NAME for file in path.iterdir()):
        raise RunError(f"{path} is not empty and holds no run. Name another folder with --out.")


def check_no_file_in_path(path: Path) -> None:
    """Check that neither a path nor a parent of it is a file, so that a folder can be made.

    Raises:
        RunError: If one is, or the path is not UTF-8: records and configurations name it in text.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise RunError(
            f"{printable(str(path))} is not valid UTF-8. Name another folder with --out."
        ) from error
    # A broken link exists as well: no folder can be made in its place.
    existing = next((parent for parent in (path, *path.parents) if os.path.lexists(parent)), path)
    if os.path.lexists(existing) and not existing.is_dir():
        raise RunError(f"{existing} is a file; expected a new folder. Name another one with --out.")


def resume_text(path: Path) -> str:
    """Return in words what a call with --resume finds in a folder."""
    if is_finished(path):
        return f"{path} holds a finished run."
    if not (path / "recipe.yaml").is_file():
        return f"{path} holds no run to go on with; a new one begins."
    step = checkpointed_step(path)
    if step is None:
        return f"{path} holds a run without a checkpoint; it begins again from its first step."
    return f"{path} holds a run that has not ended; its last checkpoint is of step {step}."


def checkpointed_step(path: Path) -> int | None:
    """Return the step of a run's last complete checkpoint, None if there is none."""
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
    run_yaml = recipe.read_text(encoding="utf-8")
    task, own_task = _task_of(run_yaml), _task_of(recipe_yaml)
    if task != own_task and task in ("pretrain", "finetune"):
        raise RunError(
            f"{recipe.parent} holds a run of `cxrssl {task}`, and this is `cxrssl {own_task}`. Go "
            f"on with `cxrssl {task} --resume --out {recipe.parent}`, or name another folder with "
            "--out."
        )
    if run_yaml != recipe_yaml:
        raise RunError(
            f"{recipe.parent} was begun with another recipe (see {recipe}):\n"
            f"{_differing_lines(run_yaml, recipe_yaml)}\nName another folder "
            "with --out, or resume with the recipe that is there: --resume without a recipe."
        )


def _task_of(recipe_yaml: str) -> str | None:
    """Return the command that a recipe is for, None if it does not say."""
    lines = (line.partition(":") for line in recipe_yaml.splitlines())
    return next((value.strip() for key, _, value in lines if key == "task"), None)


def _image_counts(path: Path, record: dict[str, Any]) -> str:
    """Return in words how many images a provenance record has of each split."""
    with reading(path):
        counts = [f"{name} {entry['count']}" for name, entry in record.get("images", {}).items()]
        return f"{' and '.join(counts) or 'an unknown number of'} images"


def _differing_lines(run_yaml: str, recipe_yaml: str, *, at_most: int = 10) -> str:
    """Return the lines in which two recipes differ, those of the run first with a minus."""
    diff = [*unified_diff(run_yaml.splitlines(), recipe_yaml.splitlines(), lineterm="", n=0)]
    lines = [f"  {line}" for line in diff if not line.startswith(("---", "+++", "@@"))]
    more = [f"  and {len(lines) - at_most} lines more"] if len(lines) > at_most else []
    return "\n".join(lines[:at_most] + more)

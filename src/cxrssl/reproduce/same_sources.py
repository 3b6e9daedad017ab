"""Whether the folders of a plan's films are still what its stores were made of.

A store that is complete is not made again, so that without this check a plan would go on with the
labels and films of before.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cxrssl.config.plan import Plan
from cxrssl.core.errors import DataError, RunError
from cxrssl.data.tables import ReadOptions, read_source
from cxrssl.ingest.origin import changes_of_source
from cxrssl.reproduce.jobs import POOL, store_name


def check_same_sources(plan: Plan, out: Path) -> None:
    """Check that source and pool of a plan are as they were when its stores were made of them.

    Args:
        plan: The plan.
        out: Folder of its runs.

    Raises:
        RunError: If one has changed.
    """
    changes = changes_of_sources(plan, out)
    if changes:
        raise RunError(
            f"{' '.join(changes)} The runs of {out} are of what was there before. Name another "
            f"folder with --out, or delete {out} to begin anew."
        )


def changes_of_sources(plan: Plan, out: Path) -> list[str]:
    """Return a sentence for the source and the pool of a plan, each if it has changed.

    A phantom, which the plan makes itself, is not read, nor is a folder that is gone.
    """
    data = plan.data
    options = ReadOptions(data.layout, data.patient_from, data.split)
    folds = [out / store_name(fold) for fold in range(1, (data.folds or 0) + 1)]
    return [
        *_changes(data.source, [out / store_name(None), *folds], options),
        *_changes(data.pool, [out / POOL], ReadOptions("images", data.pool_patient_from)),
    ]


def _changes(folder: Path | None, stores: Sequence[Path], options: ReadOptions) -> Iterator[str]:
    """Yield a sentence if a folder is not what a store, or those of its folds, were made of."""
    complete = [store for store in stores if (store / "manifest.json").is_file()]
    if folder is None or not complete or not _holds_something(folder):
        return
    try:
        source = read_source(
            folder,
            layout=options.layout,
            patient_from=options.patient_from,
            split=options.split,
        )
    except DataError as error:
        since = f"{folder} has changed since {complete[0]} was made of it"
        yield f"{since}, and can't be read now: {error}"
        return
    for store in complete:
        # The split of a fold is the plan's own.
        changes = changes_of_source(store, source, with_split=store == stores[0])
        if changes:
            yield f"{folder} has changed since {store} was made of it: it has {'; '.join(changes)}."
            return


def _holds_something(folder: Path) -> bool:
    """Return whether there is anything in a folder: of a disk that is not mounted it is empty."""
    try:
        return any(folder.iterdir())
    except OSError:
        return False

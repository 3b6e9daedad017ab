"""Where every arm's weights came from, and what the runs were made with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cxrssl.config.plan import Plan
from cxrssl.core.records import read_record, reading
from cxrssl.report.results import FinishedArm, Results
from cxrssl.report.wording import label_percent

_RECORDED = (
    "git",
    "versions",
    "python",
    "device",
    "num_processes",
    "num_threads",
    "data_fingerprint",
)
_COUNTS = ("matched", "missing", "reshaped", "unexpected")


def transfer_rows(plan: Plan, results: Results) -> Iterator[dict[str, Any]]:
    """Yield a row for each transfer of each arm, and one for an arm that starts from nothing."""
    for arm, folder in [(finished, run) for finished in results.arms for run in finished.folders]:
        title = _title(plan, arm, folder)
        path = folder / "transfer.json"
        record = read_record(path, "start", "transfers")
        with reading(path):
            rows = [_transfer_row(transfer, title) for transfer in record["transfers"]]
        yield from rows
        if not record["transfers"]:
            yield dict.fromkeys(_COUNTS, 0) | {
                "name": title,
                "source": "",
                "arrived": True,
                "sha256": "",
                "note": f"starts {record['start']}: nothing to load",
            }


def _transfer_row(transfer: Mapping[str, Any], title: str) -> dict[str, Any]:
    counts: dict[str, Any] = {name: len(transfer[name]) for name in _COUNTS}
    return counts | {
        "name": title,
        "source": _source(transfer["source"]),
        "arrived": transfer["arrived"],
        "sha256": transfer["loaded_sha256"],
        "note": _note(transfer),
    }


def _note(transfer: Mapping[str, Any]) -> str:
    """Return what is said of a transfer beside its counts; records of earlier versions say less."""
    terms = transfer.get("terms") or {}
    texts = [f"licence: {terms['licence']}"] if terms.get("licence") else []
    if terms.get("origin"):
        texts.append(f"by its header from {terms['origin']}")
    if transfer.get("resampled"):
        texts.append(f"{len(transfer['resampled'])} resampled to other patches")
    if transfer.get("replaced"):
        texts.append(f"{len(transfer['replaced'])} of them are random: the ablation of the start")
    return "; ".join(texts)


def _title(plan: Plan, finished: FinishedArm, folder: Path) -> str:
    settings = finished.arm
    fold = ""
    if finished.fold_folders:
        fold = f", fold {finished.fold_folders.index(folder) + 1}"
    faults = f", with {' and '.join(settings.faults)}" if settings.faults else ""
    title = plan.treatments[settings.treatment].title
    return f"{title}, {label_percent(settings.label_fraction)}, seed {settings.seed}{fold}{faults}"


def _source(source: str) -> str:
    """Return where weights came from, without the folders of this machine."""
    path = Path(source)
    if path.name == "backbone":
        return "/".join(path.parts[-2:])
    return path.name if path.is_absolute() or path.suffix in (".safetensors", ".pth") else source


def provenance_rows(plan: Plan, results: Results) -> list[tuple[str, str]]:
    """Return what the runs were made with; where they differ, every version of it."""
    paths = [folder / "provenance.json" for arm in results.arms for folder in arm.folders]
    records = [read_record(path, *_RECORDED) for path in paths]
    values_by_name = {
        "commit": [_commit(record["git"]) for record in records],
        "versions": [
            ", ".join(f"{name} {version}" for name, version in record["versions"].items())
            for record in records
        ],
        "Python": [record["python"] for record in records],
        "device": [
            f"{record['device']}, {record['num_processes']} process(es) of "
            f"{record['num_threads']} thread(s)"
            for record in records
        ],
        "data": [record["data_fingerprint"] for record in records],
        "test images": [arm.result["truth_sha256"] for arm in results.arms],
    }
    rows = [
        ("plan", plan.name),
        ("protocol", plan.protocol),
        ("seeds", ", ".join(map(str, plan.seeds))),
    ]
    rows += [(name, "; ".join(dict.fromkeys(values))) for name, values in values_by_name.items()]
    return rows


def _commit(git: dict[str, Any] | None) -> str:
    if git is None:
        return "not a checkout"
    return str(git["sha"]) + (" (changed)" if git["dirty"] else "")


def definition_rows(results: Results) -> list[tuple[str, str]]:
    """Return what each score means, in the order of the scores."""
    return list(results.plain[0].result["definitions"].items()) if results.plain else []

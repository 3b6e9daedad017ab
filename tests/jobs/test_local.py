"""Jobs: each once, failures kept to those that need them, and nothing run twice."""

from pathlib import Path

import pytest

from cxrssl.jobs.local import run_locally
from job_notes import Notes, image_folder, ingest_job


@pytest.mark.slow
def test_a_failed_job_stops_only_those_that_need_it(tmp_path: Path) -> None:
    images = image_folder(tmp_path / "images")
    jobs = [
        ingest_job(tmp_path, "bad", source=tmp_path / "nowhere"),
        ingest_job(tmp_path, "child", source=images, needs=("bad",)),
        ingest_job(tmp_path, "grandchild", source=images, needs=("child",)),
        ingest_job(tmp_path, "good", source=images),
        ingest_job(tmp_path, "after", source=images, needs=("good",)),
    ]
    notes = Notes()
    faults = run_locally(jobs, tmp_path / "logs", watcher=notes, inherit=None)
    assert set(faults) == {"bad", "child", "grandchild"}
    assert faults["grandchild"] == "not run, because bad failed"
    log = tmp_path / "logs" / "bad.log"
    assert faults["bad"].startswith(f"exit code 2: Error: {tmp_path / 'nowhere'} is not a folder. ")
    assert faults["bad"].endswith(f"(full log: {log})")
    assert {name: outcome.ok for name, outcome in notes.outcomes.items()} == {
        **dict.fromkeys(("bad", "child", "grandchild"), False),
        **dict.fromkeys(("good", "after"), True),
    }
    assert sorted(notes.begun) == ["after", "bad", "good"]
    assert notes.begun.index("after") > notes.begun.index("good")
    assert notes.ticks > 0

    again = Notes()
    run_locally(jobs, tmp_path / "logs", watcher=again, inherit=None)
    assert again.begun == ["bad"]

"""The report of a folder of made runs: it names every run, and nothing of the machine."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cxrssl.config.load import to_yaml
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json, write_text
from cxrssl.data.detection import splits_of
from cxrssl.data.store import Store
from cxrssl.jobs.job import NOT_RUN
from cxrssl.report import report
from made_runs import made_plan, made_results
from support import finetune_recipe

PROVENANCE = {
    "git": {"sha": "cafe", "dirty": True},
    "versions": {"torch": "2.14.1"},
    "python": "3.11.7",
    "device": "cpu",
    "num_processes": 1,
    "num_threads": 1,
    "data_fingerprint": "f00d",
}
WAYS = {
    "ssl": "{}/pretrain-simclr-50-seed0/backbone",
    "file": "/home/somebody/weights/resnet50.safetensors",
    "hub": "timm/resnet50.a1_in1k",
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return the folder of a plan of seven arms, of which all but the last have finished."""
    initialisations = ", ".join(f"{name}: {{title: {name}}}" for name in ("file", "hub", "control"))
    ssl = "ssl: {title: SSL, pretraining: simclr, controls: [control]}"
    plan = made_plan(f"initialisations={{{ssl}, {initialisations}}}", "label_fractions=[0.5, 1.0]")
    folder = tmp_path / "runs"
    write_text(folder / "plan.yaml", to_yaml(plan))
    for finished in made_results(plan, lambda arm: arm.label_fraction / 2).arms[:-1]:
        run_folder = folder / finished.arm.name
        transfer = {
            "source": WAYS.get(finished.arm.initialisation, "").format(folder),
            "arrived": True,
            "loaded_sha256": "ab12",
            **{"matched": ["a", "b"], "missing": ["c"], "reshaped": [], "unexpected": []},
        }
        is_control = finished.arm.initialisation == "control"
        record = {"start": "random", "transfers": [] if is_control else [transfer]}
        write_json(run_folder / "transfer.json", record)
        write_json(run_folder / "provenance.json", PROVENANCE)
        write_json(run_folder / "metrics.json", finished.result)
    return folder


def status(folder: Path, *, age_s: float, state: str = "running") -> None:
    fault = f"exit code 2: no room, see {folder.absolute()}/logs/control-50-seed0.log"
    jobs = [
        {"name": "ssl-50-seed0", "state": "done", "seconds": 3.0},
        {"name": "hub-50-seed0", "state": "running", "note": "x", "step": 5, "num_steps": 20},
        {"name": "ingest", "state": "running", "note": "at work", "step": None, "num_steps": None},
        {"name": "control-50-seed0", "state": "failed", "fault": fault},
        {"name": "control-20-seed0", "state": "failed", "fault": f"{NOT_RUN}: it needs another"},
    ]
    updated = datetime.now(UTC) - timedelta(seconds=age_s)
    record = {"plan": "smoke", "done": 1, "total": 5, "seconds_left": 600, "jobs": jobs}
    write_json(folder / "status.json", record | {"state": state, "updated": updated.isoformat()})


def test_it_names_its_runs_and_where_their_weights_came_from(runs: Path) -> None:
    page = report(runs).read_text()
    content = json.loads((runs / "report.json").read_text())
    finished = {path.parent.name for path in runs.glob("*/metrics.json")}
    assert set(content["arms"]) == finished
    assert len(finished) == 6
    assert "pretrain-simclr-50-seed0/backbone" in page
    assert "resnet50.safetensors" in page
    assert "timm/resnet50.a1_in1k" in page
    assert "starts random: nothing to load" in page
    assert "cafe (changed)" in page


def test_a_start_of_which_a_part_was_replaced_is_marked(runs: Path) -> None:
    path = runs / "hub-50-seed0/transfer.json"
    record = json.loads(path.read_text())
    record["transfers"][0]["replaced"] = ["a"]
    write_json(path, record)
    page = report(runs).read_text()
    assert page.count("1 of them are random: the ablation of the start") == 1


def test_it_tells_nothing_of_the_machines_folders(runs: Path) -> None:
    status(runs, age_s=1)
    report(runs)
    for path in runs.glob("report.*"):
        content = path.read_bytes()
        assert str(runs.parent).encode() not in content
        assert b"/home/somebody" not in content
    assert "no room, see logs/control-50-seed0.log" in (runs / "report.html").read_text()


def test_a_plan_at_work_shows_how_far_it_is(runs: Path) -> None:
    status(runs, age_s=1)
    page = report(runs).read_text()
    assert "about 10 min" in page
    assert "hub-50-seed0" in page
    assert "it needs another" not in page


@pytest.mark.slow
@pytest.mark.parametrize(("age_s", "state"), [(301, "running"), (1, "stopped")])
def test_a_plan_that_was_killed_is_not_at_work(runs: Path, age_s: float, state: str) -> None:
    status(runs, age_s=1)
    at_work = report(runs).read_text().count("at work")
    status(runs, age_s=age_s, state=state)
    assert report(runs).read_text().count("at work") < at_work


def test_a_share_beyond_the_curve_is_said_so_in_json(runs: Path) -> None:
    plan = made_plan()  # of two shares and their control, all of which have ended
    for finished in made_results(
        plan, lambda arm: 0.9 if arm.initialisation == "ssl" else 0.3
    ).arms:
        run_folder = runs / finished.arm.name
        write_json(run_folder / "metrics.json", finished.result)
        write_json(run_folder / "provenance.json", PROVENANCE)
        write_json(run_folder / "transfer.json", {"start": "random", "transfers": []})
    write_text(runs / "plan.yaml", to_yaml(plan))
    report(runs)
    text = (runs / "report.json").read_text()
    assert "Infinity" not in text
    (saved,) = json.loads(text)["labels_saved"]
    assert (saved["curve"]["share"], saved["curve"]["high"]) == ("beyond", "beyond")


def test_a_plan_that_has_ended_shows_no_progress(runs: Path) -> None:
    write_text(runs / "plan.yaml", to_yaml(made_plan("initialisations={file: {title: file}}")))
    status(runs, age_s=1)
    assert "hub-50-seed0" not in report(runs).read_text()


def test_scores_of_an_earlier_version_are_refused(runs: Path) -> None:
    path = runs / "ssl-50-seed0/metrics.json"
    old = json.loads(path.read_text())
    del old["replicate_values"]
    write_json(path, old)
    with pytest.raises(RunError, match=r"1 of \d arms were scored by an earlier version \(ssl-50"):
        report(runs)


def test_what_a_pool_holds_of_the_test_images_stands_on_top(runs: Path, store_folder: Path) -> None:
    plan = made_plan("data.source=.", "gallery_images=0", "initialisations={file: {title: file}}")
    write_text(runs / "plan.yaml", to_yaml(plan))
    for name in ("store", "pool"):
        shutil.copytree(store_folder, runs / name)
    for folder in runs.glob("file-*"):
        write_text(folder / "recipe.yaml", to_yaml(finetune_recipe(runs / "store")))
    page = report(runs).read_text()
    splits = splits_of(Store(store_folder), protocol="corrected", normals=True).values()
    num_test = list(splits).count("test")
    assert num_test > 1
    assert f"Of {num_test} test images {num_test} are in the pool byte for byte (such as" in page
    assert "Boxes as readers drew them, and their consensus" in page


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no plan.yaml. Name the folder of a `cxrssl"):
        report(tmp_path)


@pytest.mark.parametrize("content", ["", "[", "[]", "7", "{}", "[" * 99999, '{"a": "\\ud800"}'])
@pytest.mark.parametrize(
    "name", ["metrics.json", "transfer.json", "provenance.json", "status.json"]
)
def test_a_damaged_record_is_named(runs: Path, name: str, content: str) -> None:
    status(runs, age_s=1)
    path = runs / name if name == "status.json" else next(runs.glob(f"*/{name}"))
    write_text(path, content)
    # An empty mapping is what an earlier version could have left.
    with pytest.raises(RunError, match=f"{name}|scored by an earlier version"):
        report(runs)


def test_a_target_is_in_the_page_and_in_the_record(runs: Path) -> None:
    plan = (runs / "plan.yaml").read_text()
    write_text(runs / "plan.yaml", plan.replace("target: {}", "target: {AP50: 0.4}"))
    page = report(runs).read_text()
    content = json.loads((runs / "report.json").read_text())
    assert "Boxes needed for a target" in page
    assert "3 label shares are needed" in page
    assert "With one seed all intervals are too narrow" in page
    names = [target["initialisation"] for target in content["targets"]]
    assert names == ["ssl", "file", "hub"]  # the control has not finished
    assert {target["metric"] for target in content["targets"]} == {"AP50"}
    assert any(remark.startswith("For mAP50 0.4: SSL ") for remark in content["remarks"])
    saved = content["labels_saved"]
    assert all(row["own"]["films"] == 100 for row in saved)

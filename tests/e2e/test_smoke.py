"""The smoke plan through the command line, as a newcomer runs it: both arms, one report."""

import csv
import fcntl
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import run_cxrssl

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the plan and return its folder and what was printed."""
    folder = tmp_path_factory.mktemp("reproduce")
    done = run_cxrssl("reproduce", "smoke", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "smoke", done.stdout


def test_it_ends_by_naming_the_report(ran: tuple[Path, str]) -> None:
    runs, printed = ran
    assert printed.splitlines()[-1] == "Report: runs/smoke/report.html"
    assert (runs / "report.html").is_file()


def test_both_arms_and_the_baseline_have_scores(ran: tuple[Path, str]) -> None:
    rows = list(csv.DictReader((ran[0] / "report.csv").read_text().splitlines()))
    assert [(row["treatment"], row["label_fraction"]) for row in rows] == [
        ("control", "1"),
        ("ssl", "0.5"),
        ("control", "0.5"),
    ]
    assert int(rows[1]["train_images"]) == int(rows[2]["train_images"])
    assert int(rows[1]["train_images"]) < int(rows[0]["train_images"])
    assert all(0 <= float(row["AP50"]) <= 1 for row in rows)


def test_ssl_and_control_differ_in_their_start_alone(ran: tuple[Path, str]) -> None:
    ssl, control = (
        json.loads((ran[0] / f"{kind}-50-seed0/transfer.json").read_text())
        for kind in ("ssl", "control")
    )
    assert [record["arrived"] for record in ssl["transfers"]] == [True]
    assert control["transfers"] == []
    recipes = [(ran[0] / f"{kind}-50-seed0/recipe.yaml").read_text() for kind in ("ssl", "control")]
    changed = set(recipes[0].splitlines()) ^ set(recipes[1].splitlines())
    assert {line.split(":")[0].strip() for line in changed} == {"backbone"}


def test_pool_and_labels_share_no_image(ran: tuple[Path, str]) -> None:
    pretraining = json.loads((ran[0] / "pretrain-simclr-50-seed0/metrics.json").read_text())
    baseline, ssl = (
        json.loads((ran[0] / f"{name}-seed0/metrics.json").read_text())["train_images"]
        for name in ("control-100", "ssl-50")
    )
    assert pretraining["num_images"] + ssl == baseline


def test_the_report_shows_both_arms_and_asks_for_nothing_outside(ran: tuple[Path, str]) -> None:
    page = (ran[0] / "report.html").read_text()
    assert "no SSL" in page
    assert "no number here means anything clinical" in page
    assert page.count("<svg") == 12
    links = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', page))
    beside = {name for name in links if not name.startswith("data:")}
    assert beside == {f"./report.{kind}" for kind in ("csv", "md", "tex", "png", "json")}
    assert all((ran[0] / name).is_file() for name in beside)


def test_the_status_is_that_of_a_plan_that_has_ended(ran: tuple[Path, str]) -> None:
    status = json.loads((ran[0] / "status.json").read_text())
    assert (status["state"], status["done"], status["total"]) == ("ended", 6, 6)
    assert all(job["state"] == "done" and job["seconds"] > 0 for job in status["jobs"])


def test_a_plan_may_be_asked_what_is_left_of_it(ran: tuple[Path, str]) -> None:
    done = run_cxrssl("reproduce", "smoke", "--dry-run", folder=ran[0].parents[1])
    assert done.returncode == 0, done.stderr
    assert "smoke: 6 jobs, 6 done" in done.stdout
    longer = run_cxrssl(
        *("reproduce", "smoke", "--dry-run", "--set", "seeds=[0, 1]"), folder=ran[0].parents[1]
    )
    assert "smoke: 10 jobs, 6 done" in longer.stdout
    assert re.search(r"pretrain-simclr-50 .* 1 of 2 ", longer.stdout)
    assert not (ran[0] / "ssl-50-seed1").exists()


def test_a_second_call_does_nothing_but_say_so(ran: tuple[Path, str]) -> None:
    runs = ran[0]
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    done = run_cxrssl("reproduce", "smoke", folder=runs.parents[1])
    assert "runs/smoke is complete, 6 of 6 jobs are done: nothing to do." in done.stdout
    assert done.stdout.splitlines()[-1] == "Report: runs/smoke/report.html"
    after = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    assert {p for p in after if after[p] != before.get(p)} == set()


def test_another_plan_does_not_take_the_folder(ran: tuple[Path, str]) -> None:
    done = run_cxrssl("reproduce", "smoke", "--set", "seeds=[1]", folder=ran[0].parents[1])
    assert done.returncode == 2
    assert "runs/smoke holds runs of another plan: seeds differ" in done.stderr


def test_a_lost_arm_is_made_again_and_no_other(ran: tuple[Path, str]) -> None:
    runs = ran[0]
    modified = (runs / "control-100-seed0/metrics.json").stat().st_mtime_ns
    lost = runs / "control-50-seed0"
    first = (lost / "metrics.json").read_bytes()
    (lost / "metrics.json").unlink()
    done = run_cxrssl("reproduce", "smoke", folder=runs.parents[1])
    assert "6 jobs, 5 done before" in done.stdout
    assert (lost / "metrics.json").read_bytes() == first
    assert (runs / "control-100-seed0/metrics.json").stat().st_mtime_ns == modified


def is_held(lock: Path) -> bool:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def begun(ran: tuple[Path, str], folder: Path) -> subprocess.Popen[str]:
    """Begin the plan on a phantom that is there, and wait for the first checkpoint."""
    runs = folder / "runs/smoke"
    shutil.copytree(ran[0] / "phantom", runs / "phantom")
    shutil.copy(ran[0] / "plan.yaml", runs / "plan.yaml")
    command = [sys.executable, "-m", "cxrssl", "reproduce", "smoke"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(runs.glob("*/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_plan_that_is_killed_goes_on_to_the_same_numbers(
    ran: tuple[Path, str], tmp_path: Path
) -> None:
    process, runs = begun(ran, tmp_path), tmp_path / "runs/smoke"
    with process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert is_held(runs / "lock")  # by runs, which live on
    assert not (runs / "report.json").exists()
    done = run_cxrssl("reproduce", "smoke", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (runs / "report.csv").read_bytes() == (ran[0] / "report.csv").read_bytes()


def test_a_plan_that_is_asked_to_end_ends_its_runs(ran: tuple[Path, str], tmp_path: Path) -> None:
    process, runs = begun(ran, tmp_path), tmp_path / "runs/smoke"
    with process:
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not is_held(runs / "lock")
    assert not (runs / "report.json").exists()
    assert json.loads((runs / "status.json").read_text())["state"] == "stopped"


def test_eval_prints_the_scores_and_writes_them(ran: tuple[Path, str]) -> None:
    runs = ran[0]
    out = runs / "scores.json"
    arguments = ("eval", str(runs / "control-100-seed0"), "--data", str(runs / "store"))
    done = run_cxrssl(*arguments, "--normals", "--json", str(out), folder=runs)
    assert done.returncode == 0, done.stderr
    assert "AP50" in done.stdout
    assert "Cardiomegaly" in done.stdout
    metrics = json.loads(out.read_text())["metrics"]
    assert metrics == json.loads((runs / "control-100-seed0/metrics.json").read_text())["metrics"]


def test_nothing_of_the_patient_leaves_the_dicom_files(ran: tuple[Path, str]) -> None:
    runs = ran[0]
    files = [p for p in runs.rglob("*") if p.is_file() and "phantom" not in p.parts]
    assert len(files) > 30
    leaks = [path for path in files if b"PHANTOM" in path.read_bytes()]
    assert leaks == []

"""Progress on a pipe: losses and time left at a sensible pace; how long a loop waits for data."""

import io
import json
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cxrssl.run import progress as module
from cxrssl.run.log import Log
from cxrssl.run.progress import TimedBatches, progress, training_progress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


def test_lines_come_with_each_tenth_and_tell_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("work", total=200, done=100) as meter:
        for done in range(101, 201):
            clock.now += 3
            meter.at(done, "note")
    lines = capsys.readouterr().err.splitlines()
    # From 100, of which it knows no time: 3 s each.
    assert lines == [
        "work: 120/200 note ETA 4 min",
        "work: 140/200 note ETA 3 min",
        "work: 160/200 note ETA 2 min",
        "work: 180/200 note ETA 60 s",
        "work: 200/200 note",
    ]


def test_where_a_tenth_takes_long_there_is_a_line_a_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("work", total=100_000) as meter:
        for done in range(1, 301):
            clock.now += 1
            meter.at(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "work: 61/100,000 ETA 27.8 h"


def test_a_total_that_the_work_finds_out_is_counted_in_its_unit(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("ingest", total=None, unit="images") as meter:
        clock.now += 50  # the table is read
        meter.at_of(1000, 2000)  # what an earlier call had stored
        for done in range(1200, 2001, 200):
            clock.now += 6
            meter.at_of(done, 2000)
    lines = capsys.readouterr().err.splitlines()
    # 0.03 s an image of this call; neither the table nor the earlier call counts.
    assert lines == [
        "ingest: 1,200/2,000 images ETA 24 s",
        "ingest: 1,400/2,000 images ETA 18 s",
        "ingest: 1,600/2,000 images ETA 12 s",
        "ingest: 1,800/2,000 images ETA 6 s",
        "ingest: 2,000/2,000 images",
    ]


def test_while_the_total_is_unknown_a_minute_passes_between_lines(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("search", total=None, unit="files") as meter:
        for done in range(1, 70):
            clock.now += 1
            meter.at(done)
    assert capsys.readouterr().err == "search: 61 files\n"


def test_a_bar_shows_the_count_with_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        module,
        "Console",
        lambda **_: Console(file=screen, force_terminal=True, width=100, color_system=None),
    )
    with progress("ingest", total=None, unit="images") as meter:
        meter.at_of(0, 1025)
        meter.at_of(428, 1025)
    assert "428/1,025 images" in screen.getvalue()


def run_log(folder: Path, *, steps_done: int = 0) -> Log:
    lines = [f'{{"step": {step}, "loss": 1.0, "lr": 0.1}}\n' for step in range(1, steps_done + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return Log(folder / "metrics.jsonl", 2, num_steps=10, steps_done=steps_done, writes=True)


def test_a_training_shows_the_loss_that_was_read_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = run_log(tmp_path)
    with training_progress("train", log, TimedBatches([0] * 10), shown=True) as meter:
        for step in range(1, 11):
            parts = {"first": torch.tensor(float(step)), "second": torch.tensor(0.5)}
            log.write_losses_if_due(parts, steps_done=step, epoch=0, lr=0.001)
            meter.at(step, "epoch 1/1")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("train: 1/10 epoch 1/1 ETA ")  # nothing is read yet
    assert lines[2].startswith("train: 3/10 epoch 1/1 loss 2.5 lr 0.001 ETA ")
    assert lines[9] == "train: 10/10 epoch 1/1 loss 10.5 lr 0.001"


def test_the_time_that_a_loop_waits_for_images_is_measured(tmp_path: Path) -> None:
    def slow():  # type: ignore[no-untyped-def]
        for number in range(5):
            time.sleep(0.06)
            yield number

    both = TimedBatches(slow()), TimedBatches(slow())
    with training_progress("train", run_log(tmp_path, steps_done=5), *both, shown=False):
        for number in range(5):
            assert [next(batches) for batches in both] == [number, number]
            time.sleep(0.04)
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert timing["steps"] == 5
    assert timing["seconds"] >= 0.8
    # By the clock of a busy machine: three quarters of the sleep, more or less.
    assert 0.3 < timing["share_waiting_for_data"] < 0.95
    assert timing["share_waiting_for_data"] == pytest.approx(
        sum(batches.seconds for batches in both) / timing["seconds"], abs=0.01
    )


def test_a_loop_that_fails_leaves_no_time(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="broken"),
        training_progress("train", run_log(tmp_path), TimedBatches([0]), shown=False),
    ):
        raise ValueError("broken")
    assert not (tmp_path / "timing.json").exists()

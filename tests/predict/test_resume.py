"""`cxrssl predict` cut anywhere goes on to the same bytes, alone in its folder."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrssl.cli.interrupts import predict_resume_advice
from cxrssl.core.errors import RunError
from cxrssl.core.lock import claimed
from cxrssl.models.detector_folder import save_detector
from cxrssl.predict import predict
from cxrssl.predict.found import Found
from cxrssl.predict.record import PredictionSettings, recorded
from detectors import detector, rcnn

NUM_FILES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a detector, and films in `in`, one of them broken."""
    made = tmp_path_factory.mktemp("resume")
    save_detector(detector(rcnn(norm="frozen")), made / "detector")
    (made / "in").mkdir()
    chance = np.random.default_rng(0)
    for number in range(NUM_FILES):
        pixels = chance.integers(0, 255, (70, 90), dtype=np.uint8)
        Image.fromarray(pixels).save(made / "in" / f"{number}.png")
    (made / "in/2.png").write_bytes(b"\x89PNG broken")
    return made


def content(out: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def intact(folder: Path) -> dict[str, bytes]:
    out = folder / "whole"
    predict([folder / "detector"], [folder / "in"], out, threshold=0.0)
    result = content(out)
    assert {"predictions.json", "predictions.csv", "failures.json", ".lock"} < set(result)
    assert "unfinished.jsonl" not in result
    return result


def command(folder: Path, out: Path, *more: str) -> list[str]:
    options = ("--out", str(out), "--threshold", "0", *more)
    return [
        sys.executable, "-m", "cxrssl", "predict", str(folder / "detector"), str(folder / "in"),
        *options,
    ]  # fmt: skip


def num_lines(out: Path) -> int:
    path = out / "unfinished.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def kill_when(folder: Path, out: Path, is_due: Callable[[], bool], *more: str) -> None:
    """Begin a call and kill it as soon as what is asked for is so."""
    run = subprocess.Popen(command(folder, out, *more), start_new_session=True)
    while not is_due() and run.poll() is None:
        time.sleep(0.001)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 2, 4])
def test_a_killed_call_goes_on_to_the_same_bytes(
    folder: Path, intact: dict[str, bytes], tmp_path: Path, lines: int
) -> None:
    out = tmp_path / "out"
    kill_when(folder, out, lambda: num_lines(out) >= lines)
    assert num_lines(out), "it had ended before it could be killed"
    resume = partial(predict, [folder / "detector"], [folder / "in"], out, threshold=0.0)
    done = num_lines(out) - 1
    if done:
        with pytest.raises(
            RunError, match=rf"has not ended; files that are done: {done}\. Go on with --r"
        ):
            resume()
    messages: list[str] = []
    resume(resume=True, say=messages.append)
    assert messages[0].startswith(
        f"{out}: {done} of 6 files" if done else f"{out} holds no file that"
    )
    assert content(out) == intact


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_ctrl_c_and_a_plain_kill_say_how_to_go_on_to_the_same_bytes(
    folder: Path, intact: dict[str, bytes], tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out folder"
    run = subprocess.Popen(
        command(folder, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore Ctrl-C, and so does all that they start.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    while num_lines(out) < 2 and run.poll() is None:
        time.sleep(0.001)
    os.killpg(run.pid, number)
    _, text = run.communicate(timeout=120)
    assert run.returncode == code, text
    assert "Traceback" not in text
    *_, kept, advice = text.splitlines()  # and nothing of Python's on what a pool has left
    assert re.search(rf"Kept: \d files? that (is|are) done, in {out}. To go on:$", kept), text
    program, *arguments = shlex.split(advice)
    assert program == "cxrssl"
    again = [sys.executable, "-m", "cxrssl", *arguments]
    assert subprocess.run(again, check=False, capture_output=True).returncode == 1  # one is broken
    assert content(out) == intact


def test_before_the_first_file_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cxrssl", "predict", "d", "f.png", "--out", "o"])
    advice = predict_resume_advice(tmp_path / "o")
    assert advice == "Nothing is kept. To go on:\n  cxrssl predict d f.png --out o"


@pytest.mark.slow
def test_a_line_that_was_cut_is_done_again(
    folder: Path, intact: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kill_when(folder, out, lambda: num_lines(out) >= 3)
    path = out / "unfinished.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    (out / "overlays").mkdir()
    (out / "overlays/0.png.123.tmp").write_bytes(b"half a picture")
    predict([folder / "detector"], [folder / "in"], out, threshold=0.0, resume=True)
    assert content(out) == intact


@pytest.mark.parametrize("line", [0, 1])
@pytest.mark.parametrize("text", [b"no JSON", b"[1]", b"7", b'{"version":', b"[" * 100_000])
def test_a_damaged_record_is_named(tmp_path: Path, line: int, text: bytes) -> None:
    out = tmp_path / "out"
    settings = PredictionSettings("1", "a", False, 0.0, "b")
    path = out / "unfinished.jsonl"
    with recorded(out, settings, resume=False) as record:
        record.add(Found(Path("0.png"), failure="broken"))
        lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = text + b"\n"
    path.write_bytes(b"".join(lines))
    with (
        pytest.raises(RunError, match=r"unfinished\.jsonl is damaged"),
        recorded(out, settings, resume=True),
    ):
        pytest.fail("a damaged record was taken")


@pytest.mark.slow
def test_a_call_that_asks_for_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kill_when(folder, out, lambda: num_lines(out) >= 3)
    ask = partial(predict, resume=True, out=out)
    inputs = [folder / "detector"], [folder / "in"]
    with pytest.raises(RunError, match=r"was begun with --threshold 0\.0\. Call it as"):
        ask(*inputs, threshold=0.5)
    with pytest.raises(RunError, match=r"was begun with no --flip\."):
        ask(*inputs, threshold=0.0, flip=True)
    with pytest.raises(RunError, match=r"was begun with other input files"):
        ask([folder / "detector"], [folder / "in/1.png"], threshold=0.0)
    other = detector(rcnn(norm="frozen", score_threshold=0.3))
    save_detector(other, tmp_path / "other")
    for detectors in ([tmp_path / "other"], [folder / "detector", tmp_path / "other"]):
        with pytest.raises(RunError, match=r"was begun with another detector\."):
            ask(detectors, [folder / "in"], threshold=0.0)
    record = out / "unfinished.jsonl"
    head, *lines = record.read_text().splitlines(keepends=True)
    older = {key: value for key, value in json.loads(head).items() if key != "flip"}
    record.write_text("".join([json.dumps(older) + "\n", *lines]))
    with pytest.raises(RunError, match=r"was begun with another version of cxrssl\."):
        ask(*inputs, threshold=0.0)


@pytest.mark.slow
def test_a_call_that_goes_on_may_ask_for_other_formats(
    folder: Path, intact: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kill_when(folder, out, lambda: num_lines(out) >= 3, "--write", "coco")
    again = command(folder, out, "--resume", "--write", "csv", "--write", "pictures")
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert content(out) == {name: intact[name] for name in intact if name != "predictions.json"}


def cut_while_drawing(folder: Path, out: Path, num_drawn: int) -> list[Path]:
    """Kill a call when it has drawn so many pictures, and return those that are there."""
    kill_when(folder, out, lambda: len(list(out.glob("overlays/*.png"))) >= num_drawn)
    assert (out / "unfinished.jsonl").is_file(), "it had ended before it could be killed"
    return sorted(out.glob("overlays/*.png"))


@pytest.mark.slow
def test_a_call_that_is_killed_while_it_draws_keeps_what_is_drawn(
    folder: Path, intact: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    drawn = {path: path.stat().st_mtime_ns for path in cut_while_drawing(folder, out, 2)}
    done = subprocess.run(
        command(folder, out, "--resume"), capture_output=True, text=True, check=False
    )
    assert f"{out}: 6 of 6 files are done; going on with the rest." in done.stderr
    assert content(out) == intact
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn


@pytest.mark.slow
def test_a_file_that_can_not_be_drawn_any_more_is_listed_and_its_boxes_are_kept(
    folder: Path, intact: dict[str, bytes], tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    out, film = tmp_path / "out", tmp_path / "copy/in/5.png"
    assert out / "overlays/5.png" not in cut_while_drawing(tmp_path / "copy", out, 1)
    summary = predict(
        [tmp_path / "copy/detector"],
        [tmp_path / "copy/in"],
        out,
        threshold=0.0,
        resume=True,
        say=lambda _: film.write_bytes(b"broken") and None,
    )
    assert summary.failures[str(film)].startswith("it can't be drawn: 5.png: can't be decoded")
    assert json.loads((out / "failures.json").read_text()) == summary.failures
    assert (summary.num_read, len(summary.failures)) == (5, 2)
    for name in ("predictions.json", "predictions.csv"):
        assert (out / name).read_bytes().count(b"5.png") == intact[name].count(b"5.png")
    assert len(list(out.glob("overlays/*.png"))) == 4


def test_a_second_call_at_the_same_time_is_refused(folder: Path, tmp_path: Path) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from cxrssl.core.lock import claimed\n"
        "with claimed(Path(sys.argv[1]), [0]):\n    print('held', flush=True); time.sleep(300)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "held\n"
    try:
        with pytest.raises(RunError, match=r"another process works in .* on the same prediction"):
            predict(
                [folder / "detector"], [folder / "in"], tmp_path, threshold=0.0, formats=["coco"]
            )
    finally:
        run.kill()
        run.communicate()
    with claimed(tmp_path, [0]):  # it has left nothing that holds the folder
        pass


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_same_call_goes_on(
    folder: Path, intact: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    cut = subprocess.run(
        command(folder, out), capture_output=True, text=True, check=False, preexec_fn=small_files
    )
    assert cut.returncode == 2, cut.stderr
    assert f"Error: {out} can't be written (File too large). Make room" in cut.stderr
    resume = partial(predict, [folder / "detector"], [folder / "in"], out, threshold=0.0)
    with pytest.raises(RunError, match=r"files that are done: 6\. Go on with --resume"):
        resume()
    resume(resume=True)
    assert content(out) == intact


def test_a_folder_that_can_not_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for out, why in ((tmp_path / "file", "is a file"), (tmp_path / "file/x", "Not a directory")):
        with pytest.raises(RunError, match=why):
            predict([folder / "detector"], [folder / "in"], out, threshold=0.0, formats=["coco"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes").write_text("mine")
    with pytest.raises(RunError, match=r"other is not empty. Name another folder with --out"):
        predict(
            [folder / "detector"],
            [folder / "in"],
            tmp_path / "other",
            threshold=0.0,
            formats=["coco"],
        )


def test_what_is_drawn_is_no_input_of_the_call_that_goes_on(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((folder / "in/0.png").read_bytes())
    out = tmp_path / "out"
    predict([folder / "detector"], [tmp_path], out, threshold=0.0)
    assert (out / "overlays/a.png").is_file()
    (out / "predictions.json").unlink()
    (out / "predictions.csv").unlink()
    (out / "unfinished.jsonl").write_text("{}\n")
    predict([folder / "detector"], [tmp_path], out, threshold=0.0)
    result = json.loads((out / "predictions.json").read_text())
    assert [image["file_name"] for image in result["images"]] == [str(tmp_path / "a.png")]

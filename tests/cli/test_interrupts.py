"""Ctrl-C and SIGTERM, sent for real: nothing is lost, what is kept is said, no traceback."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import typer

from cxrssl.cli import commands, interrupts
from cxrssl.core.errors import DataError
from cxrssl.core.interrupts import (
    Interrupted,
    end_if_interrupted,
    ends_between_steps,
    interruptible,
)
from cxrssl.core.processes import defer_signals
from cxrssl.run.process_state import process_restored

PYTHON = sys.executable
CXRSSL = (PYTHON, "-m", "cxrssl")


@pytest.fixture(autouse=True)
def _hears_ctrl_c() -> Iterator[None]:
    """Let what tests start hear Ctrl-C: tests in a shell's background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Begin a command in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(happens: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not happens():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def num_logged(run: Path) -> int:
    log = run / "metrics.jsonl"
    return len(log.read_text().splitlines()) if log.is_file() else 0


def assert_ended(process: subprocess.Popen[str], code: int) -> str:
    """Check how a command ended, and return the command that it says goes on."""
    _, printed = process.communicate(timeout=120)
    assert process.returncode == code, printed
    assert "Traceback" not in printed
    return printed.strip().splitlines()[-1].strip()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_a_run_that_is_interrupted_loses_no_step(
    task: str, store_folder: Path, tmp_path: Path
) -> None:
    changes = [f"data.store={store_folder}", "log_every_steps=1", "data.num_workers=1"]
    changes += ["epochs=10"] if task == "pretrain" else ["epochs=3", "validate_every_epochs=1"]
    options = [part for change in changes for part in ("--set", change)]
    command = [*CXRSSL, task, "smoke", *options]
    subprocess.run([*command, "--out", "whole"], check=True, capture_output=True, cwd=tmp_path)

    run = tmp_path / "my run"
    process = begun([*command, "--out", run.name], tmp_path)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)):
        before = num_logged(run)
        wait_until(lambda before=before: num_logged(run) >= before + 7, process)
        # Ctrl-C reaches the loader's worker as well, a batch system's signal need not.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        go_on = assert_ended(process, code)
        assert go_on == f"cxrssl {task} --resume --out 'my run'"
        # The step that was at work is saved, whenever a checkpoint is due.
        steps = [path.name for path in run.glob("checkpoints/step-*")]
        assert steps == [f"step-{last_step(run):08d}"]
        process = begun([*CXRSSL, *shlex.split(go_on)[1:]], tmp_path)
    _, printed = process.communicate()
    assert process.returncode == 0, printed
    for path in (tmp_path / "whole").rglob("*"):
        name = path.relative_to(tmp_path / "whole")
        if path.is_file() and name.parts[0] in ("backbone", "detector", "predictions.json"):
            assert (run / name).read_bytes() == path.read_bytes()
    for name in ("metrics.jsonl", "metrics.json"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def last_step(run: Path) -> int:
    return int(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"])


def test_a_command_without_a_run_says_how_to_go_on(tmp_path: Path) -> None:
    process = begun([*CXRSSL, "phantom", "made up", "--images", "500"], tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("made up*/**/*.dicom"))), process)
    os.killpg(process.pid, signal.SIGINT)
    assert assert_ended(process, 130) == "cxrssl phantom 'made up' --images 500"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pool_of_workers_that_has_just_begun_is_not_waited_for(
    number: int, tmp_path: Path
) -> None:
    # 5,000 images are handed out, which would take an hour.
    process = begun([*CXRSSL, "phantom", "many", "--images", "5000", "--workers", "2"], tmp_path)
    parent = psutil.Process(process.pid)
    wait_until(lambda: len(parent.children()) >= 2, process)
    workers = parent.children()
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert "Traceback" not in text
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGTERM)
    assert psutil.wait_procs(workers, timeout=30)[1] == []


EARLY = """
import importlib.abc, signal, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "cxrssl.cli.options":
            signal.raise_signal({number})
sys.meta_path.insert(0, Finder())
sys.argv = ["cxrssl", "--version"]
from cxrssl.cli import main
main()
"""


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, -15, "Ended by SIGTERM")],
)
def test_a_signal_before_the_commands_are_imported_shows_no_traceback(
    number: int, code: int, reason: str, tmp_path: Path
) -> None:
    process = begun([PYTHON, "-c", EARLY.format(number=int(number))], tmp_path)
    advice = f"{reason} before anything was begun. To go on:\n  cxrssl --version\n"
    assert process.communicate() == ("", advice)
    assert process.returncode == code


LATE = """
import atexit, os, signal, sys
def send():
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
atexit.register(send)
sys.argv = ["cxrssl", "--version"]
from cxrssl.cli import main
main()
"""


def test_a_signal_after_the_end_does_not_undo_it(tmp_path: Path) -> None:
    process = begun([PYTHON, "-c", LATE], tmp_path)
    printed, text = process.communicate()
    assert printed.startswith("cxrssl ")
    assert (process.returncode, text) == (0, "")


FINALIZED = """
import sys
class Closing:
    def __del__(self): print("finalized")
closing = Closing()
sys.argv = ["cxrssl", *sys.argv[1:]]
from cxrssl.cli import main
main()
"""


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--none", 2)])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_process_of_several_does_not_finalize_what_threads_may_use(
    num_processes: int, argument: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(num_processes))
    process = begun([PYTHON, "-c", FINALIZED, argument], tmp_path)
    printed, _ = process.communicate()
    assert process.returncode == code
    assert ("finalized" in printed) == (num_processes == 1)


SCRIPT = """
import os, signal, sys, time
from cxrssl.core.interrupts import *
def show(text): print(text, flush=True)
"""


def script(body: str, tmp_path: Path) -> subprocess.Popen[str]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + body)
    return begun([PYTHON, str(path)], tmp_path)


STEPS = """
try:
    with interruptible(can_wait={can_wait}), ends_between_steps():
        show("step")
        deadline = time.monotonic() + {seconds}
        while time.monotonic() < deadline: time.sleep(.01)
        show("step done")
        end_if_interrupted()
except Interrupted as interrupted:
    show(f"ended by {{interrupted}}")
"""


@pytest.mark.parametrize(
    ("number", "can_wait", "lines"),
    [
        (signal.SIGINT, True, ["step", "step done", "ended by SIGINT"]),
        (signal.SIGTERM, True, ["step", "step done", "ended by SIGTERM"]),
        (signal.SIGINT, False, ["step", "ended by SIGINT"]),
    ],
)
def test_a_signal_waits_for_the_end_of_a_step_where_it_may(
    number: int, can_wait: bool, lines: list[str], tmp_path: Path
) -> None:
    process = script(STEPS.format(can_wait=can_wait, seconds=1), tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    process.send_signal(number)
    assert process.communicate()[0].splitlines() == lines[1:]


def test_among_several_processes_a_plain_kill_ends_one_at_once(tmp_path: Path) -> None:
    # It may wait for others for ever, in a call that no handler of Python's interrupts.
    process = script(STEPS.format(can_wait=False, seconds=60), tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_ctrl_c_again_ends_a_step_that_takes_too_long(tmp_path: Path) -> None:
    process = script(STEPS.format(can_wait=True, seconds=300), tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "step\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert "Press Ctrl-C again to end at once." in process.stderr.readline()
    # Slurm and srun each send one: only a person is heard twice.
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "ended by SIGINT\n"


def test_a_worker_leaves_ctrl_c_to_its_parent_and_dies_of_a_plain_kill(tmp_path: Path) -> None:
    body = """
with interruptible(can_wait=True):
    child = os.fork()
    if child == 0:
        show("ready")
        while True: time.sleep(.01)
    signal.pause() if sys.stdin.read() else None
    os.kill(child, signal.SIGINT)
    time.sleep(.5)
    show(os.waitpid(child, os.WNOHANG)[0])
    os.kill(child, signal.SIGTERM)
    show(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + body)
    done = subprocess.run(
        [PYTHON, str(path)], input="", capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "ready\n0\n-15\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_another_thread_takes_waits_until_workers_are_started(number: int) -> None:
    done: list[str] = []
    released = threading.Event()
    other = threading.Thread(target=released.wait)  # its mask lets signals in

    def start_workers() -> None:
        with defer_signals():
            signal.pthread_kill(other.ident or 0, number)
            time.sleep(0.2)
            done.append("started")
        done.append("went on")

    other.start()
    try:
        with pytest.raises(Interrupted) as ended, interruptible(can_wait=True):
            start_workers()
    finally:
        released.set()
        other.join()
    assert (done, ended.value.number) == (["started"], number)


def test_a_signal_in_a_finalizer_is_kept() -> None:
    class Closing:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    hook = sys.unraisablehook
    with interruptible(can_wait=True):
        closing = Closing()
        del closing  # where Python can raise nothing
        with pytest.raises(Interrupted) as ended:
            end_if_interrupted()
    assert ended.value.number == signal.SIGTERM
    assert sys.unraisablehook is hook


def test_what_is_ignored_stays_ignored_and_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible(can_wait=True):
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["predict", "d", "a b.png", "--out", "o"], "cxrssl predict d 'a b.png' --out o --resume"),
        (["predict", "--resume", "d", "--out", "o"], "cxrssl predict --resume d --out o"),
        (["reproduce", "demo"], "cxrssl reproduce demo"),
        (["eval", "d", "--data", "s"], "cxrssl eval d --data s"),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_called(
    argv: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cxrssl", *argv])
    assert interrupts.resume_advice().splitlines()[-1].strip() == command


def test_a_fault_that_a_signal_has_caused_is_no_fault() -> None:
    # A loader's worker ends of the signal that the run itself waits with.
    def step() -> None:
        with interrupts.explain_interrupts(lambda: "kept"), ends_between_steps():
            signal.raise_signal(signal.SIGTERM)
            raise DataError("a worker has ended")

    with pytest.raises(Interrupted) as ended, interruptible(can_wait=True):
        step()
    assert (ended.value.number, ended.value.__notes__) == (signal.SIGTERM, ["kept"])
    with pytest.raises(DataError), interrupts.explain_interrupts(lambda: "kept"):
        raise DataError("a fault of its own")


def test_the_map_of_what_is_kept_names_commands_that_exist() -> None:
    by_name = typer.main.get_command(commands.app).commands  # type: ignore[attr-defined]
    assert interrupts._KEPT_BY_COMMAND.keys() <= by_name.keys()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_ends_its_own_jobs_first_says_how_to_go_on(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended() -> None:
        raise SystemExit(128 + number)

    monkeypatch.setattr(commands, "app", ended)
    monkeypatch.setattr(sys, "argv", ["cxrssl", "reproduce", "demo"])
    with pytest.raises(SystemExit) as error:
        commands.run()
    assert error.value.code == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == "  cxrssl reproduce demo"


def test_ctrl_c_in_the_summary_says_that_the_run_is_finished(
    store_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--set", f"data.store={store_folder}", "--set", "epochs=1"]
    monkeypatch.setattr(
        sys, "argv", ["cxrssl", "pretrain", "smoke", *arguments, "--out", str(tmp_path / "run")]
    )
    monkeypatch.setattr(
        "cxrssl.cli.show_summary.print_pretraining", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    with (
        pytest.raises(SystemExit) as ended,
        process_restored(),
        interruptible(can_wait=True),
    ):
        commands.run()
    assert ended.value.code == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"Interrupted. {tmp_path / 'run'} holds the finished run."

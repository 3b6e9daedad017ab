"""A folder is held by one command, and by what it began if that lives on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from cxrssl.core.lock import sole_user

# Holds a folder, hands the lock to a child as `reproduce` does to its jobs, and waits to be killed.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from cxrssl.core.lock import sole_user
with sole_user(Path(sys.argv[1]), on_wait=lambda: None) as held:
    print(subprocess.Popen(["sleep", "300"], pass_fds=(held,)).pid, flush=True)
    time.sleep(300)
"""


def test_a_free_folder_is_taken_at_once_and_given_back(tmp_path: Path) -> None:
    waits: list[str] = []
    for turn in ("first", "second"):
        with sole_user(tmp_path, on_wait=lambda turn=turn: waits.append(turn)):
            pass
    assert waits == []


def test_a_killed_holders_child_keeps_the_folder_until_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
    waits: list[int] = []

    def end_child() -> None:
        waits.append(child)
        os.kill(child, signal.SIGKILL)

    with sole_user(tmp_path, on_wait=end_child):
        assert waits == [child]

"""What several processes are told at their start, and how they part."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cxrssl.core.errors import RunError
from cxrssl.run.folder import open_run
from cxrssl.run.processes import allow_open_files, check_process_count, leave_process_group
from support import run_python

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
# Rank 1 ends at once; rank 0 works on, as it does when it alone scores.
PARTING = """
import time
from cxrssl.core.errors import RunError
from cxrssl.run.processes import gather_round_robin, leave_process_group, start_processes
processes = start_processes()
assert gather_round_robin([processes.process_index], num_processes=2) == [0, 1]
leave_process_group()
if processes.is_main_process:
    time.sleep(1)
    print("scored")
    try:
        start_processes()
    except RunError as error:
        print(str(error).partition("together, and ")[2])
"""


@pytest.mark.slow
def test_a_process_that_left_early_stops_nobody(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(PARTING)
    done = run_python(*TORCHRUN, file)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "scored",
        "can't be joined for another. Start a launch for each; a program of your own that does "
        "several calls torch.distributed.init_process_group() before the first.",
    ]
    assert "destroy_process_group" not in done.stderr


def test_one_process_has_nobody_to_leave() -> None:
    leave_process_group()
    assert not torch.distributed.is_initialized()


STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "2"}


def test_tasks_of_srun_that_know_nothing_of_each_other_are_stopped() -> None:
    with pytest.raises(RunError, match=r"srun started 4 tasks.*--ntasks-per-node=1.*torchrun"):
        check_process_count(STEP, num_processes=1)


@pytest.mark.parametrize(
    ("environment", "num_processes"),
    [
        (STEP | {"WORLD_SIZE": "8"}, 8),  # torchrun in each task
        (STEP | {"OMPI_COMM_WORLD_SIZE": "8"}, 8),  # mpirun, which starts its daemons by srun
        (STEP | {"SLURM_STEP_NUM_TASKS": "1"}, 1),  # srun -n 1 in an allocation of four
        ({"SLURM_NTASKS": "4"}, 1),  # a batch script
        ({"SLURM_STEP_NUM_TASKS": ""}, 1),
    ],
)
def test_a_single_task_and_launchers_under_srun_go_on(
    environment: dict[str, str], num_processes: int
) -> None:
    assert (
        check_process_count(environment, num_processes=num_processes) is None
    )  # and raises nothing


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Begins a run, has a worker outlive it, and waits to be killed.
WORKS = """
import subprocess, sys, time
from multiprocessing import get_context
from pathlib import Path
from cxrssl.run.folder import open_run
run = open_run(Path(sys.argv[1]), recipe_yaml="a: 1\\n", resume=False, writes=True)
worker = get_context("fork").Process(target=time.sleep, args=(60,))
worker.start()
print(worker.pid, flush=True)
time.sleep(60)
"""


def test_a_run_is_written_by_one_process_and_free_once_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        worker = int(first.stdout.readline())
        try:
            with pytest.raises(RunError, match=r"another process works in .*started by torchrun"):
                open_run(tmp_path, recipe_yaml="a: 1\n", resume=True, writes=True)
            open_run(tmp_path, recipe_yaml="a: 1\n", resume=True, writes=False)  # another rank
            first.kill()
            first.wait()
            os.kill(worker, 0)  # it lives, and holds nothing
            run = open_run(tmp_path, recipe_yaml="a: 1\n", resume=True, writes=True)
        finally:
            first.kill()
            os.kill(worker, 9)
    run.finish({"loss": 0.5})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"loss": 0.5}


def test_a_folder_that_was_only_held_is_still_empty(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    run = open_run(tmp_path, recipe_yaml="a: 1\n", resume=False, writes=True)
    assert (run.path / "recipe.yaml").read_text() == "a: 1\n"

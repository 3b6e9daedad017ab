"""A library call leaves the process as it was, whatever it does to it and however it ends."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import cv2
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import PartialState

from cxrssl.core.errors import RunError
from cxrssl.run.folder import open_run
from cxrssl.run.process_state import process_restored
from cxrssl.run.processes import start_accelerator
from cxrssl.run.seed import seed_torch
from process_state import changes, state_of_process
from support import output_of, run_python

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@process_restored()
def changes_much() -> None:
    accelerator = start_accelerator("fp32", batch_size=2)
    assert accelerator.mixed_precision == "no"
    seed_torch(0)
    torch.rand(3)
    torch.set_num_threads(3)
    torch.backends.cudnn.benchmark = True
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float64)
    cv2.setNumThreads(2)
    os.environ["CXRSSL_NEW"] = "1"
    os.environ["CXRSSL_OLD"] = "2"


def test_what_a_call_sets_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSSL_OLD", "1")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with process_restored():  # of tests before, which call commands as they are
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limit[1]), limit[1]))
        before = state_of_process()
        changes_much()
        assert changes(before, state_of_process()) == {}
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit


def test_inside_a_call_torch_has_the_settings_it_starts_with_and_the_callers_threads() -> None:
    with process_restored():
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("high")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = True
        torch.set_num_threads(2)
        with torch.device("meta"):
            caller = state_of_process()["torch"]
            with process_restored():
                assert torch.is_grad_enabled()
                assert torch.empty(1).dtype == torch.float32
                assert torch.empty(1).device.type == "cpu"
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.are_deterministic_algorithms_enabled()
                assert not torch.backends.cudnn.benchmark
                assert torch.get_num_threads() == 2
            assert state_of_process()["torch"] == caller
        with torch.inference_mode(), process_restored():
            weight = torch.ones(2, requires_grad=True)
            weight.sum().backward()


@pytest.mark.slow
def test_a_caller_that_set_a_backend_s_precision_by_itself_is_no_error() -> None:
    # In a process of its own: how torch answers depends on what was set before.
    code = """
import torch
from cxrssl.run.process_state import process_restored
torch.backends.cuda.matmul.fp32_precision = "tf32"
try:
    torch.get_float32_matmul_precision()
except RuntimeError:
    with process_restored():
        pass
    print(torch.backends.cuda.matmul.fp32_precision)
"""
    assert output_of("-c", code) == "tf32\n"


def test_a_caller_s_own_accelerator_of_another_precision_is_not_in_the_way() -> None:
    with process_restored():
        theirs = Accelerator(cpu=True, mixed_precision="bf16")
        changes_much()
        assert theirs.mixed_precision == "bf16"
        assert Accelerator(mixed_precision="bf16").mixed_precision == "bf16"


def test_a_call_that_fails_puts_back_and_lets_go_of_its_run_folder(tmp_path: Path) -> None:
    @process_restored()
    def fails() -> NoReturn:
        run = open_run(tmp_path, recipe_yaml="a: 1\n", resume=True, writes=True)
        weights = torch.ones(10)
        try:
            raise RuntimeError(f"of torch: {run.path} {len(weights)}")
        except RuntimeError as error:
            raise RunError("told to the user") from error

    before = state_of_process()
    with pytest.raises(RunError, match="told to the user") as held:
        fails()
    assert changes(before, state_of_process()) == {}
    # A notebook keeps the last error, as `held` does; the lock that it would keep is free.
    with process_restored():
        open_run(tmp_path, recipe_yaml="a: 1\n", resume=True, writes=True)
    assert held.value.__cause__ is not None


IMPORTED = """
from multiprocessing import get_context
from cxrssl.core.processes import check_not_imported_by_worker
def work():
    check_not_imported_by_worker()
    print("works", flush=True)
if MAIN:
    work()
    process = get_context("spawn").Process(target=print, args=("never",))
    process.start()
    process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize(
    ("main", "is_refused"), [("True", True), ('__name__ == "__main__"', False)]
)
def test_a_script_without_a_guard_is_told_so(main: str, is_refused: bool, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(IMPORTED.replace("MAIN", main))
    done = run_python(script)
    assert done.stdout.split() == (["works", "1"] if is_refused else ["works", "never", "0"])
    assert ('below `if __name__ == "__main__":`' in done.stderr) is is_refused


PIPED = """
from multiprocessing import get_context
from cxrssl.core.errors import RunError
from cxrssl.core.processes import end_with_parent, process_pool
try:
    with process_pool(1, context=get_context("spawn"), initializer=end_with_parent) as pool:
        print(pool.submit(abs, -2).result())
except RunError as error:
    print(error)
"""


def test_a_script_from_a_pipe_is_told_that_workers_need_a_file() -> None:
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=PIPED, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("this script is not a file (<stdin>), and worker processes")
    assert output_of("-c", PIPED) == "2\n"


LAUNCHED = """
import sys
import torch
from cxrssl.core.errors import RunError
from cxrssl.run.process_state import process_restored
from cxrssl.run.processes import gather_round_robin, leave_process_group, start_processes
@process_restored()
def call():
    processes = start_processes()
    assert gather_round_robin([processes.process_index], num_processes=2) == [0, 1]
    leave_process_group()
if sys.argv[1] == "joined":
    torch.distributed.init_process_group("gloo")
call()
try:
    call()
    torch.distributed.barrier()
    print("twice")
    torch.distributed.destroy_process_group()
except RunError as error:
    assert not torch.distributed.is_initialized()
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "printed_text"),
    [("joined", "twice"), ("alone", "init_process_group() before the first.")],
)
def test_processes_of_a_launch_keep_the_group_that_is_theirs(
    start: str, printed_text: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(LAUNCHED)
    printed = output_of(*TORCHRUN, script, start)
    assert printed.count(printed_text) == 2  # lines of two processes may be mixed


def test_the_tests_above_left_accelerate_alone() -> None:
    assert not PartialState._shared_state or PartialState().num_processes == 1

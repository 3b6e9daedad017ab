"""Commands as forks of one process that has done their imports: those outlast a small run.

A fork begins where a fresh process is after its imports, hash seed included. So a test that
compares runs makes some of them with the command itself, which draws a seed of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import psutil


@dataclass(frozen=True)
class Forks:
    """Runs one command at a time.

    Attributes:
        requests: Takes a command a line.
        answers: Gives the id of its process, and in the end its exit code.
    """

    requests: IO[str]
    answers: IO[str]

    def begin(self, arguments: Sequence[str], *, num_processes: int) -> psutil.Process:
        """Begin `cxrssl ARGUMENTS`, under the launcher that torchrun is if in several processes."""
        print(json.dumps([arguments, num_processes]), file=self.requests, flush=True)
        return psutil.Process(int(self.answers.readline()))

    def end(self) -> int:
        """Wait for the command that was begun and return its exit code."""
        return int(self.answers.readline())


@contextmanager
def forks() -> Iterator[Forks]:
    """Yield a process that has imported what runs need."""
    process = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        yield Forks(process.stdin, process.stdout)


def serve() -> None:
    """Fork for each line of stdin and say on stdout how the fork ended."""
    import cxrssl.finetune
    import cxrssl.pretrain  # noqa: F401  each is there for the forks

    for line in sys.stdin:
        process_id = os.fork()
        if process_id == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is for the answers
            launch(*json.loads(line))
            return
        tell(process_id)
        tell(os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]))


def tell(number: int) -> None:
    """Send a number to the process that started this one."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def launch(arguments: list[str], num_processes: int) -> None:
    """Run a command here, or in several processes as `torchrun --standalone` would."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if num_processes == 1:
        command(arguments)
        return
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, command)(arguments)


def command(arguments: list[str]) -> None:
    """Do what the command line does."""
    from cxrssl.cli import main

    sys.argv = ["cxrssl", *arguments]
    main()


if __name__ == "__main__":
    serve()

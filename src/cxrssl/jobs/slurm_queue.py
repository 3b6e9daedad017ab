"""The door to submitit: it submits arrays of jobs and watches them in Slurm's queue."""

import logging
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from datetime import datetime
from io import StringIO
from pathlib import Path

from submitit import SlurmExecutor, SlurmJob
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env
from submitit.slurm.slurm import SlurmInfoWatcher

from cxrssl.config.plan import SlurmSection
from cxrssl.core.errors import RunError
from cxrssl.core.printable import printable
from cxrssl.jobs.slurm_task import SlurmTask

_ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
)
# Reasons in squeue's words: a job that waits for one of them would wait for ever.
_HOPELESS = (
    *("BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"),
    *("PartitionTimeLimit", "launch failed requeued held"),
)
_ASK_EVERY_S, _SILENCE_S = 5, 300.0
# How long before its time limit a job gets a signal, so that it can be queued again.
_NOTICE_S, _NOTICE_SHARE = 90, 0.2
logging.getLogger("submitit").setLevel(logging.ERROR)


class _QueueWatcher(SlurmInfoWatcher):
    """submitit's watcher, but it asks squeue: sacct needs a database that small clusters lack."""

    _silent_since: float | None = None

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        self._silent_since = self._silent_since or time.monotonic()
        if time.monotonic() - self._silent_since > _SILENCE_S:
            raise RunError(
                f"Slurm has not answered for {_SILENCE_S / 60:g} minutes; try `squeue --me`. The "
                "jobs go on. Run the same command once it answers: it waits for them."
            )
        command = ["timeout", "60", "squeue", "--me", "--noheader", "--array", "--states=all"]
        return [*command, "--format=%i|%T|%S|%r"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Return state, start and reason of every job that has not ended, by its id.

        States are PENDING, RUNNING or how a job ended; FORGOTTEN if squeue does not list it.
        """
        self._silent_since = None
        text = string if isinstance(string, str) else string.decode(errors="replace")
        unlisted = {"State": "FORGOTTEN", "Start": "", "Reason": ""}
        states = dict.fromkeys(self._registered - self._finished, unlisted)
        for line in (line for line in text.splitlines() if line.count("|") >= 3):
            number, state, start, reason = line.split("|", 3)
            if number in states:
                # submitit takes states that it does not know, such as CONFIGURING, for an end.
                job_state = state if state in (*_ENDED, "PENDING") else "RUNNING"
                states[number] = {"State": job_state, "Start": start, "Reason": reason}
        return states


class QueuedJob(SlurmJob[None]):
    """A job that was submitted, by this process or an earlier one."""

    watcher = _QueueWatcher(_ASK_EVERY_S)

    @property
    def is_hopeless(self) -> bool:
        """Return whether the job waits for something that will never happen."""
        return self.state == "PENDING" and self.reason in _HOPELESS

    @property
    def reason(self) -> str:
        """Return Slurm's reason why the job waits."""
        return self.get_info(mode="cache").get("Reason", "")

    @property
    def seconds(self) -> float:
        """Return how long ago Slurm last started it, 0 if unknown."""
        try:
            start = datetime.fromisoformat(self.get_info(mode="cache").get("Start", ""))
        except ValueError:
            return 0.0
        return max(0.0, (datetime.now() - start).total_seconds())


def submit(
    tasks: Sequence[SlurmTask],
    files: Path,
    limits: SlurmSection,
    *,
    name: str,
    needs: Sequence[str],
) -> list[str]:
    """Submit tasks with the same needs on the same kind of machine as one array.

    Args:
        tasks: One or more, at most as many as the cluster allows in an array.
        files: Folder for submitit's files.
        limits: What each task asks for.
        name: Name of the array in the queue.
        needs: Slurm ids of the jobs that have to succeed first.

    Returns:
        The Slurm ids of the tasks.

    Raises:
        RunError: If sbatch refuses them.
    """
    executor = SlurmExecutor(files, max_num_timeout=limits.requeues)
    # A job succeeds if its product exists; Slurm cancels those that need one that has failed.
    dependency = {"dependency": ":".join(["afterok", *needs])} if needs else {}
    executor.update_parameters(
        job_name=name,
        time=limits.minutes,
        mem=f"{limits.memory_gb}GB",
        nodes=1,
        ntasks_per_node=1,
        cpus_per_task=limits.cpus,
        gpus_per_node=(limits.gpus or None) if tasks[0].job.trains else None,
        partition=limits.partition,
        account=limits.account,
        array_parallelism=limits.most_at_once,
        signal_delay_s=round(min(_NOTICE_S, 60 * limits.minutes * _NOTICE_SHARE)),
        additional_parameters={"requeue": True, "kill-on-invalid-dep": "yes", **dependency},
        # Since Slurm 22.05 srun has one CPU, whatever the job has.
        srun_args=[f"--cpus-per-task={limits.cpus}"],
    )
    # Inside of a job, sbatch would take that job's options for those of the new ones.
    environment = clean_env() if "SLURM_JOB_ID" in os.environ else nullcontext()
    slurm_conf = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    try:
        # submitit prints what sbatch says, which the error below holds.
        with environment, redirect_stderr(StringIO()):
            os.environ.update(slurm_conf)
            return [job.job_id for job in executor.submit_array(tasks)]
    except (FailedJobError, FailedSubmissionError) as error:
        answer = printable(" ".join(str(error).split()))
        raise RunError(
            f"sbatch has refused a job: {answer} Correct the section `slurm` of the plan, such as "
            "--set slurm.partition=NAME, and run the same command."
        ) from error

"""A Slurm cluster of one node: munged, slurmctld and slurmd on loopback, their files in a folder.

The daemons are Debian's (`apt-get install slurm-wlm munge`); whoever runs them owns the jobs.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
# Debian has them where only root's PATH looks.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
# cred_expire: a job that is queued again waits that long, 120 s if it isn't said. The scheduler's
# pauses are for thousands of jobs; a test has ten. MinJobAge: Slurm forgets no job that has ended,
# however slow the machine is.
_CONFIGURATION = """\
ClusterName=cxrssl
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=86400
KillWait=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=usual Nodes={host} Default=YES MaxTime=600 State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes={host} MaxTime=600 State=UP PriorityTier=2 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs.

    Attributes:
        folder: Where its files are.
        environment: What a process needs to find it.
    """

    folder: Path
    environment: dict[str, str]

    def __call__(self, *command: str, check: bool = True) -> str:
        """Run a Slurm command and return what it says."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """Return what `scontrol` says of a job."""
        answer = self("scontrol", "--oneliner", "show", "job", number)
        return dict(part.split("=", 1) for part in answer.split() if "=" in part)


def missing_daemons() -> list[str]:
    """Return the programs that a cluster needs and that are not installed."""
    return [name for name in DAEMONS if shutil.which(name, path=_PATH) is None]


@contextmanager
def one_node(folder: Path) -> Iterator[Cluster]:
    """Run a cluster in a new folder, for as long as the block lasts."""
    munge = folder / "munge"
    for path in (munge, folder / "state", folder / "spool"):
        path.mkdir(parents=True)
    (munge / "key").write_bytes(os.urandom(128))
    (munge / "key").chmod(0o600)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            folder=folder,
            user=pwd.getpwuid(os.getuid()).pw_name,
            ports=_free_ports(2),
        )
    )
    cluster = Cluster(folder, os.environ | {"SLURM_CONF": str(configuration)})
    options = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
    with ExitStack() as stack:
        munged = ["munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *options]
        stack.enter_context(_daemon(munged, cluster))
        _wait_until((munge / "socket").exists, cluster)
        for name in ("slurmctld", "slurmd"):
            stack.enter_context(_daemon([name, "-D", "-c"], cluster))
        _wait_until(lambda: "idle" in cluster("sinfo", "--format=%T", check=False), cluster)
        yield cluster
        cluster("scancel", "--quiet", "--me")
        _wait_until(lambda: not cluster("squeue", "--noheader"), cluster)


@contextmanager
def _daemon(command: list[str], cluster: Cluster) -> Iterator[None]:
    program = shutil.which(command[0], path=_PATH)
    assert program is not None, f"{command[0]} is not installed"
    with (cluster.folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(
            [program, *command[1:]], env=cluster.environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(is_so: Callable[[], bool], cluster: Cluster) -> None:
    deadline = time.monotonic() + 40
    while not is_so():
        logs = "\n".join(path.read_text()[-2000:] for path in cluster.folder.glob("*.[lo][ou]*"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]

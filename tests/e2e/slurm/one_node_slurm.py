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
# cred_expire: a job that is queued again waits that long, 120 s if it isn't said. The scheduler's
# pauses are for thousands of jobs; a test has ten. MinJobAge: Slurm forgets no job that has ended,
# however slow the machine is.
_CONFIGURATION = """\
ClusterName=cxrssl
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
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
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=usual Nodes={host} Default=YES MaxTime=600 State=UP PriorityTier=1 GraceTime=30
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

    def __call__(self, *command: str) -> str:
        """Run a Slurm command and return what it says."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """Return what `scontrol` says of a job."""
        said = self("scontrol", "--oneliner", "show", "job", number)
        return dict(part.split("=", 1) for part in said.split() if "=" in part)


def missing_daemons() -> list[str]:
    """Return the programs that a cluster needs and that are not installed."""
    return [name for name in DAEMONS if _program(name) is None]


@contextmanager
def one_node(folder: Path) -> Iterator[Cluster]:
    """Run a cluster in a new folder, for as long as the block lasts."""
    host = socket.gethostname().split(".")[0]
    controller_port, node_port = _free_ports(2)
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    text = _CONFIGURATION.format(
        host=host,
        folder=folder,
        user=pwd.getpwuid(os.getuid()).pw_name,
        controller_port=controller_port,
        node_port=node_port,
    )
    configuration.write_text(text)
    cluster = Cluster(folder, os.environ | {"SLURM_CONF": str(configuration)})
    with ExitStack() as stack:
        for command in _commands(folder):
            stack.enter_context(_daemon(command, cluster))
            if command[0].endswith("munged"):
                _until(lambda: (folder / "munge/socket").exists(), cluster)
        _until(lambda: "idle" in _state(cluster), cluster)
        yield cluster
        cluster("scancel", "--quiet", "--me")
        _until(lambda: not cluster("squeue", "--noheader"), cluster)


def _commands(folder: Path) -> Iterator[list[str]]:
    munge, key = folder / "munge", folder / "munge/key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = {"key": key, "socket": munge / "socket", "pid": munge / "pid", "log": munge / "log"}
    options = [
        *(f"--{name}-file={path}" for name, path in files.items() if name != "socket"),
        *(f"--socket={files['socket']}", f"--seed-file={munge / 'seed'}"),
    ]
    yield [_found("munged"), "--foreground", "--force", *options]
    yield [_found("slurmctld"), "-D", "-c"]
    yield [_found("slurmd"), "-D", "-c"]


@contextmanager
def _daemon(command: list[str], cluster: Cluster) -> Iterator[None]:
    log = cluster.folder / f"{Path(command[0]).name}.out"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=cluster.environment, stdout=out, stderr=subprocess.STDOUT
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


def _state(cluster: Cluster) -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    done = subprocess.run(
        command, env=cluster.environment, capture_output=True, text=True, check=False
    )
    return done.stdout


def _until(is_so: Callable[[], bool], cluster: Cluster) -> None:
    deadline = time.monotonic() + 40
    while not is_so():
        logs = "\n".join(path.read_text()[-2000:] for path in cluster.folder.glob("*.[lo][ou]*"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)


def _program(name: str) -> str | None:
    # Debian has them where only root's PATH looks.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _found(name: str) -> str:
    path = _program(name)
    assert path is not None, f"{name} is not installed"
    return path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports

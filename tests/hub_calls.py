"""Commands and programs in processes of their own that know the tests' Hub and no other."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hub_server import TOKEN, Hub, environment

# Forks of one process, so that its imports are paid for once.
_FORKS = """
import json, os, sys, traceback
import cxrssl.cli.commands, cxrssl.evaluate.checkpoint, cxrssl.finetune, cxrssl.predict, cxrssl.push
for line in sys.stdin:
    arguments, token = json.loads(line)
    child = os.fork()
    if not child:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
        os.environ.pop("HF_TOKEN", None)
        if token:
            os.environ["HF_TOKEN"] = token
        sys.argv = ["cxrssl", *arguments]
        code = 0
        try:
            cxrssl.cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            code = 1
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)  # what Python does at its end takes longer than most commands
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_WITHOUT_CXRSSL = """
import sys
sys.modules["cxrssl"] = None
import torch
torch.set_num_threads(1)  # as in a test: sums of floats depend on it
"""


@dataclass(frozen=True)
class Done:
    """What a command said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Commands:
    """Runs commands one after the other, each in a process of its own.

    Attributes:
        hub: The Hub that they know.
        home: Their cache of it, and their working folder.
        process: The process that they are forks of.
    """

    hub: Hub
    home: Path
    process: subprocess.Popen[str]

    def __call__(self, *arguments: object, token: str | None = TOKEN) -> Done:
        """Run `cxrssl` once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([list(map(str, arguments)), token]), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return Done(code, (self.home / "out").read_text(), (self.home / "err").read_text())


@contextmanager
def commands(hub: Hub, home: Path) -> Iterator[Commands]:
    """Yield what runs `cxrssl`."""
    home.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKS],
        env=environment(hub, home) | {"OMP_NUM_THREADS": "1"},
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Commands(hub, home, process)
        assert process.stdin is not None
        process.stdin.close()


def without_cxrssl(hub: Hub, home: Path, program: str, *arguments: str) -> str:
    """Run a program that can't import cxrssl, and return what it prints."""
    done = python(hub, home, _WITHOUT_CXRSSL + program, *arguments)
    assert done.code == 0, done.err
    return done.out


def python(
    hub: Hub,
    home: Path,
    program: str,
    *arguments: str,
    token: str | None = TOKEN,
    executable: str | Path = sys.executable,
) -> Done:
    """Run a program."""
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [executable, "-c", program, *arguments],
        env=environment(hub, home, token=token),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def tag_of(done: Done) -> str:
    """Return the tag that a push printed."""
    assert done.code == 0, done.err
    return done.out.split()[-1]


def code_of(card: str) -> str:
    """Return the Python of a card."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL))

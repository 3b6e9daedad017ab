"""Ctrl-C (SIGINT) and a plain kill (SIGTERM): when a command ends, and with what.

Only the command line installs handlers; a program that calls cxrssl keeps its own.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import NoReturn

_PENDING = b"\nEnding after this step, to save it. Press Ctrl-C again to end at once.\n"


class Interrupted(BaseException):
    """A signal has ended a command. No Exception, so that nothing takes it for a fault.

    Attributes:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """What this process was told, and whether it may wait for the end of a step."""

    owner_pid: int | None = None
    can_wait: bool = False
    in_steps: bool = False
    pending: int | None = None
    exit_signal: int | None = None
    exit_code: int | None = None


_state = _State()


@contextmanager
def interruptible(*, can_wait: bool) -> Iterator[None]:
    """Raise `Interrupted` on SIGINT and SIGTERM, and give both back afterwards.

    A signal that is ignored stays so, as in a job behind `nohup`.

    Args:
        can_wait: Whether training may first end its step and save it. Not where several processes
            train together: each would end at another step, and wait for the others for ever. There
            SIGTERM is left alone as well, for it must end a process that waits for others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM) if can_wait else (signal.SIGINT,)
    before = {number: signal.getsignal(number) for number in numbers}
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_keep_interrupt, hook)
    _state.owner_pid, _state.can_wait, _state.pending = os.getpid(), can_wait, None
    for number in numbers:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _handle)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
        sys.unraisablehook = hook
        _state.owner_pid = _state.pending = None


@contextmanager
def ends_between_steps() -> Iterator[None]:
    """Let a signal wait inside of this block until `end_if_interrupted` is called.

    Raises:
        Interrupted: If one has come too late for that.
    """
    _state.in_steps = _state.can_wait
    try:
        yield
    finally:
        _state.in_steps = False
    end_if_interrupted()


def exit_interrupted(number: int) -> NoReturn:
    """End this process as a shell and a batch system expect after a signal.

    After SIGTERM it ends by that signal, once what is registered with `atexit` has run: pools of
    workers give back there what the system holds for them.

    Raises:
        SystemExit: With 128 and the signal's number.
    """
    if number == signal.SIGTERM:
        _state.exit_signal = number
    raise SystemExit(128 + number)


def skip_finalization(code: int) -> None:
    """Let `end_process` end this process, so that Python does not take itself apart.

    Threads of torch's process group may still free a tensor then, and abort for it.
    """
    _state.exit_code = code


def end_process() -> None:
    """End this process as `exit_interrupted` or `skip_finalization` have asked for, if one has.

    To be registered with `atexit` before anything else, which makes it the last to be called.
    """
    if _state.exit_signal is None and _state.exit_code is None:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # such as a pipe that nobody reads any more
            stream.flush()
    if _state.exit_signal is not None:
        signal.signal(_state.exit_signal, signal.SIG_DFL)
        signal.raise_signal(_state.exit_signal)
    if _state.exit_code is not None:
        os._exit(_state.exit_code)


def pending_signal() -> int | None:
    """Return the signal that waits for the end of a step, None where none does."""
    return _state.pending


def end_if_interrupted() -> None:
    """End a command whose step is saved.

    Raises:
        Interrupted: If a signal has waited for it.
    """
    if _state.pending is not None:
        raise Interrupted(_state.pending)


def _keep_interrupt(
    hook: Callable[["sys.UnraisableHookArgs"], object], fault: "sys.UnraisableHookArgs"
) -> None:
    """Keep a signal that came where Python can raise nothing, as in a finalizer."""
    if isinstance(fault.exc_value, Interrupted):
        _state.pending = fault.exc_value.number
    else:
        hook(fault)


def _handle(number: int, _frame: FrameType | None) -> None:
    if os.getpid() != _state.owner_pid:
        _handle_in_worker(number)
    elif _state.in_steps and _state.pending is None:
        _state.pending = number
        # A loader's worker that the same signal has ended must not break off this step.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if number == signal.SIGINT:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _PENDING)
    elif number == signal.SIGINT or _state.pending is None:
        # A second signal ends the process at once, without tidying up.
        for repeated in (signal.SIGINT, number):
            signal.signal(repeated, signal.SIG_DFL)
        raise Interrupted(number)


def _handle_in_worker(number: int) -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the process that began this."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

"""Worker processes that decode images, and outlive whatever a decoder does.

A broken file can crash a decoder written in C, or keep it busy for ever. Such a file ends its
process; it is found, listed, and the rest goes on.
"""

import resource
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import TypeVar

from cxrssl.core.errors import DataError, RunError
from cxrssl.core.files import write_text
from cxrssl.core.images import one_thread
from cxrssl.core.processes import defer_signals, end_with_parent, process_pool
from cxrssl.ingest.shards import Shard, decoded, write_shard

Content = TypeVar("Content")

# Decoding 150 megapixels takes under 2 GiB and a minute; what wants more is not asked for it.
_MAX_MEMORY_BYTES = 6 << 30
_MAX_SECONDS_AN_IMAGE = 300
_MAX_ROUNDS_WITHOUT_CULPRIT = 3
_FILES_AHEAD = 2

# Not forked from here: a fork has none of its parent's threads and all of their locks.
_CONTEXT = get_context("forkserver")
_PRELOADED = ["cxrssl.ingest.workers"]


def write_shards(shards: Iterable[Shard], *, num_workers: int) -> Iterator[Shard]:
    """Write shards side by side; yield each as it is done.

    Args:
        shards: To write.
        num_workers: Processes, >= 1.

    Raises:
        RunError: If processes end again and again, and no file is to blame.
    """
    waiting = {shard.number: shard for shard in shards}
    rounds = 0
    while waiting:
        with _pool(num_workers) as pool:
            with defer_signals():
                futures: dict[Future[None], int] = {
                    pool.submit(_write, shard): number for number, shard in waiting.items()
                }
            for future in as_completed(futures):
                try:
                    future.result()
                except BrokenProcessPool:
                    continue
                yield waiting.pop(futures[future])
        culprits = list(_culprits(waiting.values()))
        for shard in culprits:
            waiting[shard.number] = shard
        rounds = 0 if culprits else rounds + 1
        if waiting and rounds == _MAX_ROUNDS_WITHOUT_CULPRIT:
            raise RunError(
                f"the worker processes ended {rounds} times, with {len(waiting)} shards to write, "
                "and no image ends one when it is decoded alone. Is memory short? Try --workers 1."
            )


def read_in_worker(
    files: Iterable[Path], read: Callable[[Path], Content]
) -> Iterator[tuple[Path, Content | str]]:
    """Read files in a process of their own; yield each in order, or why it can't be read.

    The next file is read while the caller works on this one.

    Args:
        files: In the order they are wanted.
        read: A function that can be pickled; its DataError is a reason.
    """
    waiting = deque(files)
    while waiting:
        with _pool(1) as pool:
            yield from _read_until_it_ends(pool, waiting, read)


def _read_until_it_ends(
    pool: ProcessPoolExecutor, waiting: deque[Path], read: Callable[[Path], Content]
) -> Iterator[tuple[Path, Content | str]]:
    """Yield what one process reads of `waiting`, and the file that ended it, if one did."""
    begun: deque[tuple[Path, Future[Content | str]]] = deque()
    while waiting or begun:
        try:
            while waiting and len(begun) < _FILES_AHEAD:
                with defer_signals():
                    begun.append((waiting[0], pool.submit(_read, read, waiting[0])))
                waiting.popleft()
        except BrokenProcessPool:
            pass  # the file that did it has been begun, and says so below
        if not begun:  # the process ended on its own, between two files: on with a new one
            return
        path, future = begun.popleft()
        try:
            yield path, future.result()
        except BrokenProcessPool:
            yield path, "its decoder ended the process, or took too long"
            waiting.extendleft(file for file, _ in reversed(begun))
            return


def _read(read: Callable[[Path], Content], path: Path) -> Content | str:
    signal.alarm(_MAX_SECONDS_AN_IMAGE)
    try:
        return read(path)
    except DataError as error:
        return str(error)
    except MemoryError:
        return f"{path.name}: reading it takes more memory than there is"
    finally:
        signal.alarm(0)


@contextmanager
def _pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of workers with limits on what they take."""
    with (
        _preloading(),
        process_pool(num_workers, context=_CONTEXT, initializer=limit_worker) as pool,
    ):
        yield pool


@contextmanager
def _preloading() -> Iterator[None]:
    """Let the server that workers are forked from import this module once for all of them.

    The list of what it imports is one for the whole program, and is put back.
    """
    before = list(forkserver._forkserver._preload_modules)  # type: ignore[attr-defined]
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    try:
        yield
    finally:
        _CONTEXT.set_forkserver_preload(before)


def limit_worker() -> None:
    """Limit what this worker process can take, and end it with its parent."""
    # Ctrl-C reaches the whole group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, _MAX_MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    end_with_parent()


def _write(shard: Shard) -> None:
    def before_image(name: str) -> None:
        write_text(shard.progress_path, name)
        # The signal's default action ends the process whatever its decoder is doing.
        signal.alarm(_MAX_SECONDS_AN_IMAGE)

    write_shard(shard, before_image=before_image)
    signal.alarm(0)
    shard.progress_path.unlink(missing_ok=True)


def _culprits(shards: Iterable[Shard]) -> Iterator[Shard]:
    """Yield shards without the image that ends a process, for those that have one."""
    for shard in shards:
        if not shard.progress_path.is_file():
            continue
        name = shard.progress_path.read_text(encoding="utf-8")
        process = _CONTEXT.Process(target=_decode, args=(shard, name))
        process.start()
        process.join()
        if process.exitcode:
            yield shard.without(name, fault=f"{name}: {_how_it_ended(process.exitcode)}")
        shard.progress_path.unlink(missing_ok=True)


def _decode(shard: Shard, name: str) -> None:
    limit_worker()
    signal.alarm(_MAX_SECONDS_AN_IMAGE)
    try:
        decoded(shard, name)
    except DataError:
        return


def _how_it_ended(exitcode: int) -> str:
    if exitcode == -signal.SIGALRM:
        return f"decoding it took more than {_MAX_SECONDS_AN_IMAGE} seconds and was ended"
    if exitcode < 0:
        return f"its decoder ended the process ({signal.Signals(-exitcode).name})"
    return "decoding it ends the process"

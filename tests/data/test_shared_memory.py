"""Workers hand over batches through shared memory: too little of it is told before and after."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from cxrssl.core.errors import RunError
from cxrssl.core.images import Intensity
from cxrssl.data import shared_memory
from cxrssl.data.cuts.two_views import TwoViews, ViewRanges
from cxrssl.data.detection import examples_of
from cxrssl.data.loaders import DetectionImages, PoolImages, detection_loader, pool_loader
from cxrssl.data.sampling import in_order
from cxrssl.data.shared_memory import (
    SharedMemoryWarning,
    check_shared_memory,
    shared_memory_faults,
)
from cxrssl.data.store import Store

Usage = namedtuple("Usage", "total used free")
DOCKER_BYTES = 64 * 2**20


def has_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: Usage(free, 0, free))
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", Path("/"))


def test_docker_s_64_mb_are_refused_for_large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    has_free(monkeypatch, DOCKER_BYTES)
    batch = 128 * 2 * 512**2  # the corrected recipe's: 67 MB
    with pytest.raises(
        RunError, match=r"has 67 MB left, and 8 workers .* of 67 MB .*--shm-size=4g"
    ):
        check_shared_memory(batch, num_workers=8)
    check_shared_memory(batch, num_workers=0)
    with pytest.warns(SharedMemoryWarning, match="fill up to 80 MB of it: a worker may be killed"):
        check_shared_memory(10_000_000, num_workers=4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with pytest.raises(RunError, match="32 workers"):
        check_shared_memory(10_000_000, num_workers=4)


def test_loaders_check_what_their_workers_hand_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey, batches = Intensity(True, 0.5, 0.25), in_order(8, 4)
    ranges = ViewRanges(32, (0.5, 1.0), (1.0, 1.0), 0.5, (0.1, 2.0), 3, (0.1, 0.2), "divisor")
    views = PoolImages(store, range(8), TwoViews(ranges), grey, 0)
    examples = examples_of(store, fusion="consensus", iou=0.2)
    images = DetectionImages(store, examples, grey, 0.0, 0)
    calls: list[tuple[int, int]] = []
    has_free(monkeypatch, 2**40)

    def record(batch_bytes: int, *, num_workers: int) -> None:
        calls.append((batch_bytes, num_workers))

    monkeypatch.setattr("cxrssl.data.loaders.check_shared_memory", record)
    first = next(iter(pool_loader(views, batches, 0, pin=False)))
    assert calls == [(sum(part.nbytes for part in first.values()), 0)]
    pixels, _ = next(iter(detection_loader(images, batches, num_workers=0)))
    assert calls[1] == (sum(image.nbytes for image in pixels), 0)
    pool_loader(views, [], 2, pin=False)
    assert len(calls) == 2


# A worker of the real loader that dies as one does where shared memory ends.
DIES = """
import os, signal, torch
from torch.utils.data import DataLoader, Dataset
from cxrssl.core.errors import RunError
from cxrssl.data.shared_memory import shared_memory_faults
class Images(Dataset):
    def __len__(self): return 4
    def __getitem__(self, row):
        os.kill(os.getpid(), signal.SIGBUS)
try:
    with shared_memory_faults():
        list(DataLoader(Images(), num_workers=1))
except RunError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="others have no /dev/shm")
def test_a_worker_that_dies_of_it_becomes_advice() -> None:
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, check=True)
    assert "killed by signal: Bus error" in done.stdout
    assert "Set data.num_workers lower" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "unable to allocate shared memory(shm) for file </torch_9_1>: No space left on device (28)",
        "unable to write to file </torch_12_345_6>: No space left on device (28)",
        "received 0 items of ancdata",
    ],
)
def test_what_torch_says_of_it_becomes_advice(text: str) -> None:
    with pytest.raises(RunError, match="docker run --shm-size=4g"), shared_memory_faults():
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="must match"), shared_memory_faults():
        torch.ones(2) + torch.ones(3)

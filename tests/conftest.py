"""A small phantom and its store, made once a session."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
# For the commands that tests start: as many threads as cores, in each of two at once, wait more
# than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests compare bytes and losses with those of a CPU; a GPU's sums come in another order.
os.environ.update({} if os.environ.get("CXRSSL_TEST_GPU") == "1" else {"CUDA_VISIBLE_DEVICES": ""})

import pytest
import torch

from cxrssl.data.phantom import make_phantom
from cxrssl.data.store import Store
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings


def pytest_report_header(config: pytest.Config) -> str:
    """Say what a run leaves out."""
    if config.option.markexpr != "not slow":
        return ""
    return "left out: the slow tests (make test-slow): plans, kills, processes, Slurm, a browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU unless one is to be used, and begin with the files that take longest.

    These have slow tests, and are those of whole commands in this folder before others. Left for
    the end, one of them would keep a single worker.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    for item in items:
        if item.get_closest_marker("gpu") and os.environ.get("CXRSSL_TEST_GPU") != "1":
            item.add_marker(pytest.mark.skip(reason="needs a GPU and CXRSSL_TEST_GPU=1"))
    here = Path(__file__).parent
    items.sort(key=lambda item: (item.path not in slow, item.path.parent != here))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Let no result depend on how many cores a machine has."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 30 radiographs in Kaggle layout."""
    folder = tmp_path_factory.mktemp("source") / "phantom"
    make_phantom(folder, num_images=30, seed=3, normal_share=0.2, min_side_px=200, max_side_px=260)
    return folder


@pytest.fixture(scope="session")
def store_folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingest the phantom at 64 pixels."""
    folder = tmp_path_factory.mktemp("store") / "store"
    summary = ingest(source, folder, Settings(64), num_workers=1)
    assert not summary.failures
    return folder


@pytest.fixture(scope="session")
def store(store_folder: Path) -> Store:
    """Open the session's store."""
    return Store(store_folder)

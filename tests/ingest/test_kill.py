"""An ingest outlives kills, crashing decoders and company: the store is as if nothing happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cxrssl.core.errors import DataError, RunError
from cxrssl.data.store import Store
from cxrssl.data.tables import read_source
from cxrssl.ingest import ingest, part_of, workers
from cxrssl.ingest.shards import Settings
from support import DeadlyPath, killed

NUM_COPIES = 24
NUM_SHARDS = 12


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def many(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the phantom many times over, under other ids."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "train").mkdir()
    table = pd.read_csv(source / "train.csv")
    copies = []
    for number in range(NUM_COPIES):
        copies.append(table.assign(image_id=f"{number}-" + table["image_id"]))
        for path in (source / "train").iterdir():
            os.link(path, folder / "train" / f"{number}-{path.name}")
    pd.concat(copies).to_csv(folder / "train.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def intact(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of an ingest that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    assert ingest(many, folder, Settings(64), num_workers=2).num_images == 30 * NUM_COPIES
    return folder


def begun(source: Path, store: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cxrssl", "ingest", str(source), str(store), "--size", "64"]
    return subprocess.Popen([*command, "--workers", "2", *options], stdout=subprocess.DEVNULL)


def parents() -> dict[int, int]:
    """Return every live process with its parent."""
    result = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            result[int(path.parent.name)] = int(parent)
    return result


def descendants(pid: int) -> set[int]:
    """Return the live processes that a process began, and those that they did."""
    family, of = {pid}, parents()
    while True:
        more = {child for child, parent in of.items() if parent in family} - family
        if not more:
            return family - {pid}
        family |= more


def at_work(process: subprocess.Popen[bytes]) -> set[int]:
    """Wait until two workers are there, besides two processes that look after them."""
    while len(result := descendants(process.pid)) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    return result


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_bitwise_as_an_undisturbed_one(
    many: Path, intact: Path, tmp_path: Path
) -> None:
    store = tmp_path / "killed"
    generator = random.Random(0)
    for _ in range(6):
        process = begun(many, store)
        at_work(process)
        time.sleep(generator.uniform(0, 0.15))
        assert process.poll() is None
        process.kill()
        process.wait()
    assert begun(many, store).wait() == 0
    assert contents(store) == contents(intact)


@pytest.mark.slow
def test_workers_end_with_the_call_that_was_killed(many: Path, tmp_path: Path) -> None:
    process = begun(many, tmp_path / "store")
    workers = at_work(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while (living := workers & set(parents())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert living == set(), f"these of {workers} outlive their parent, {process.pid}, by 20 s"


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once_and_it_goes_on_later(
    many: Path, intact: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-m", "cxrssl", "ingest", str(many), str(store), "--size", "64"]
    # Tests in a shell's background ignore Ctrl-C, and what they start would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    workers = at_work(process)
    os.killpg(process.pid, signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in output
    assert b"Interrupted. Kept: the parts of the store that are done. To go on:" in output
    assert not workers & set(parents())
    assert begun(many, store).wait() == 0
    assert contents(store) == contents(intact)


@pytest.mark.slow
def test_calls_that_share_the_work_make_the_same_store(
    many: Path, intact: Path, tmp_path: Path
) -> None:
    store = tmp_path / "shared"
    first = ingest(many, store, Settings(64), num_workers=1, part=(2, 2))
    assert (first.num_images, first.num_missing) == (5 * 64 + 16, 6)
    with pytest.raises(DataError, match="is not a finished store"):
        Store(store)
    second = ingest(many, store, Settings(64), num_workers=1, part=(1, 2))
    assert (second.num_images, second.num_missing) == (6 * 64, 0)
    assert contents(store) == contents(intact)


@pytest.mark.slow
def test_calls_that_share_the_work_at_once_make_the_same_store(
    many: Path, intact: Path, tmp_path: Path
) -> None:
    store = tmp_path / "shared"
    processes = [begun(many, store, "--shard", f"{number}/3") for number in (1, 2, 3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert contents(store) == contents(intact)


@pytest.mark.slow
def test_two_calls_on_the_same_shards_are_one_too_many(many: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    process = begun(many, store)
    while process.poll() is None and not (store / ".lock").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    with pytest.raises(RunError, match=r"another process works in .* on the same shards"):
        ingest(many, store, Settings(64), num_workers=1)
    assert process.wait() == 0


@pytest.mark.slow
def test_a_store_stays_whole_until_the_one_that_replaces_it_is(
    many: Path, intact: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(intact, store)
    first, second = (1, 2), (2, 2)
    ingest(many, store, Settings(32), num_workers=1, part=first, replace=True)
    assert Store(store).pixels(0).shape == (64, 64)
    assert {name: (store / name).read_bytes() for name in contents(intact)} == contents(intact)
    ingest(many, store, Settings(32), num_workers=1, part=second, replace=True)
    assert Store(store).pixels(0).shape == (32, 32)
    ingest(many, tmp_path / "fresh", Settings(32), num_workers=1)
    assert contents(store) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", ""])
def test_a_share_is_counted_from_one(text: str) -> None:
    assert part_of("2/8") == (2, 8)
    with pytest.raises(DataError, match="expected I/N with I from 1 to N"):
        part_of(text)


def test_a_file_that_crashes_its_decoder_is_listed_and_the_rest_is_stored(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = read_source(many)
    names = sorted(result.files)
    numbers = {names[3]: signal.SIGSEGV, names[70]: signal.SIGABRT, names[71]: signal.SIGALRM}
    for name, number in numbers.items():
        deadly = DeadlyPath(tmp_path / f"{name}.{int(number)}")
        deadly.write_bytes(b"")
        result.files[name] = deadly
    monkeypatch.setattr("cxrssl.ingest.read_source", lambda *_, **__: result)
    summary = ingest(many, tmp_path / "store", Settings(64), num_workers=2)
    assert summary.num_images == 30 * NUM_COPIES - 3
    assert summary.failures == {
        names[3]: f"{names[3]}: its decoder ended the process (SIGSEGV)",
        names[70]: f"{names[70]}: its decoder ended the process (SIGABRT)",
        names[71]: f"{names[71]}: decoding it took more than 300 seconds and was ended",
    }
    assert json.loads((tmp_path / "store/manifest.json").read_text())["failures"] == (
        summary.failures
    )
    assert not list((tmp_path / "store").glob("*.tmp"))
    assert len(Store(tmp_path / "store")) == summary.num_images


@pytest.mark.slow
def test_processes_that_end_without_a_culprit_are_given_up_on(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_write", killed)
    with pytest.raises(RunError, match="ended 3 times, with 12 shards to write, and no image"):
        ingest(many, tmp_path / "store", Settings(64), num_workers=1)


def peak_mb(source: Path, store: Path) -> float:
    """Return the most memory that an ingest takes, its shards written by the process itself."""
    code = (
        "import resource, sys; from pathlib import Path; import cxrssl.ingest as command\n"
        "from cxrssl.ingest.shards import Settings, write_shard\n"
        "def write_shards(shards, *, num_workers):\n"
        "    for shard in shards:\n"
        "        write_shard(shard, before_image=lambda name: None)\n"
        "        yield shard\n"
        "command.write_shards = write_shards\n"
        "command.ingest(Path(sys.argv[1]), Path(sys.argv[2]), Settings(256), num_workers=1)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    command = [sys.executable, "-c", code, str(source), str(store)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(
    many: Path, source: Path, tmp_path: Path
) -> None:
    # 690 images more, each 0.06 MB as it is stored and more as it is decoded.
    assert peak_mb(many, tmp_path / "many") < peak_mb(source, tmp_path / "few") + 20


def test_a_worker_may_not_take_all_memory(tmp_path: Path) -> None:
    code = "from cxrssl.ingest.workers import limit_worker; limit_worker(); bytearray(7 << 30)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr

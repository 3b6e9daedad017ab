"""Checkpoints outlast a kill or a power cut at any moment, and say so when they are damaged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cxrssl.core.errors import RunError
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.optimizer import build_optimizer
from support import output_of

Event = tuple[str, str]


class PowerCutError(BaseException):
    """Nothing may catch it."""


def begin(value: float) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """Return a layer whose weights are all `value`."""
    model = nn.Linear(3, 2)
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    return model, build_optimizer(model, "sgd", 0.9, 0.0)


def watch(monkeypatch: pytest.MonkeyPatch, on_call: Callable[[str, Path], None]) -> None:
    """Have every call that makes durable, renames or deletes told before it is made."""
    fsync, rename, rmdir, unlink = os.fsync, Path.rename, os.rmdir, os.unlink

    def watched_fsync(descriptor: int) -> None:
        on_call("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def watched_rename(path: Path, target: Path) -> Path:
        on_call("rename", path)
        return rename(path, target)

    def watched_rmdir(path: str, *, dir_fd: int | None = None) -> None:
        on_call("rmdir", Path(path))
        rmdir(path, dir_fd=dir_fd)

    def watched_unlink(path: str, *, dir_fd: int | None = None) -> None:
        on_call("unlink", Path(path))
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    monkeypatch.setattr(os, "rmdir", watched_rmdir)
    monkeypatch.setattr(os, "unlink", watched_unlink)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="it says what a descriptor is")
def test_files_then_folder_then_name_are_durable_before_the_last_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, every_steps=1, num_steps=9, writes=True)
    checkpoints.save(*begin(1.0), steps_done=1)
    events: list[Event] = []
    watch(monkeypatch, lambda call, path: events.append((call, path.name)))
    checkpoints.save(*begin(2.0), steps_done=2)
    temporary = f"step-00000002.{os.getpid()}.tmp"
    files = {("fsync", f"{name}.safetensors") for name in ("model", "optimizer")}
    files.add(("fsync", "state.json"))
    durable = [("fsync", temporary), ("rename", temporary), ("fsync", tmp_path.name)]
    start = events.index(durable[0])
    assert set(events[:start]) >= files
    assert events[start : start + 3] == durable
    first_loss = next(
        position
        for position, (call, name) in enumerate(events)
        if (call, name) == ("rmdir", "step-00000001")
    )
    assert first_loss > start + 2
    unlinked = [position for position, (call, _) in enumerate(events) if call == "unlink"]
    lost = [
        position
        for position in unlinked
        if events[position][1] in ("model.safetensors", "state.json")
    ]
    assert min(lost) > start + 2


def test_a_cut_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    restored_steps: set[int] = set()
    for moment in range(1, 40):
        folder = tmp_path / str(moment)
        checkpoints = Checkpoints(folder, every_steps=1, num_steps=9, writes=True)
        checkpoints.save(*begin(1.0), steps_done=1)
        calls_left = moment

        def cut(call: str, path: Path) -> None:
            nonlocal calls_left
            calls_left -= 1
            if calls_left == 0:
                raise PowerCutError

        is_cut = False
        with pytest.MonkeyPatch.context() as monkeypatch:
            watch(monkeypatch, cut)
            try:
                checkpoints.save(*begin(2.0), steps_done=2)
            except PowerCutError:
                is_cut = True
        model, optimizer = begin(0.0)
        step = checkpoints.restore(model, optimizer)
        assert step in (1, 2)
        assert all(bool((p == float(step)).all()) for p in model.parameters())
        checkpoints.save(*begin(3.0), steps_done=3)
        assert [path.name for path in folder.iterdir()] == ["step-00000003"]
        restored_steps.add(step)
        if not is_cut:
            break
    assert not is_cut
    assert restored_steps == {1, 2}


def test_only_checkpoints_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    checkpoints = Checkpoints(tmp_path, every_steps=1, num_steps=9, writes=True)
    for step in (1, 2):
        checkpoints.save(*begin(1.0), steps_done=step)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".DS_Store",
        "mine",
        "step-00000002",
    ]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("content", [b"", b"\0" * 64, b'{"steps_done": 3', None])
def test_a_damaged_checkpoint_is_named(name: str, content: bytes | None, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, every_steps=1, num_steps=9, writes=True)
    checkpoints.save(*begin(1.0), steps_done=1)
    path = tmp_path / "step-00000001" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(
        RunError, match=r"step-00000001 is damaged .* begin anew with another --out"
    ):
        checkpoints.restore(*begin(0.0))


@pytest.mark.slow
def test_a_full_disk_is_told_as_the_system_does_and_costs_no_checkpoint(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from torch import nn
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.optimizer import build_optimizer
model = nn.Linear(500, 500)
checkpoints = Checkpoints(Path(sys.argv[1]), 1, 9, True)
checkpoints.save(model, build_optimizer(model, "sgd", 0.9, 0.0), steps_done=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(model, build_optimizer(model, "sgd", 0.9, 0.0), steps_done=2)
except OSError as error:
    print(error.errno, Path(error.filename).name)
"""
    assert output_of("-c", code, tmp_path) == "27 model.safetensors\n"  # EFBIG
    shutil.rmtree(next(tmp_path.glob("*.tmp")))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]

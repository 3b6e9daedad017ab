"""Runs: rates, checkpoints, folders and logs."""

import json
import os
import platform
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cxrssl.config.load import to_yaml
from cxrssl.core.errors import RunError, TrainingError
from cxrssl.core.state import load_unique_tensors
from cxrssl.finetune import finetune
from cxrssl.pretrain import pretrain
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.folder import open_run, resume_text
from cxrssl.run.log import Log
from cxrssl.run.optimizer import build_optimizer
from cxrssl.run.processes import start_accelerator
from cxrssl.run.schedule import LearningRate
from support import finetune_recipe, output_of, pretrain_recipe

FINE = {"loss": torch.tensor(1.0)}


def test_the_rate_rises_then_falls_as_a_cosine() -> None:
    rate = LearningRate("cosine", peak=1.0, warmup_steps=4, num_steps=104)
    assert [rate.at(step) for step in (0, 3, 4)] == pytest.approx([0.2, 0.8, 1.0])
    assert rate.at(54) == pytest.approx(0.5)
    assert rate.at(103) < 0.001


@pytest.mark.parametrize(("warmup", "steps"), [(1000, 10), (6, 11), (1, 1), (1, 0)])
def test_a_rise_beyond_half_of_the_run_is_refused(warmup: int, steps: int) -> None:
    message = rf"warmup_steps is {warmup}, more than half of the run's {steps} steps"
    with pytest.raises(RunError, match=message):
        LearningRate("constant", peak=1.0, warmup_steps=warmup, num_steps=steps)
    half = LearningRate("constant", peak=1.0, warmup_steps=steps // 2, num_steps=steps)
    assert half.at(steps // 2) == 1.0


def test_a_rate_that_falls_by_steps_is_a_tenth_from_each_on() -> None:
    rate = LearningRate("steps", 1.0, warmup_steps=2, num_steps=10, drops=(5, 8))
    expected = [1 / 3, 2 / 3, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert [rate.at(step) for step in range(10)] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_a_restored_run_steps_exactly_as_one_that_went_on(name: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, every_steps=3, num_steps=9, writes=True)

    def begin() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)  # the same network twice
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        model.to(memory_format=torch.channels_last)
        return model, build_optimizer(model, name, 0.9, 0.01)  # type: ignore[arg-type]

    def advance(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            generator = torch.Generator().manual_seed(step)
            model(torch.randn(2, 3, 6, 6, generator=generator)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            checkpoints.save_if_due(model, optimizer, FINE, steps_done=step + 1)

    model, optimizer = begin()
    advance(model, optimizer, range(5))
    # What a kill in the middle of a write leaves; in a container the process id comes again.
    (tmp_path / "step-00000099.7.tmp").mkdir()
    (tmp_path / f"step-00000006.{os.getpid()}.tmp").mkdir()
    restored, optimizer = begin()
    assert checkpoints.restore(restored, optimizer) == 3
    advance(restored, optimizer, range(3, 5))
    for first, second in zip(
        model.state_dict().values(), restored.state_dict().values(), strict=True
    ):
        assert torch.equal(first, second)
    advance(restored, optimizer, range(5, 6))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"]


def test_lars_takes_the_papers_steps_and_leaves_biases_to_sgd() -> None:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
        layer.bias.copy_(torch.tensor([2.0]))
    optimizer = build_optimizer(layer, "lars", momentum=0.9, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    weight, velocity = torch.tensor([3.0, 4.0]), torch.zeros(2)
    bias, bias_velocity = 2.0, 0.0
    for gradient in (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])):
        layer.weight.grad, layer.bias.grad = gradient[None].clone(), torch.tensor([0.25])
        optimizer.step()
        # arXiv 1708.03888, algorithm 1, with its trust coefficient of 0.001.
        trust = 0.001 * weight.norm() / (gradient.norm() + 0.1 * weight.norm())
        velocity = 0.9 * velocity + trust * (gradient + 0.1 * weight)
        weight = weight - 0.5 * velocity
        bias_velocity = 0.9 * bias_velocity + 0.25
        bias -= 0.5 * bias_velocity
        assert torch.allclose(layer.weight.detach()[0], weight, atol=1e-6)
        assert float(layer.bias.detach()) == pytest.approx(bias)


def test_lars_adapts_the_rate_without_decay_too() -> None:
    layer = nn.Linear(2, 1, bias=False)
    optimizer = build_optimizer(layer, "lars", momentum=0.0, weight_decay=0.0)
    optimizer.param_groups[0]["lr"] = 1.0
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.full((1, 2), 1000.0)
    optimizer.step()
    moved = float((layer.weight.detach() - before).norm())
    assert moved == pytest.approx(0.001 * float(before.norm()), rel=1e-4)


def test_a_frozen_parameter_is_not_optimized() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = build_optimizer(model, "sgd", 0.9, 0.0)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_how_far_loss_scaling_has_got_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    optimizer = build_optimizer(model, "sgd", 0.9, 0.0)
    scaler, fresh = (torch.amp.GradScaler("cpu") for _ in range(2))
    scaler.scale(torch.ones(1))
    scaler.update(1024.0)
    Checkpoints(tmp_path, 1, 9, True, scaler).save(model, optimizer, steps_done=1)
    fresh.scale(torch.ones(1))
    assert fresh.get_scale() != 1024.0
    assert Checkpoints(tmp_path, 1, 9, True, fresh).restore(model, optimizer) == 1
    assert fresh.get_scale() == 1024.0


def test_half_floats_need_a_gpu() -> None:
    if torch.cuda.is_available():
        assert start_accelerator("fp16", batch_size=2).scaler is not None
        return
    with pytest.raises(RunError, match="precision fp16 needs a CUDA GPU, and there is none"):
        start_accelerator("fp16", batch_size=2)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_freed_memory_is_kept_and_used_again() -> None:
    code = """
import resource, torch
from cxrssl.run.memory import keep_freed_memory
assert keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): torch.ones(50_000_000)  # until there is room between what else lies there
before = faults()
for _ in range(10): torch.ones(50_000_000)
print(faults() - before)
"""
    # 200 MB ten times are half a million pages where each is mapped anew.
    assert int(output_of("-c", code)) < 1000


def test_what_a_broken_loss_left_is_never_saved(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    optimizer = build_optimizer(model, "sgd", 0.9, 0.0)
    checkpoints = Checkpoints(tmp_path, every_steps=2, num_steps=9, writes=True)
    checkpoints.save_if_due(model, optimizer, FINE, steps_done=2)
    broken = FINE | {"loss_objectness": torch.tensor(float("inf"))}
    checkpoints.save_if_due(model, optimizer, broken, steps_done=3)  # not due: not looked at
    with pytest.raises(TrainingError, match="at step 4: loss = 1, loss_objectness = inf"):
        checkpoints.save_if_due(model, optimizer, broken, steps_done=4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_a_tensor_of_two_names_is_saved_once_and_restored_as_one(tmp_path: Path) -> None:
    def begin() -> nn.ModuleList:
        shared = nn.Linear(2, 2)
        return nn.ModuleList([shared, nn.Linear(2, 2), shared])

    model, again = begin(), begin()
    optimizers = [build_optimizer(m, "sgd", 0.9, 0.0) for m in (model, again)]
    checkpoints = Checkpoints(tmp_path, every_steps=1, num_steps=9, writes=True)
    checkpoints.save_if_due(model, optimizers[0], FINE, steps_done=1)
    assert len(load_file(tmp_path / "step-00000001" / "model.safetensors")) == 4
    assert checkpoints.restore(again, optimizers[1]) == 1
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert again[0].weight is again[2].weight
    with pytest.raises(
        KeyError, match=r"2 tensors are missing or have no place: 0\.bias, 0\.weight"
    ):
        load_unique_tensors(nn.Identity(), {"0.bias": torch.ones(1), "0.weight": torch.ones(1)})


def test_a_finished_an_unfinished_and_another_recipes_run_are_not_overwritten(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    run = open_run(folder, recipe_yaml="a: 1\n", resume=False, writes=True)
    with pytest.raises(RunError, match="has not ended"):
        open_run(folder, recipe_yaml="a: 1\n", resume=False, writes=True)
    with pytest.raises(RunError, match=r"begun with another recipe .*:\n  -a: 1\n  \+a: 2\n"):
        open_run(folder, recipe_yaml="a: 2\n", resume=True, writes=True)
    long = "".join(f"line{number}\n" for number in range(20))
    with pytest.raises(RunError, match=r"  \+line8\n  and 11 lines more\nName another"):
        open_run(folder, recipe_yaml=long, resume=True, writes=True)
    assert open_run(folder, recipe_yaml="a: 1\n", resume=True, writes=True) == run
    run.finish({"loss": 0.5})
    with pytest.raises(RunError, match="holds a finished run"):
        open_run(folder, recipe_yaml="a: 1\n", resume=True, writes=True)


def test_the_recipe_of_another_run_is_told_before_a_store_that_is_not_there(
    store_folder: Path, tmp_path: Path
) -> None:
    changed = f"data.store={tmp_path / 'nowhere'}"
    message = r"another recipe .*:\n  -  store: .*\n  \+  store: .*nowhere\n"
    (tmp_path / "recipe.yaml").write_text(to_yaml(pretrain_recipe(store_folder)))
    with pytest.raises(RunError, match=message):
        pretrain(pretrain_recipe(store_folder, changed), tmp_path, resume=True)
    (tmp_path / "recipe.yaml").write_text(to_yaml(finetune_recipe(store_folder)))
    with pytest.raises(RunError, match=message):
        finetune(finetune_recipe(store_folder, changed), tmp_path, resume=True)


def test_a_run_of_another_command_is_told_how_to_go_on(store_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(to_yaml(pretrain_recipe(store_folder)))
    message = f"a run of `cxrssl pretrain`, .* with `cxrssl pretrain --resume --out {tmp_path}`"
    with pytest.raises(RunError, match=message):
        finetune(finetune_recipe(store_folder), tmp_path, resume=True)


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", recipe_yaml="a: 1\n", resume=False, writes=True)
    begun = {"data_fingerprint": "f", "images": {"pool": {"count": 25, "sha256": "a"}}, "git": None}
    run.write_provenance(transfer=None, provenance=begun)
    fewer = begun | {"images": {"pool": {"count": 24, "sha256": "b"}}}
    run.write_provenance(transfer=None, provenance=fewer)  # no step is trained yet
    (run.checkpoints / "step-00000004").mkdir(parents=True)
    with pytest.raises(RunError, match="other data: pool 24 images then, pool 25 images now"):
        run.write_provenance(transfer=None, provenance=begun)
    with pytest.raises(
        RunError, match="pool 24 images now, with other pixels, boxes or images without"
    ):
        run.write_provenance(transfer=None, provenance=fewer | {"data_fingerprint": "g"})
    pool = {"unlabelled": {"data_fingerprint": "p"}}
    with pytest.raises(RunError, match="boxes or images without labels"):
        run.write_provenance(transfer=None, provenance=fewer | pool)
    run.write_provenance(transfer=None, provenance=fewer | {"git": {"sha": "c"}})
    assert json.loads((run.path / "provenance.json").read_text())["git"] == {"sha": "c"}


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        open_run(tmp_path, recipe_yaml="a: 1\n", resume=False, writes=True)


def test_the_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = Log(path, 2, num_steps=7, steps_done=0, writes=True)
    for done in range(1, 7):
        log.write_losses_if_due({"loss": torch.tensor(1.0)}, steps_done=done, epoch=0, lr=0.1)
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # what a full disk leaves
    Log(path, 2, num_steps=7, steps_done=4, writes=True)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]


def test_the_last_step_is_logged_and_known_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = Log(path, 5, num_steps=7, steps_done=0, writes=True)
    for done in range(1, 8):
        loss = {"loss": torch.tensor(float(done))}
        log.write_losses_if_due(loss, steps_done=done, epoch=0, lr=0.1)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5, 7]
    assert Log(path, 5, num_steps=7, steps_done=7, writes=True).history("loss")[-1] == 7.0


@pytest.mark.parametrize("kept_lines", [0, 1, 2])
def test_a_log_that_ends_before_its_checkpoint_is_refused(kept_lines: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = Log(path, 2, num_steps=5, steps_done=0, writes=True)
    for done in range(1, 6):
        log.write_losses_if_due({"loss": torch.tensor(1.0)}, steps_done=done, epoch=0, lr=0.1)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept_lines]))
    step = (2, 4, 5)[kept_lines]
    with pytest.raises(RunError, match=rf"lacks the losses of step {step}, .* is of step 5: the"):
        Log(path, 2, num_steps=5, steps_done=5, writes=True)


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_part(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 1, num_steps=7, steps_done=0, writes=True)
    losses = {"loss_box_reg": torch.tensor(float("nan")), "loss_classifier": torch.tensor(1.0)}
    with pytest.raises(TrainingError, match="step 3: loss_box_reg = nan, loss_classifier = 1"):
        log.write_losses_if_due(losses, steps_done=3, epoch=0, lr=0.1)


def test_resume_says_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert resume_text(path) == f"{path} holds no run to go on with; a new one begins."
    path.mkdir()
    assert resume_text(path) == f"{path} holds no run to go on with; a new one begins."
    open_run(path, recipe_yaml="a: 1\n", resume=True, writes=True)
    assert resume_text(path).endswith("without a checkpoint; it begins again from its first step.")
    for name in ("step-00000008", "step-00000012", "step-00000016.7.tmp"):
        (path / "checkpoints" / name).mkdir(parents=True)
    assert resume_text(path).endswith("has not ended; its last checkpoint is of step 12.")
    (path / "metrics.json").write_text("{}")
    assert resume_text(path) == f"{path} holds a finished run."

"""Fused SGD under fp16's loss scaler, and groups of parameters with rates of their own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.optimizer import build_optimizer
from cxrssl.run.schedule import set_lr


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 64)


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator) for shape in ((64, 64), (64,))]


def give(model: nn.Module, values: list[Tensor]) -> None:
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.grad = value.clone()


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_a_skipped_first_step_leaves_no_momentum(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dirty(values: Tensor, **options: object) -> Tensor:
        # Memory as it comes: what a freed tensor leaves, here the worst of it.
        return torch.full_like(values, torch.nan)

    monkeypatch.setattr(torch, "empty_like", dirty)
    model, scaler = layer(), torch.amp.GradScaler("cpu", init_scale=2.0)
    optimizer = build_optimizer(model, name, 0.9, 0.0)  # type: ignore[arg-type]
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = [p.detach().clone() for p in model.parameters()]
    for step in range(2):
        scaler.scale(torch.ones(1))
        scale = scaler.get_scale()
        give(model, [scale * value for value in gradients(step)])
        if step == 0:
            model.weight.grad[0, 0] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        if step == 0:
            assert all(map(torch.equal, before, model.parameters()))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    if name == "sgd":
        for parameter, gradient in zip(model.parameters(), gradients(1), strict=True):
            assert torch.equal(optimizer.state[parameter]["momentum_buffer"], gradient)


def test_without_a_skipped_step_every_byte_is_torchs_own() -> None:
    ours, theirs = layer(), layer()
    optimizers = (
        build_optimizer(ours, "sgd", 0.9, 1e-4),
        SGD(theirs.parameters(), lr=0.0, momentum=0.9, weight_decay=1e-4, fused=True),
    )
    for step in range(5):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.1
            give(model, gradients(step))
            optimizer.step()
    for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert first.detach().numpy().tobytes() == second.detach().numpy().tobytes()
        states = [
            optimizer.state[p]["momentum_buffer"].numpy().tobytes()
            for optimizer, p in zip(optimizers, (first, second), strict=True)
        ]
        assert states[0] == states[1]


def test_sgd_without_momentum_keeps_none() -> None:
    assert not build_optimizer(layer(), "sgd", 0.0, 0.0).state


SCALES = {"0.weight": 0.25, "0.bias": 0.25, "1.weight": 0.5}


def three_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))


def step_of(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    set_lr(optimizer, 0.1)
    generator = torch.Generator().manual_seed(step)
    model(torch.randn(3, 4, generator=generator)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_a_step_moves_each_parameter_by_its_factor(name: str) -> None:
    moves = []
    for scales in (None, SCALES):
        model = three_layers()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        optimizer = build_optimizer(model, name, 0.9, 0.0, lr_scales=scales)  # type: ignore[arg-type]
        step_of(model, optimizer, 0)
        moves.append({key: value - before[key] for key, value in model.state_dict().items()})
    whole, scaled = moves
    for key, move in whole.items():
        assert float(move.abs().max()) > 0
        factor = SCALES.get(key, 1.0)
        assert torch.allclose(scaled[key], factor * move, rtol=1e-3, atol=1e-7), key
    factors = sorted({group.get("lr_scale", 1.0) for group in optimizer.param_groups})
    assert factors == [0.25, 0.5, 1.0]
    assert {group["lr"] for group in optimizer.param_groups} == {0.025, 0.05, 0.1}


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_without_factors_there_are_the_groups_of_before(name: str) -> None:
    optimizer = build_optimizer(three_layers(), name, 0.9, 0.0)  # type: ignore[arg-type]
    assert len(optimizer.param_groups) == (2 if name == "lars" else 1)
    assert not any("lr_scale" in group for group in optimizer.param_groups)
    set_lr(optimizer, 0.3)
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_groups_go_on_from_a_checkpoint_bit_for_bit(name: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, every_steps=3, num_steps=9, writes=True)

    def begin() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = three_layers()
        return model, build_optimizer(model, name, 0.9, 0.01, lr_scales=SCALES)  # type: ignore[arg-type]

    model, optimizer = begin()
    for step in range(3):
        step_of(model, optimizer, step)
    checkpoints.save(model, optimizer, steps_done=3)
    restored, restored_optimizer = begin()
    assert checkpoints.restore(restored, restored_optimizer) == 3
    # Tensors of two layers have one shape, so that only their order tells them apart.
    states = [
        [one.state[p] for group in one.param_groups for p in group["params"]]
        for one in (optimizer, restored_optimizer)
    ]
    for first, second in zip(*states, strict=True):
        tensors = [key for key, value in first.items() if isinstance(value, Tensor)]
        assert tensors
        assert all(torch.equal(first[key], second[key]) for key in tensors)
    for step in range(3, 6):
        step_of(model, optimizer, step)
        step_of(restored, restored_optimizer, step)
    for first, second in zip(model.parameters(), restored.parameters(), strict=True):
        assert torch.equal(first, second)
    scales = [group["lr_scale"] for group in restored_optimizer.param_groups]
    assert scales == [group["lr_scale"] for group in optimizer.param_groups]

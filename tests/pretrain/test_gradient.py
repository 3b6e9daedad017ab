"""Memory that runs out halves the chunk, and changes neither the batch nor its gradient."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrssl.core.errors import TrainingError
from cxrssl.core.images import Intensity
from cxrssl.metrics.representation import spread
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.gradient import Gradient, outputs_of
from cxrssl.run.memory import is_out_of_memory
from cxrssl.run.processes import start_accelerator
from cxrssl.ssl.byol import BYOL
from cxrssl.ssl.losses.nt_xent import nt_xent
from cxrssl.ssl.moco import MoCo
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major
from cxrssl.ssl.simclr import SimCLR
from support import pretrain_recipe

INTENSITY = Intensity(equalize=True, mean=0.5, std=0.25)


class Limited(nn.Module):
    """A method that runs out of memory where more than so many images are computed at once."""

    title, paper = "Limited", "none"

    def __init__(self, most_images: int, couples: Couples) -> None:
        super().__init__()
        torch.manual_seed(0)  # the same weights each time
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten()]
        # In double, in which no processor's way of adding up hides a wrong term.
        self.encoder = nn.Sequential(*layers, nn.Linear(8 * 64, 12)).double()
        self.most_images, self.couples = most_images, couples
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, batch: Batch) -> Outputs:
        self.calls += 1
        images = view_major(batch["views"])
        if len(images) > 2 * self.most_images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return self.encoder(images.double()).chunk(2)

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        first, second = outputs
        if self.couples == "batch":
            return {"loss": nt_xent(first, second, temperature=0.3)}
        distance = (first - second).square().mean()
        size = (first * batch["weight"][:, None]).square().mean()
        return {"distance": distance, "size": size}

    def compared(self, outputs: Outputs) -> tuple[Tensor]:
        return (outputs[0],)

    def after_step(self, _done: float) -> None:
        pass

    def chance_loss(self, _batch_size: int) -> None:
        return None


def gradient_in(
    most_images: int, couples: Couples = "batch"
) -> tuple[Losses, Tensor, Gradient, Limited]:
    accelerator = start_accelerator("fp32", batch_size=12)
    network, forced = Limited(most_images, couples), []
    gradient = Gradient(accelerator, network, network, INTENSITY, 0, 12, forced.append)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (12, 2, 1, 16, 16), generator=generator, dtype=torch.uint8)
    losses = gradient.backward({"views": pixels, "weight": torch.arange(12.0).double()}, step=0)
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    assert forced[-1:] in ([], [gradient.chunk_images])
    return losses, torch.cat(parts), gradient, network


@pytest.mark.parametrize("couples", ["batch", "images"])
def test_a_chunk_is_halved_until_it_fits_and_the_gradient_stays(
    couples: Couples, capsys: pytest.CaptureFixture[str]
) -> None:
    losses, expected, _, _ = gradient_in(12, couples)
    chunked, halved, gradient, network = gradient_in(4, couples)
    assert gradient.chunk_images == 3  # 12, 6, 3
    assert chunked.keys() == losses.keys()
    parts = {"loss"} if couples == "batch" else {"distance", "size", "loss"}
    assert set(losses) == parts | {"spread"}
    for name in parts:
        assert float(chunked[name]) == pytest.approx(float(losses[name]), abs=1e-12)
    # Where a batch is compared as a whole, its spread is that of the whole; else a chunk's mean.
    apart = abs(float(chunked["spread"] - losses["spread"]))
    assert apart < 1e-6 if couples == "batch" else 1e-3 < apart < 0.5
    assert torch.allclose(halved, expected, rtol=0, atol=1e-12)
    assert float(expected.abs().max()) > 1e-4
    # What tried and failed left no trace: four chunks, each once with its graph.
    assert int(network.calls) == 4
    stderr = capsys.readouterr().err
    assert "memory runs out at 12 images at once: going on in chunks of 6" in stderr
    assert "going on in chunks of 3" in stderr
    assert "max_chunk_images=3" in stderr


def test_chunks_of_one_image_have_no_spread_and_a_last_one_is_left_out() -> None:
    _, _, gradient, network = gradient_in(12, "images")
    pixels = torch.randint(0, 256, (3, 2, 1, 16, 16), dtype=torch.uint8)
    batch = {"views": pixels, "weight": torch.ones(3).double()}
    gradient.chunk_images = 1
    assert "spread" not in gradient.backward(batch, step=0)
    gradient.chunk_images = 2
    found = gradient.backward(batch, step=0)["spread"]
    first = outputs_of(network, {"views": pixels[:2]}, INTENSITY)[0]
    assert float(found) == pytest.approx(float(spread(first.detach())), abs=1e-6)


def test_a_chunk_that_batch_norm_cannot_normalise_is_explained(
    store_folder: Path, tmp_path: Path
) -> None:
    changes = ("views.size_px=32", "max_chunk_images=1", "max_steps=1", "epochs=1")
    recipe = pretrain_recipe(store_folder, *changes, name="moco_smoke")
    with pytest.raises(TrainingError, match=r"chunk of 1 image.* max_chunk_images .* larger views"):
        pretrain(recipe, tmp_path / "run", resume=False)


def test_the_loss_of_several_parts_is_their_sum() -> None:
    losses, _, _, _ = gradient_in(12, "images")
    assert float(losses["loss"]) == pytest.approx(float(losses["distance"] + losses["size"]))


def test_memory_for_not_even_one_image_is_an_error() -> None:
    with pytest.raises(TrainingError, match="memory runs out at a single image"):
        gradient_in(0)


def test_other_faults_are_not_taken_for_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    for message in ("std::bad_alloc", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"):
        assert is_out_of_memory(RuntimeError(message))


def test_what_torch_says_when_the_machine_has_no_more_is_known() -> None:
    with pytest.raises(RuntimeError) as fault:
        torch.empty(2**50)
    assert is_out_of_memory(fault.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe_name", "kind"), [("smoke", SimCLR), ("moco_smoke", MoCo), ("byol_smoke", BYOL)]
)
def test_a_run_short_of_memory_ends_with_the_weights_of_one_begun_in_small_chunks(
    recipe_name: str,
    kind: type[SimCLR] | type[MoCo] | type[BYOL],
    store_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ran(name: str, *more: str) -> dict[str, Tensor]:
        changes = ("batch_size=16", "max_steps=2", "epochs=2", "health_images=8", *more)
        recipe = pretrain_recipe(store_folder, *changes, name=recipe_name)
        pretrain(recipe, tmp_path / name, resume=False)
        return load_file(tmp_path / name / "backbone/model.safetensors")

    small = ran("small", "max_chunk_images=4")
    forward = kind.forward

    def limited(self: nn.Module, batch: Batch) -> Outputs:
        outputs = forward(self, batch)  # BatchNorm has seen them by the time memory runs out
        if self.training and len(batch["views"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return outputs

    monkeypatch.setattr(kind, "forward", limited)
    short = ran("short")
    assert all(torch.equal(value, small[key]) for key, value in short.items())
    assert json.loads((tmp_path / "short/chunk.json").read_text()) == {"chunk_images": 4}
    assert json.loads((tmp_path / "short/metrics.json").read_text())["chunk_images"] == 4
    assert not (tmp_path / "small/chunk.json").exists()

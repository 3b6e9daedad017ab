"""Memory that runs out halves the chunk, and changes neither the batch nor its gradient."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrssl.core.errors import TrainingError
from cxrssl.core.images import Intensity
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.contrast import Contrast
from cxrssl.run.memory import is_out_of_memory
from cxrssl.run.processes import start_accelerator
from cxrssl.ssl.simclr import SimCLR
from support import pretrain_recipe

INTENSITY = Intensity(equalize=True, mean=0.5, std=0.25)


class Limited(nn.Module):
    """A network that runs out of memory where more than so many images are embedded at once."""

    def __init__(self, most_images: int) -> None:
        super().__init__()
        torch.manual_seed(0)  # the same weights each time
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten()]
        # In double, in which no processor's way of adding up hides a wrong term.
        self.layers = nn.Sequential(*layers, nn.Linear(8 * 64, 12)).double()
        self.most_images = most_images
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if len(images) > 2 * self.most_images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        embeddings: Tensor = self.layers(images.double())
        return embeddings


def gradient(most_images: int) -> tuple[Tensor, Tensor, Contrast, Limited]:
    accelerator = start_accelerator("fp32", batch_size=12)
    network, forced = Limited(most_images), []
    contrast = Contrast(accelerator, network, INTENSITY, 0.3, 0, 12, forced.append)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (12, 2, 1, 16, 16), generator=generator, dtype=torch.uint8)
    loss = contrast.backward(pixels, step=0)
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    assert forced[-1:] in ([], [contrast.chunk_images])
    return loss, torch.cat(parts), contrast, network


def test_a_chunk_is_halved_until_it_fits_and_the_gradient_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loss, expected, _, _ = gradient(most_images=12)
    found, halved, contrast, network = gradient(most_images=4)
    assert contrast.chunk_images == 3  # 12, 6, 3
    assert float(found) == pytest.approx(float(loss), abs=1e-12)
    assert torch.allclose(halved, expected, rtol=0, atol=1e-12)
    # What tried and failed left no trace: four chunks, each once with its graph.
    assert int(network.calls) == 4
    said = capsys.readouterr().err
    assert "memory runs out at 12 images at once: going on in chunks of 6" in said
    assert "going on in chunks of 3" in said
    assert "max_chunk_images=3" in said


def test_memory_for_not_even_one_image_is_an_error() -> None:
    with pytest.raises(TrainingError, match="memory runs out at a single image"):
        gradient(most_images=0)


def test_other_faults_are_not_taken_for_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    for said in ("std::bad_alloc", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"):
        assert is_out_of_memory(RuntimeError(said))


def test_what_torch_says_when_the_machine_has_no_more_is_known() -> None:
    with pytest.raises(RuntimeError) as fault:
        torch.empty(2**50)
    assert is_out_of_memory(fault.value)


def test_a_run_short_of_memory_ends_with_the_weights_of_one_begun_in_small_chunks(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(name: str, *more: str) -> dict[str, Tensor]:
        recipe = pretrain_recipe(store_folder, "batch_size=16", "max_steps=2", "epochs=2", *more)
        pretrain(recipe, tmp_path / name, resume=False)
        return load_file(tmp_path / name / "backbone/model.safetensors")

    small = ran("small", "max_chunk_images=4")
    whole = SimCLR.forward

    def limited(self: SimCLR, images: Tensor) -> Tensor:
        embeddings = whole(self, images)  # BatchNorm has seen them by the time memory runs out
        if self.training and len(images) > 2 * 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return embeddings

    monkeypatch.setattr(SimCLR, "forward", limited)
    short = ran("short")
    assert all(torch.equal(value, small[key]) for key, value in short.items())
    assert json.loads((tmp_path / "short/chunk.json").read_text()) == {"chunk_images": 4}
    assert json.loads((tmp_path / "short/metrics.json").read_text())["chunk_images"] == 4
    assert not (tmp_path / "small/chunk.json").exists()

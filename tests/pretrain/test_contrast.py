"""Memory that runs out halves the chunk, and changes neither the batch nor its gradient."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrssl.config.load import to_yaml
from cxrssl.core.errors import TrainingError
from cxrssl.core.images import Intensity
from cxrssl.pretrain.contrast import Contrast
from cxrssl.run.memory import is_out_of_memory
from cxrssl.run.start import start_accelerator
from support import ROOT, pretrain_recipe

INTENSITY = Intensity(equalize=True, mean=0.5, std=0.25)


class Limited(nn.Module):
    """A network that runs out of memory where more than so many images are embedded at once."""

    def __init__(self, most_images: int) -> None:
        super().__init__()
        torch.manual_seed(0)  # the same weights each time
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten()]
        self.layers = nn.Sequential(*layers, nn.Linear(8 * 64, 12))
        self.most_images = most_images
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if len(images) > 2 * self.most_images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        embeddings: Tensor = self.layers(images)
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
    assert float(found) == pytest.approx(float(loss), abs=1e-6)
    assert torch.allclose(halved, expected, rtol=0, atol=1e-6)
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


# The real thing: from the first step on, what the process may address is limited.
SCRIPT = """
import re, resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from cxrssl.config.load import load_recipe
from cxrssl.config.schema import PretrainRecipe
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.contrast import Contrast
from cxrssl.run import start

# Memory that is kept for later would be memory to spare.
start.keep_freed_memory = lambda: False
recipe, out, spare_mib = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
unlimited = Contrast.backward

def limited(self, pixels, *, step):
    if step == 0 and spare_mib:
        status = Path("/proc/self/status").read_text()
        held = int(re.search(r"VmSize:\\s+(\\d+)", status).group(1)) * 1024
        most = held + spare_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    loss = unlimited(self, pixels, step=step)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return loss

Contrast.backward = limited
pretrain(load_recipe(recipe, PretrainRecipe, overrides=[]), out, resume=False)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
def test_a_run_short_of_real_memory_ends_with_the_weights_of_one_begun_in_small_chunks(
    store_folder: Path, tmp_path: Path
) -> None:
    changes = ("views.size_px=384", "batch_size=16", "max_steps=1")

    def ran(name: str, spare_mib: int, *more: str) -> tuple[str, dict[str, Tensor]]:
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(to_yaml(pretrain_recipe(store_folder, *changes, *more)))
        command = [sys.executable, "-c", SCRIPT, str(recipe), str(tmp_path / name), str(spare_mib)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stderr, load_file(tmp_path / name / "backbone/model.safetensors")

    said, short = ran("short", 500)
    assert "memory runs out at 16 images at once: going on in chunks of 8" in said
    last = json.loads((tmp_path / "short/chunk.json").read_text())["chunk_images"]
    assert json.loads((tmp_path / "short/metrics.json").read_text())["chunk_images"] == last <= 8
    _, small = ran("small", 0, f"max_chunk_images={last}")
    assert all(torch.equal(value, small[key]) for key, value in short.items())

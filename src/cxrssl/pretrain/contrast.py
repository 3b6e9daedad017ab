"""A step's gradient: both views of a batch embedded and contrasted, in as much memory as there is.

Shapes: B images in this process's slice of a batch, D the embedding's length.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from cxrssl.core.errors import TrainingError
from cxrssl.core.images import Intensity
from cxrssl.data.loaders import network_input
from cxrssl.models.backbone import NUM_CHANNELS
from cxrssl.run.memory import is_out_of_memory
from cxrssl.run.processes import Accelerator, warn
from cxrssl.run.seed import STEP, seed_torch
from cxrssl.ssl.gradcache import backward_in_chunks
from cxrssl.ssl.ntxent import nt_xent


class Contrast:
    """NT-Xent over a batch whose size never changes, embedded in chunks that fit.

    Attributes:
        chunk_images: Images that one forward pass takes in this process; halved when memory runs
            out. BatchNorm normalises over the views of a chunk.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: nn.Module,
        intensity: Intensity,
        temperature: float,
        seed: int,
        chunk_images: int,
        remember_chunk: Callable[[int], None],
    ) -> None:
        """Contrast with a network that the accelerator has prepared.

        `remember_chunk` takes a chunk that memory has forced, for the run to begin with if it is
        resumed.
        """
        self._accelerator, self._network = accelerator, network
        self._intensity, self._temperature, self._seed = intensity, temperature, seed
        self.chunk_images, self._remember_chunk = chunk_images, remember_chunk

    def backward(self, pixels: Tensor, *, step: int) -> Tensor:
        """Add a batch's gradient to the parameters and return its loss over all processes.

        Args:
            pixels: [B, 2, 1, H, W] uint8, both views of each image, on the device.
            step: Of the run; dropout is a function of it.

        Raises:
            TrainingError: If memory runs out and no smaller chunk can be taken.
        """
        accelerator, network = self._accelerator, self._network
        before = [buffer.clone() for buffer in network.buffers()]
        while True:
            try:
                loss = backward_in_chunks(
                    partial(self._embed, pixels, step),
                    partial(nt_xent, temperature=self._temperature),
                    num_images=len(pixels),
                    chunk_images=self.chunk_images,
                    backward=accelerator.backward,
                    unsynced=partial(accelerator.no_sync, network),
                    buffers=network.buffers(),
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = halved(min(self.chunk_images, len(pixels)))
                self._remember_chunk(smaller)
                if accelerator.num_processes > 1:
                    raise TrainingError(
                        f"memory ran out at step {step} in chunks of {self.chunk_images} images, "
                        "and the other processes can't be held up in the middle of a step. Go on "
                        f"with --resume: it begins with chunks of {smaller}."
                    ) from error
            else:
                mean: Tensor = accelerator.reduce(loss, "mean")
                return mean
            # Outside of `except`, whose traceback still holds the graph that did not fit.
            forget(network, before)
            warn_of_chunk(smaller, ran_out_at=min(self.chunk_images, len(pixels)))
            self.chunk_images = smaller

    def _embed(self, pixels: Tensor, step: int, chunk: slice) -> tuple[Tensor, Tensor]:
        seed_torch(self._seed, STEP, step, self._accelerator.process_index, chunk.start)
        return embed_pairs(self._network, pixels[chunk], self._intensity)


def embed_pairs(network: nn.Module, pixels: Tensor, intensity: Intensity) -> tuple[Tensor, Tensor]:
    """Embed both views [B, 2, 1, H, W] uint8 in one forward pass; returns [B, D] for each."""
    both = pixels.transpose(0, 1).flatten(0, 1)  # [2B, 1, H, W]
    first, second = network(network_input(both, intensity, num_channels=NUM_CHANNELS)).chunk(2)
    return first, second


def chunk_that_fits(
    accelerator: Accelerator,
    model: nn.Module,
    *,
    wanted: int,
    size_px: int,
    intensity: Intensity,
) -> int:
    """Return how many images each process can embed at once, found by trial.

    One process alone need not try: it goes back in the middle of a step. Several wait for each
    other there, and what they hold does not change from step to step, so they find out first.

    Args:
        accelerator: Says on which device, and with how many others.
        model: On the device, not yet prepared: it must wait for nobody.
        wanted: Images to begin with, >= 1.
        size_px: Side of a view.
        intensity: How grey levels reach the model.

    Raises:
        TrainingError: If not even one image fits.
    """
    if accelerator.num_processes == 1:
        return wanted
    own = wanted
    pixels = torch.zeros((wanted, 2, 1, size_px, size_px), dtype=torch.uint8)
    while not _fits(accelerator, model, pixels[:own].to(accelerator.device), intensity):
        own = halved(own)
    chunk = int(accelerator.gather(torch.tensor([own], device=accelerator.device)).min())
    if chunk < wanted and accelerator.is_main_process:
        warn_of_chunk(chunk, ran_out_at=wanted)
    return chunk


def _fits(accelerator: Accelerator, model: nn.Module, pixels: Tensor, intensity: Intensity) -> bool:
    """Try a chunk beside what AdamW and the exchange of gradients will hold."""
    before = [buffer.clone() for buffer in model.buffers()]
    fits = True
    try:
        held = [torch.zeros_like(p) for p in model.parameters() for _ in range(3)]
        with accelerator.autocast():
            first, second = embed_pairs(model, pixels, intensity)
        torch.autograd.backward(first.float().sum() + second.float().sum())
        del held
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    forget(model, before)
    return fits


def forget(model: nn.Module, before: list[Tensor]) -> None:
    """Undo what a pass that does not count left in buffers, gradients and the device's cache."""
    for buffer, value in zip(model.buffers(), before, strict=True):
        buffer.copy_(value)
    model.zero_grad(set_to_none=False)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def halved(chunk_images: int) -> int:
    """Return the next smaller chunk.

    Raises:
        TrainingError: If there is none.
    """
    if chunk_images == 1:
        raise TrainingError(
            "memory runs out at a single image. Lower views.size_px, take a smaller "
            "body.backbone, or set precision=bf16 on a GPU."
        )
    return -(-chunk_images // 2)


def warn_of_chunk(chunk_images: int, *, ran_out_at: int) -> None:
    """Say that memory forces smaller chunks, and what that changes."""
    warn(
        f"memory runs out at {ran_out_at} images at once: going on in chunks of {chunk_images}. "
        "The batch and what it is contrasted with stay the same; BatchNorm now normalises over a "
        f"chunk. A new run can begin so with max_chunk_images={chunk_images}."
    )

"""A step's gradient, whatever the method, in as much memory as there is.

Shapes: B images in this process's slice of a batch.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from cxrssl.core.errors import TrainingError
from cxrssl.core.images import Intensity
from cxrssl.data.loaders import method_input
from cxrssl.metrics.representation import spread
from cxrssl.models.backbone import NUM_CHANNELS
from cxrssl.run.memory import is_out_of_memory
from cxrssl.run.processes import Accelerator, mean_over_processes, warn
from cxrssl.run.seed import STEP, seed_torch
from cxrssl.ssl.chunks import backward_in_chunks, total
from cxrssl.ssl.pretext import Losses, Outputs, Pretext

Batch = Mapping[str, Tensor]
_ONE_VALUE = "Expected more than 1 value per channel"  # torch's words


class Gradient:
    """The gradient of a method's loss over a batch whose size never changes, in chunks that fit.

    Attributes:
        chunk_images: Images that one forward pass takes in this process; halved when memory runs
            out. BatchNorm normalises over the cuts of a chunk.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: nn.Module,
        pretext: Pretext,
        intensity: Intensity,
        seed: int,
        chunk_images: int,
        remember_chunk: Callable[[int], None],
    ) -> None:
        """Take the gradient of a method through a network.

        Args:
            accelerator: The accelerator that has prepared the network.
            network: `pretext` as the accelerator has prepared it; its `forward` is called.
            pretext: The method; its `losses` is called.
            intensity: How grey levels reach the network.
            seed: Seed of the run.
            chunk_images: Images to begin with in a forward pass, >= 1.
            remember_chunk: Called with a chunk size that memory has forced, with which a resumed
                run begins.
        """
        self._accelerator, self._network, self._pretext = accelerator, network, pretext
        self._intensity, self._seed = intensity, seed
        self.chunk_images, self._remember_chunk = chunk_images, remember_chunk
        self._spreads = list[tuple[int, Tensor]]()

    def backward(self, batch: Batch, *, step: int) -> Losses:
        """Add a batch's gradient to the parameters and return its loss over all processes.

        Args:
            batch: Cuts of B images, by name, on the device; pixels [B, V, 1, H, W] uint8.
            step: Step of the run; dropout is a function of it.

        Returns:
            `loss`, its parts by name where the method has several, and `spread` of what it compares
            (see `metrics.representation`): of the head with the least, the mean over chunks of two
            images or more and over processes.

        Raises:
            TrainingError: If memory runs out and no smaller chunk can be taken.
        """
        network, num_images = self._network, images_in(batch)
        before = [buffer.clone() for buffer in network.buffers()]
        while True:
            try:
                losses = self._backward_in_chunks(batch, step)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = halved(min(self.chunk_images, num_images))
                self._remember_chunk(smaller)
                if self._accelerator.num_processes > 1:
                    raise TrainingError(
                        f"memory ran out at step {step} in chunks of {self.chunk_images} images, "
                        "and the other processes can't be held up in the middle of a step. Go on "
                        f"with --resume: it begins with chunks of {smaller}."
                    ) from error
            else:
                means = mean_over_processes(self._accelerator, losses)
                if len(means) > 1:
                    means["loss"] = total(means)
                return means | mean_over_processes(self._accelerator, self._spread())
            # Outside of `except`, whose traceback still holds the graph that did not fit.
            undo_pass(network, before)
            warn_of_chunk(smaller, ran_out_at=min(self.chunk_images, num_images))
            self.chunk_images = smaller

    def _backward_in_chunks(self, batch: Batch, step: int) -> Losses:
        accelerator, network = self._accelerator, self._network
        self._spreads.clear()
        return backward_in_chunks(
            partial(self._outputs, batch, step),
            partial(self._losses, batch),
            couples=self._pretext.couples,
            num_images=images_in(batch),
            chunk_images=self.chunk_images,
            backward=accelerator.backward,
            unsynced=partial(accelerator.no_sync, network),
            buffers=network.buffers(),
        )

    def _losses(self, batch: Batch, outputs: Outputs, chunk: slice) -> Losses:
        # One row alone has no spread: chunks of an image say nothing.
        heads = [rows for rows in self._pretext.compared(outputs) if len(rows) > 1]
        if heads:
            least = torch.stack([spread(rows.detach()) for rows in heads]).min()
            self._spreads.append((chunk.stop - chunk.start, least))
        return self._pretext.losses(outputs, part_of(batch, chunk))

    def _spread(self) -> Losses:
        """Return the mean over the images of a pass, by name; empty if none has a spread."""
        images = sum(number for number, _ in self._spreads)
        shares = [number / images * value for number, value in self._spreads]
        return {"spread": torch.stack(shares).sum()} if shares else {}

    def _outputs(self, batch: Batch, step: int, chunk: slice) -> Outputs:
        seed_torch(self._seed, STEP, step, self._accelerator.process_index, chunk.start)
        try:
            return outputs_of(self._network, part_of(batch, chunk), self._intensity)
        except ValueError as error:
            if _ONE_VALUE not in str(error):
                raise
            raise TrainingError(
                f"BatchNorm can't normalise a chunk of {chunk.stop - chunk.start} image(s): it has "
                "one value a channel there. Choose batch_size and max_chunk_images so that no "
                "chunk, the last one included, has so few, or a larger views.size_px."
            ) from error


def outputs_of(network: nn.Module, batch: Batch, intensity: Intensity) -> Outputs:
    """Return the outputs of a method's network for a batch as the loader gives it."""
    outputs: Outputs = network(method_input(batch, intensity, num_channels=NUM_CHANNELS))
    return outputs


def images_in(batch: Batch) -> int:
    """Return B."""
    return len(next(iter(batch.values())))


def part_of(batch: Batch, chunk: slice) -> dict[str, Tensor]:
    """Return the images of a range, by name."""
    return {name: part[chunk] for name, part in batch.items()}


def chunk_that_fits(
    accelerator: Accelerator,
    model: nn.Module,
    *,
    num_images: int,
    item: Batch,
    intensity: Intensity,
) -> int:
    """Return how many images each process can take in one pass, determined by trial.

    One process alone need not try: it goes back in the middle of a step. Several wait for each
    other there, and what they hold does not change from step to step, so they find out first.

    Args:
        accelerator: Device and number of processes.
        model: On the device, not yet prepared: it must not wait for other processes.
        num_images: Images to begin with, >= 1.
        item: An item of the pool, any will do.
        intensity: How grey levels reach the model.

    Raises:
        TrainingError: If not even one image fits.
    """
    if accelerator.num_processes == 1:
        return num_images
    chunk_images = num_images
    device = accelerator.device
    while not _fits_in_memory(accelerator, model, _repeated(item, chunk_images, device), intensity):
        chunk_images = halved(chunk_images)
    chunk = int(accelerator.gather(torch.tensor([chunk_images], device=device)).min())
    if chunk < num_images and accelerator.is_main_process:
        warn_of_chunk(chunk, ran_out_at=num_images)
    return chunk


def _repeated(item: Batch, times: int, device: torch.device) -> dict[str, Tensor]:
    return {name: part.expand(times, *part.shape).to(device) for name, part in item.items()}


def _fits_in_memory(
    accelerator: Accelerator, model: nn.Module, batch: Batch, intensity: Intensity
) -> bool:
    """Try a chunk beside the memory that AdamW and the exchange of gradients will take."""
    before = [buffer.clone() for buffer in model.buffers()]
    fits = True
    try:
        trained = [p for p in model.parameters() if p.requires_grad]
        reserved = [torch.zeros_like(p) for p in trained for _ in range(3)]
        with accelerator.autocast():
            outputs = outputs_of(model, batch, intensity)
        torch.autograd.backward([rows.float().sum() for rows in outputs if rows.requires_grad])
        del reserved
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    undo_pass(model, before)
    return fits


def undo_pass(model: nn.Module, before: list[Tensor]) -> None:
    """Undo a trial pass: restore buffers, zero gradients, empty the device's cache."""
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
        "The batch and its loss stay the same; BatchNorm now normalises over a "
        f"chunk. A new run can begin so with max_chunk_images={chunk_images}."
    )

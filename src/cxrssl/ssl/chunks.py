"""The gradient of a large batch in the memory of a small one, a chunk of images at a time.

Where a loss is the mean over images, the gradients of chunks add up. A contrast instead needs the
outputs of the whole batch, not their graphs: compute all outputs without a graph, take the loss's
gradient at them, then compute a chunk at a time with its graph and send that gradient through it.
The result is the gradient of the whole batch, at the price of one forward pass more. What
normalises over a batch (BatchNorm) normalises over a chunk in both ways.

Shapes: B images in this process.
Source: GradCache, arXiv 2101.06983, section 3.2.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from cxrssl.ssl.pretext import Couples, Losses, Outputs

Forward = Callable[[slice], Outputs]
"""From a range of this process's images to the network's outputs, a row an image each."""
LossesOf = Callable[[Outputs, slice], Losses]
"""From the outputs of a range of images to the parts of the loss."""


def backward_in_chunks(
    forward: Forward,
    losses_of: LossesOf,
    *,
    couples: Couples,
    num_images: int,
    chunk_images: int,
    backward: Callable[[Tensor], None],
    unsynced: Callable[[], AbstractContextManager[None]],
    buffers: Iterable[Tensor],
) -> Losses:
    """Add up the gradients of a loss over B images, `chunk_images` at a time.

    Args:
        forward: Must compute the same for the same range each time, dropout included.
        losses_of: Its parts are summed; see `Pretext.losses`.
        couples: See `Pretext`.
        num_images: Number of images in this process, B.
        chunk_images: Images whose graph is held at once, >= 1. From B on, the plain way is taken.
        backward: Sends a scalar's gradient to the parameters, and adds up.
        unsynced: Within it, `backward` does not yet share gradients among processes.
        buffers: Buffers that a forward pass changes, such as BatchNorm's statistics; a pass without
            a graph leaves them unchanged.

    Returns:
        The parts of the loss, detached.
    """
    starts = range(0, num_images, chunk_images)
    chunks = [slice(start, min(start + chunk_images, num_images)) for start in starts]
    if len(chunks) == 1:
        losses = losses_of(forward(chunks[0]), chunks[0])
        backward(total(losses))
        return _detached(losses)
    if couples == "images":
        return _sum_of_chunks(forward, losses_of, chunks, backward, unsynced)
    with torch.no_grad(), _restored(buffers):
        parts = [forward(chunk) for chunk in chunks]
    outputs = tuple(torch.cat(rows).requires_grad_() for rows in zip(*parts, strict=True))
    losses = losses_of(outputs, slice(0, num_images))
    gradients = torch.autograd.grad(total(losses), outputs, allow_unused=True)
    for chunk in chunks:
        with nullcontext() if chunk is chunks[-1] else unsynced():
            pairs = zip(forward(chunk), gradients, strict=True)
            products = [(rows * grad[chunk]).sum() for rows, grad in pairs if grad is not None]
            backward(_sum(products))
    return _detached(losses)


def _sum_of_chunks(
    forward: Forward,
    losses_of: LossesOf,
    chunks: list[slice],
    backward: Callable[[Tensor], None],
    unsynced: Callable[[], AbstractContextManager[None]],
) -> Losses:
    sums: Losses = {}
    for chunk in chunks:
        fraction = (chunk.stop - chunk.start) / chunks[-1].stop
        with nullcontext() if chunk is chunks[-1] else unsynced():
            means = losses_of(forward(chunk), chunk)
            losses = {name: fraction * loss for name, loss in means.items()}
            backward(total(losses))
        for name, loss in _detached(losses).items():
            sums[name] = sums[name] + loss if name in sums else loss
    return sums


def total(losses: Losses) -> Tensor:
    """Return the sum of the parts of a loss."""
    return _sum(list(losses.values()))


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


def _detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}


@contextmanager
def _restored(buffers: Iterable[Tensor]) -> Iterator[None]:
    """Give buffers back the values they had."""
    before = [(buffer, buffer.clone()) for buffer in buffers]
    yield
    for buffer, value in before:
        buffer.copy_(value)

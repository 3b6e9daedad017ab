"""The gradient of a contrast over a large batch, in the memory of a small one.

A contrast needs the embeddings of the whole batch, not their graphs: embed everything without a
graph, take the loss's gradient at the embeddings, then embed a chunk at a time with its graph and
send that gradient through it. The result is the gradient of the whole batch, at the price of one
forward pass more. What normalises over a batch (BatchNorm) normalises over a chunk here.

Shapes: B images in this process, D the embedding's length.
Source: GradCache, arXiv 2101.06983, section 3.2.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

Embed = Callable[[slice], tuple[Tensor, Tensor]]
"""From a range of this process's images to the embeddings of both their views, [chunk, D] each."""


def backward_in_chunks(
    embed: Embed,
    contrast: Callable[[Tensor, Tensor], Tensor],
    *,
    num_images: int,
    chunk_images: int,
    backward: Callable[[Tensor], None],
    unsynced: Callable[[], AbstractContextManager[None]],
    buffers: Iterable[Tensor],
) -> Tensor:
    """Accumulate the gradients of a contrast over B images, `chunk_images` at a time.

    Args:
        embed: Must compute the same for the same range each time, dropout included.
        contrast: From the embeddings [B, D] of both views to a loss.
        num_images: B.
        chunk_images: Images whose graph is held at once, >= 1. From B on, the plain way is taken.
        backward: Sends a scalar's gradient to the parameters, and adds up.
        unsynced: Within it, `backward` does not yet share gradients among processes.
        buffers: What a forward pass changes, such as BatchNorm's statistics; the pass without a
            graph leaves no trace in them.

    Returns:
        The loss, detached.
    """
    starts = range(0, num_images, chunk_images)
    chunks = [slice(start, min(start + chunk_images, num_images)) for start in starts]
    if len(chunks) == 1:
        loss = contrast(*embed(chunks[0]))
        backward(loss)
        return loss.detach()
    with torch.no_grad(), _kept(buffers):
        parts = [embed(chunk) for chunk in chunks]
    first, second = (torch.cat(views).requires_grad_() for views in zip(*parts, strict=True))
    loss = contrast(first, second)
    first_grad, second_grad = torch.autograd.grad(loss, (first, second))
    for chunk in chunks:
        with nullcontext() if chunk is chunks[-1] else unsynced():
            one, two = embed(chunk)
            backward((one * first_grad[chunk]).sum() + (two * second_grad[chunk]).sum())
    return loss.detach()


@contextmanager
def _kept(buffers: Iterable[Tensor]) -> Iterator[None]:
    """Give buffers back the values they had."""
    before = [(buffer, buffer.clone()) for buffer in buffers]
    yield
    for buffer, value in before:
        buffer.copy_(value)

"""Chunked gradients are those of the whole batch, dropout included, and leave no trace."""

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from cxrssl.ssl.chunks import backward_in_chunks
from cxrssl.ssl.losses.nt_xent import nt_xent

NUM_IMAGES = 10


def network(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)  # the same weights each time
    layers = [nn.Conv2d(1, 8, 3, 2, 1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 12)]
    return nn.Sequential(*layers, nn.Dropout(0.3)).double()


def views() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(NUM_IMAGES, 2, 1, 16, 16, generator=generator, dtype=torch.float64)


def run(
    model: nn.Module,
    chunk_images: int,
    unsynced: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[Tensor, list[slice]]:
    chunks = []

    def embed(chunk: slice) -> tuple[Tensor, Tensor]:
        chunks.append(chunk)
        both = views()[chunk].transpose(0, 1).flatten(0, 1)
        # One mask for all: a chunk's dropout can't equal the whole batch's otherwise.
        with torch.random.fork_rng():
            torch.manual_seed(7)  # dropout is a function of the step
            keep = model[-1](torch.ones(1, 12, dtype=torch.float64))
        embedded = nn.Sequential(*model[:-1])(both) * keep
        first, second = embedded.chunk(2)
        return first, second

    losses = backward_in_chunks(
        embed,
        lambda outputs, _: {"loss": nt_xent(*outputs, temperature=0.3)},
        couples="batch",
        num_images=NUM_IMAGES,
        chunk_images=chunk_images,
        backward=lambda loss: loss.backward(),
        unsynced=unsynced,
        buffers=model.buffers(),
    )
    return losses["loss"], chunks


@pytest.mark.parametrize("chunk_images", [1, 3, 4, 5, 9])
def test_chunks_have_the_loss_and_gradient_of_the_whole_batch(chunk_images: int) -> None:
    unchunked, chunked = network(nn.GroupNorm(2, 8)), network(nn.GroupNorm(2, 8))
    (expected, expected_chunks), (loss, chunks) = (
        run(unchunked, NUM_IMAGES),
        run(chunked, chunk_images),
    )
    assert float(loss) == pytest.approx(float(expected), abs=1e-12)
    for expected_parameter, parameter in zip(
        unchunked.parameters(), chunked.parameters(), strict=True
    ):
        assert float(expected_parameter.grad.abs().max()) > 1e-6
        assert torch.allclose(expected_parameter.grad, parameter.grad, rtol=0, atol=1e-12)
    assert len(expected_chunks) == 1
    # No image is left out, and none is embedded in more than one chunk of a pass.
    covered = [row for chunk in chunks for row in range(NUM_IMAGES)[chunk]]
    assert covered == [*range(NUM_IMAGES)] * 2
    assert max(chunk.stop - chunk.start for chunk in chunks) == chunk_images


def test_the_pass_without_a_graph_leaves_no_trace_in_batch_norm() -> None:
    model = network(nn.BatchNorm2d(8))
    run(model, 5)
    assert int(model[1].num_batches_tracked) == 2  # two chunks, each once with its graph


def test_only_the_last_chunk_shares_its_gradient_among_processes() -> None:
    inside = []

    @contextmanager
    def unsynced():
        inside.append(True)
        yield

    run(network(nn.GroupNorm(2, 8)), 4, unsynced)
    assert len(inside) == 2  # of three chunks

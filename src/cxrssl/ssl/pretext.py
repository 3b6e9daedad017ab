"""The interface of a self-supervised method for the pretraining loop; no method inherits from it.

Shapes: B images in this process, V cuts of each, C channels, H and W pixels of a cut, R rows of
length D.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from torch import Tensor, nn

Batch = Mapping[str, Tensor]
Outputs = tuple[Tensor, ...]
Losses = dict[str, Tensor]
Couples = Literal["images", "batch"]


class Pretext(Protocol):
    """A method: an `nn.Module` whose parameters and buffers are all that it remembers.

    Attributes:
        encoder: The part that becomes the backbone: images [B, C, H, W] -> features [B, F].
        title: The method's name in texts.
        paper: The paper that describes it.
        couples: `images` if the loss of a batch is the mean over its images, each on its own:
            chunks of a batch then add up. `batch` if `losses` needs all images of this process.
    """

    encoder: nn.Module
    title: str
    paper: str
    couples: Couples

    def forward(self, batch: Batch, /) -> Outputs:
        """Return one row an image, from all that has weights. Pixels are [B, V, C, H, W]."""
        ...

    def losses(self, outputs: Outputs, batch: Batch, /) -> Losses:
        """Return the parts of the loss, whose sum is trained; one that is alone is called `loss`.

        Of several the log has the sum as `loss`, so none of them has that name.

        No weights take part, and other processes may be asked. Each is the mean over this
        process's images. Pixels in `batch` are the uint8 levels that `forward` got normalised.
        """
        ...

    def compared(self, outputs: Outputs, /) -> tuple[Tensor, ...]:
        """Return what the loss compares: rows [R, D] a head; nothing where it compares none.

        Rows of a head point in one direction if it collapses, which a loss can take for success.
        """
        ...

    def after_step(self, done: float, /) -> None:
        """Update what no gradient updates; `done` is the fraction of the run's steps, in (0, 1]."""
        ...

    def chance_loss(self, batch_size: int, /) -> float | None:
        """Return the loss of guessing at random, None where there is no such number."""
        ...


def view_major(pixels: Tensor) -> Tensor:
    """Return cuts [B, V, C, H, W] as [VB, C, H, W]: the first of each image, then the second."""
    return pixels.transpose(0, 1).flatten(0, 1)

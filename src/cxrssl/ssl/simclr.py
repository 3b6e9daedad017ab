"""SimCLR: an encoder and a projection head that is thrown away afterwards.

Shapes: B images, C channels, F the encoder's features, D the embedding's length.
Source: arXiv 2002.05709, section 2.1; the head of three layers is of SimCLR v2, arXiv 2006.10029.
"""

from torch import Tensor, nn


class SimCLR(nn.Module):
    """Embed images, one row an image.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F]; the part that is kept.
        projector: Features [B, F] -> embeddings [B, D].
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings [B, D] of images [B, C, H, W]; both views go through in one call."""
        embeddings: Tensor = self.projector(self.encoder(images))
        return embeddings


def projection_head(
    num_features: int, *, hidden: int, num_outputs: int, num_layers: int, batch_norm: bool
) -> nn.Sequential:
    """Return an MLP from features [B, F] to embeddings [B, D].

    Args:
        num_features: F.
        hidden: Width of the layers between.
        num_outputs: D.
        num_layers: Linear layers, >= 1; 2 in SimCLR, 3 in SimCLR v2.
        batch_norm: Whether each linear layer is followed by a batch norm instead of having a bias,
            as in the authors' code; the paper's text has none.
    """
    widths = [num_features, *[hidden] * (num_layers - 1), num_outputs]
    layers: list[nn.Module] = []
    for index in range(num_layers):
        layers.append(nn.Linear(widths[index], widths[index + 1], bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(widths[index + 1]))
        if index < num_layers - 1:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)

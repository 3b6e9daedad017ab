"""SimCLR: an encoder and a projection head that is thrown away afterwards.

Shapes: B images, C channels, F the encoder's features, D the embedding's length.
Source: arXiv 2002.05709, section 2.1.
"""

from torch import Tensor, nn


class SimCLR(nn.Module):
    """Embed images, one row an image.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F]; the part that is kept.
        projector: Features [B, F] -> embeddings [B, D].
    """

    def __init__(
        self, encoder: nn.Module, *, num_features: int, hidden: int, num_outputs: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(
            nn.Linear(num_features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, num_outputs)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings [B, D] of images [B, C, H, W]; both views go through in one call."""
        embeddings: Tensor = self.projector(self.encoder(images))
        return embeddings

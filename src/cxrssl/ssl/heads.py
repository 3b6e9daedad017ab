"""Heads on an encoder's features that are thrown away after pretraining.

Shapes: B rows, F features, D outputs.
"""

from torch import nn


def projection_head(
    num_features: int,
    *,
    hidden: int,
    num_outputs: int,
    num_layers: int,
    batch_norm: bool,
    scales_outputs: bool = True,
) -> nn.Sequential:
    """Return an MLP from features [B, F] to embeddings [B, D].

    Source: two layers as in SimCLR, arXiv 2002.05709, section 2.1, and in MoCo v2, arXiv
    2003.04297; three as in SimCLR v2, arXiv 2006.10029, and in SimSiam, arXiv 2011.10566.

    Args:
        num_features: F.
        hidden: Width of the layers between.
        num_outputs: D.
        num_layers: Linear layers, >= 1; 2 in SimCLR, 3 in SimCLR v2 and SimSiam.
        batch_norm: Whether each linear layer is followed by a batch norm instead of having a bias,
            as in the authors' code; the paper's text has none.
        scales_outputs: Whether the last batch norm has a scale and a shift; in the code of
            SimSiam's authors it has none.
    """
    widths = [num_features, *[hidden] * (num_layers - 1), num_outputs]
    layers: list[nn.Module] = []
    for index in range(num_layers):
        layers.append(nn.Linear(widths[index], widths[index + 1], bias=not batch_norm))
        if batch_norm:
            affine = scales_outputs or index < num_layers - 1
            layers.append(nn.BatchNorm1d(widths[index + 1], affine=affine))
        if index < num_layers - 1:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def normalised_head(num_features: int, *, hidden: int, num_outputs: int) -> nn.Sequential:
    """Return an MLP [B, F] -> [B, D] whose hidden layer alone is normalised over the batch.

    Source: BYOL, arXiv 2006.07733, section 3.3: its projector, and its predictor.
    """
    return nn.Sequential(
        nn.Linear(num_features, hidden, bias=False),  # the norm has one
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, num_outputs),
    )


def expander(num_features: int, *, hidden: int, num_outputs: int) -> nn.Sequential:
    """Return an MLP [B, F] -> [B, D] of three layers; both hidden ones are normalised.

    Source: VICReg, arXiv 2105.04906, section 4.2. The last layer has no bias, as in the authors'
    code: no term of the loss would see it.
    """
    return nn.Sequential(
        nn.Linear(num_features, hidden, bias=False),  # the norm has one
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, num_outputs, bias=False),
    )


def dense_head(
    num_channels: int, *, hidden: int, num_outputs: int, batch_norm: bool
) -> nn.Sequential:
    """Return an MLP on each place of a map by itself: [B, C, h, w] -> [B, D, h, w].

    Source: DenseCL, arXiv 2011.09157, section 3.2, without a norm; PixPro, arXiv 2011.10043,
    section 3.1, with one.

    Args:
        num_channels: C.
        hidden: Width of the layer between.
        num_outputs: D.
        batch_norm: Whether that layer is normalised, over all places of the batch.
    """
    norm = [nn.BatchNorm2d(hidden)] if batch_norm else []
    return nn.Sequential(
        nn.Conv2d(num_channels, hidden, kernel_size=1, bias=not batch_norm),
        *norm,
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, num_outputs, kernel_size=1),
    )

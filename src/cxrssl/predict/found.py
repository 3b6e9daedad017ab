"""What a detector returns for an image file: what `predict` records, writes and hands to Python.

Shapes: N boxes of an image, xyxy in pixels of the file's image, x to the right and y down from its
top left corner. An image with an EXIF orientation is the one that viewers show, turned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.printable import valid_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One box that a detector returns.

    Attributes:
        box: (x_min, y_min, x_max, y_max) in pixels of the file's image, within its edges; float,
            not rounded.
        label: Name of its class, one of the detector's.
        score: In [0, 1]; greater is surer. Not a probability unless the detector was calibrated.
    """

    box: tuple[float, float, float, float]
    label: str
    score: float


@dataclass(frozen=True)
class Found:
    """What a detector returns for one file, or why the file could not be read.

    Attributes:
        file: The image file, as its path was given.
        width: Columns of its image, pixels; 0 if it could not be read.
        height: Rows of its image, pixels; 0 likewise.
        findings: N boxes with class and score, highest score first.
        warnings: What the decoder had to guess or change, or what looks wrong with the image; a
            sentence each. The findings may be poor for that reason.
        failure: Why the file could not be read; empty if it could.
    """

    file: Path
    width: int = 0
    height: int = 0
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: str = ""

    def __len__(self) -> int:
        """Return N."""
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        """Yield the findings, highest score first."""
        return iter(self.findings)

    @property
    def name(self) -> str:
        """The path of the file as text that can be written: bytes that are no UTF-8 are escapes."""
        return valid_text(str(self.file))

    @property
    def boxes(self) -> NDArray[np.float64]:
        """[N, 4] xyxy in pixels of the file's image."""
        return np.array([finding.box for finding in self.findings], np.float64).reshape(-1, 4)

    @property
    def labels(self) -> tuple[str, ...]:
        """N names of classes."""
        return tuple(finding.label for finding in self.findings)

    @property
    def scores(self) -> NDArray[np.float64]:
        """[N] in [0, 1], not increasing."""
        return np.array([finding.score for finding in self.findings], np.float64)

    def at_least(self, threshold: float) -> "Found":
        """Return the same with those findings alone that score `threshold` or more."""
        strong = tuple(finding for finding in self.findings if finding.score >= threshold)
        return replace(self, findings=strong)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a table with N rows: file, class, score, x_min, y_min, x_max, y_max (pixels)."""
        import pandas as pd

        table = pd.DataFrame(self.boxes, columns=["x_min", "y_min", "x_max", "y_max"])
        table.insert(0, "score", self.scores)
        table.insert(0, "class", pd.Series(self.labels, dtype="str"))
        table.insert(0, "file", pd.Series([self.name] * len(self), dtype="str"))
        return table

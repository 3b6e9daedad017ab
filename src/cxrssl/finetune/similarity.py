"""How far fine-tuning moved the body: linear CKA of its maps before the first step and at the end.

Both are measured on the same training images, at the run's size, in use and in full precision. A
map is averaged over each of 4 x 4 parts: of the whole map's mean nothing of where is left, and with
every place the first maps would take gigabytes.

What is kept of the body at its start is one matrix a map, in a file that is there before the first
step: a run that was killed and goes on has no initial weights any more.

Shapes: N images, C channels, h, w places of a map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional

from cxrssl.core.errors import RunError
from cxrssl.core.files import write_bytes
from cxrssl.data.detection import Example
from cxrssl.data.loaders import DetectionImages, detection_loader
from cxrssl.data.sampling import in_order
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import batch_size_on
from cxrssl.metrics.similarity import cka, gram
from cxrssl.models.backbone import body_maps
from cxrssl.models.detector import Detector, detector_input
from cxrssl.run.folder import RunFolder

_FILE = "initial_similarities.safetensors"
_MOST_IMAGES = 32
_PARTS = 4
"""Along each side of a map."""


@dataclass(frozen=True)
class Similarity:
    """Measures a body on a fixed sample of the training images.

    Attributes:
        store: Store of the images.
        train: The training images.
        run: The run's folder, where the state at the start is kept.
    """

    store: Store
    train: Sequence[Example]
    run: RunFolder

    def keep_start(self, detector: Detector, *, steps_done: int) -> None:
        """Write the file of the body before the first step; the process that writes does it."""
        if self.run.writes and steps_done == 0:
            write_bytes(self.run.path / _FILE, save(self._grams(detector)))

    def since_start(self, detector: Detector) -> dict[str, dict[str, float | None] | None]:
        """Return `cka`, a value a map under timm's name of the module that it comes out of.

        It is None where the state at the start was not kept, as in a run that an earlier version
        began; a value is None where there are fewer than four images.

        Raises:
            RunError: If the file is damaged.
        """
        path = self.run.path / _FILE
        if not path.is_file():
            return {"cka": None}
        final = self._grams(detector)
        try:
            start = load(path.read_bytes())
            return {"cka": {name: cka(start[name], final[name]) for name in final}}
        except (SafetensorError, KeyError, ValueError) as error:
            raise RunError(
                f"{path} is damaged ({error}): expected the state of the body before the first "
                "step. Delete it, and the run ends without that comparison."
            ) from error

    def _grams(self, detector: Detector) -> dict[str, Tensor]:
        """Return the products [N, N] of the images' features, a matrix a map, on the CPU."""
        features: dict[str, list[Tensor]] = {}
        for maps in self._maps(detector):
            for name, values in maps.items():
                parts = functional.adaptive_avg_pool2d(values.float(), _PARTS)
                features.setdefault(name, []).append(parts.flatten(1).cpu())
        return {name: gram(torch.cat(values)) for name, values in features.items()}

    def _maps(self, detector: Detector) -> Iterator[dict[str, Tensor]]:
        """Yield the maps [B, C, h, w] of a body in use; its model is left training or not."""
        model = detector.model
        was_training, device = model.training, next(model.parameters()).device
        model.eval()
        examples = [self.train[row] for row in _rows(len(self.train))]
        images = DetectionImages(
            self.store, examples, detector.intensity, flip_probability=0.0, seed=0
        )
        batches = in_order(len(examples), batch_size_on(device))
        with torch.no_grad():
            for pixels, _ in detection_loader(images, batches, num_workers=0):
                inputs = detector_input([image.to(device) for image in pixels])
                yield body_maps(detector.body, detector.family.body_input(model, inputs))
        model.train(was_training)


def _rows(num_images: int) -> list[int]:
    """Return up to 32 rows of the training images, evenly spaced."""
    count = min(num_images, _MOST_IMAGES)
    return [int(row) for row in np.linspace(0, num_images - 1, count).round()]

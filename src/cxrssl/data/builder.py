"""`VinDrCXR`: a store as a Hugging Face data set, with fused boxes and every reader's own.

For exploring and for the Hub. Training reads the same examples from the store's memory map.

    builder = VinDrCXR(store="build/s")
    builder.download_and_prepare()
    data = builder.as_dataset()      # splits train, val, test
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from cxrssl.core.boxes import Boxes
from cxrssl.data.detection import Example, examples_of
from cxrssl.data.protocol import split_of
from cxrssl.data.store import Store

# Raised when the examples change: `datasets` hashes settings, not code.
EXAMPLES_VERSION = "1.0.0"


@dataclass
class VinDrCXRConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """What shapes an example.

    Attributes:
        store: Folder of the store.
        consensus_iou: Overlap above which boxes of one class are one finding.
    """

    store: str = ""
    consensus_iou: float = 0.2


class VinDrCXR(datasets.GeneratorBasedBuilder):  # type: ignore[misc]
    """Chest radiographs with consensus boxes (`objects`) and readers' boxes (`readers`).

    Boxes are xyxy float pixels of `image`; `support` is the number of readers behind a box.
    """

    BUILDER_CONFIG_CLASS = VinDrCXRConfig

    def __init__(
        self, *, store: str | Path, consensus_iou: float = 0.2, cache_dir: str | None = None
    ) -> None:
        """Open a store; its fingerprint is part of the cache's name, so a new ingest is seen."""
        self._store = Store(Path(store))
        key = f"{EXAMPLES_VERSION}/{self._store.fingerprint}/{consensus_iou}"
        super().__init__(
            cache_dir=cache_dir,
            config_name="consensus",
            hash=hashlib.sha256(key.encode()).hexdigest()[:16],
            store=str(Path(store).resolve()),
            consensus_iou=consensus_iou,
            version=EXAMPLES_VERSION,
        )

    def _info(self) -> datasets.DatasetInfo:
        box = datasets.List(datasets.Value("float32"), length=4)
        label = datasets.ClassLabel(names=list(self._store.classes) or ["none"])
        features = datasets.Features(
            {
                "image_id": datasets.Value("string"),
                "image": datasets.Image(mode="L"),
                "width": datasets.Value("int32"),
                "height": datasets.Value("int32"),
                "objects": {
                    "bbox": datasets.List(box),
                    "category": datasets.List(label),
                    "support": datasets.List(datasets.Value("int8")),
                },
                "readers": {
                    "bbox": datasets.List(box),
                    "category": datasets.List(label),
                    "reader": datasets.List(datasets.Value("string")),
                },
            }
        )
        return datasets.DatasetInfo(description=str(self.__doc__), features=features)

    def _split_generators(
        self, _downloads: datasets.DownloadManager
    ) -> list[datasets.SplitGenerator]:
        examples = examples_of(self._store, consensus_iou=self.config.consensus_iou)
        chosen = {
            name: [e for e in examples if split_of(e.image_id) == name]
            for name in ("train", "val", "test")
        }
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"examples": own})
            for name, own in chosen.items()
            if own
        ]

    def _generate_examples(self, examples: list[Example]) -> Iterator[tuple[str, dict[str, Any]]]:
        for example in examples:
            pixels = self._store.pixels(example.row)
            yield (
                example.image_id,
                {
                    "image_id": example.image_id,
                    "image": pixels,
                    "width": pixels.shape[1],
                    "height": pixels.shape[0],
                    "objects": {
                        "bbox": _rows(example.boxes),
                        "category": example.labels.tolist(),
                        "support": example.support.tolist(),
                    },
                    "readers": {
                        "bbox": _rows(example.reader_boxes),
                        "category": example.reader_labels.tolist(),
                        "reader": list(example.readers),
                    },
                },
            )


def _rows(boxes: Boxes) -> list[list[float]]:
    return [[float(value) for value in box] for box in boxes]

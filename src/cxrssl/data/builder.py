"""`VinDrCXR`: a store as a Hugging Face data set, with fused boxes and every reader's own.

For exploring and for the Hub. Training reads the same examples from the store's memory map.

    builder = VinDrCXR(store="build/s")
    builder.download_and_prepare()
    data = builder.as_dataset()      # splits train, val, test

    VinDrCXR(store="build/s").export("parquet")      # then, without cxrssl: load_dataset("parquet")
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from cxrssl.core.boxes import Boxes
from cxrssl.core.errors import DataError
from cxrssl.core.files import write_text
from cxrssl.data.detection import Example, examples_of, splits_of
from cxrssl.data.protocol import SPLITS, Protocol
from cxrssl.data.store import Store

# Raised when the examples change: `datasets` hashes settings, not code.
EXAMPLES_VERSION = "2.1.0"


class VinDrCXR(datasets.GeneratorBasedBuilder):  # type: ignore[misc]
    """Chest radiographs with fused boxes (`objects`) and readers' boxes (`readers`).

    Boxes are xyxy float pixels of `image`; `support` is the number of readers behind a box;
    `readers.object` is the place in `objects` of the box that a reader's is part of, -1 for none.
    """

    def __init__(
        self,
        *,
        store: str | Path,
        protocol: Protocol = "corrected",
        normals: bool = True,
        fusion: str = "consensus",
        consensus_iou: float = 0.2,
        images: bool = True,
        cache_dir: str | None = None,
    ) -> None:
        """Open a store; its fingerprint is part of the cache's name, so a new ingest is seen.

        Args:
            store: Folder of the store.
            protocol: How images are split; see `data.protocol`.
            normals: Whether images without findings are included; protocol `corrected` only.
            fusion: How readers' boxes become one set; see `data.fusion`.
            consensus_iou: Overlap above which boxes of one class are one finding.
            images: Whether pixels are included.
            cache_dir: Folder of the cache; None for that of `datasets`.

        Raises:
            DataError: If there is no store, or the settings do not go together.
        """
        self._store = Store(Path(store))
        self._splits = splits_of(self._store, protocol=protocol, normals=normals)
        self._fusion, self._consensus_iou, self._images = fusion, consensus_iou, images
        settings = (EXAMPLES_VERSION, self._store.fingerprint, protocol, normals, fusion)
        key = "/".join(map(str, (*settings, consensus_iou, images)))
        super().__init__(
            cache_dir=cache_dir,
            config_name="store",
            hash=hashlib.sha256(key.encode()).hexdigest()[:16],
            version=EXAMPLES_VERSION,
        )

    def export(self, folder: str | Path) -> None:
        """Write Parquet files that plain `datasets.load_dataset(folder)` reads, images in them.

        Raises:
            DataError: If the folder holds something already.
        """
        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            raise DataError(f"{target} is not empty. Name a folder that is, or a new one.")
        try:
            self.download_and_prepare(str(target), file_format="parquet")
        except datasets.exceptions.DatasetGenerationError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from error  # such as a full disk
            raise
        # By file names alone, load_dataset would call the val split "validation".
        files = "".join(
            f"  - split: {name}\n    path: {self.dataset_name}-{name}*.parquet\n"
            for name in self.info.splits
        )
        card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
        write_text(target / "README.md", card)

    def _info(self) -> datasets.DatasetInfo:
        box = datasets.List(datasets.Value("float32"), length=4)
        label = datasets.ClassLabel(names=list(self._store.classes) or ["none"])
        features = datasets.Features(
            {
                "image_id": datasets.Value("string"),
                **({"image": datasets.Image(mode="L")} if self._images else {}),
                "width": datasets.Value("int32"),
                "height": datasets.Value("int32"),
                "original_width": datasets.Value("int32"),
                "original_height": datasets.Value("int32"),
                "objects": {
                    "bbox": datasets.List(box),
                    "category": datasets.List(label),
                    "support": datasets.List(datasets.Value("int8")),
                },
                "readers": {
                    "bbox": datasets.List(box),
                    "category": datasets.List(label),
                    "reader": datasets.List(datasets.Value("string")),
                    "object": datasets.List(datasets.Value("int32")),
                },
            }
        )
        return datasets.DatasetInfo(description=str(self.__doc__), features=features)

    def _split_generators(
        self, _downloads: datasets.DownloadManager
    ) -> list[datasets.SplitGenerator]:
        examples = examples_of(self._store, fusion=self._fusion, iou=self._consensus_iou)
        by_split = {
            name: [e for e in examples if self._splits.get(e.image_id) == name] for name in SPLITS
        }
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"examples": split_examples})
            for name, split_examples in by_split.items()
            if split_examples
        ]

    def _generate_examples(self, examples: list[Example]) -> Iterator[tuple[str, dict[str, Any]]]:
        for example in examples:
            image = self._store.images[example.row]
            pixels = {"image": self._store.pixels(example.row)} if self._images else {}
            yield (
                example.image_id,
                {
                    "image_id": example.image_id,
                    **pixels,
                    "width": image.width,
                    "height": image.height,
                    "original_width": image.original_width,
                    "original_height": image.original_height,
                    "objects": {
                        "bbox": _rows(example.boxes),
                        "category": example.labels.tolist(),
                        "support": example.support.tolist(),
                    },
                    "readers": {
                        "bbox": _rows(example.reader_boxes),
                        "category": example.reader_labels.tolist(),
                        "reader": list(example.readers),
                        "object": example.box_of_mark.tolist(),
                    },
                },
            )


def _rows(boxes: Boxes) -> list[list[float]]:
    return [[float(value) for value in box] for box in boxes]

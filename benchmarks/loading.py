"""Random access to stored images against a `datasets` column of PNG images.

The same 512x512 radiographs, in the same shuffled order, as a tensor [1, 512, 512] uint8: from the
store's memory map, and from `datasets` with `Image` and `with_format("torch")`.

    python benchmarks/loading.py [--images 60] [--rounds 5]
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import datasets
import numpy as np
import torch
from PIL import Image

from cxrssl.data.phantom import make_phantom
from cxrssl.data.store import Store
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings

BAR = 30


def prepared(folder: Path, num_images: int) -> tuple[Store, datasets.Dataset]:
    """Make a phantom, its store, and a data set of the same pixels as PNG files."""
    source = folder / "source"
    make_phantom(
        source, num_images=num_images, seed=0, normal_share=0.3, min_side_px=600, max_side_px=800
    )
    ingest(source, folder / "store", Settings(512), num_workers=2)
    store = Store(folder / "store")
    (folder / "png").mkdir()
    paths = [str(folder / "png" / f"{row}.png") for row in range(len(store))]
    for row, path in enumerate(paths):
        Image.fromarray(store.pixels(row)).save(path)
    data = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
    data.to_parquet(str(folder / "images.parquet"))
    cache = str(folder / "cache")
    embedded = datasets.Dataset.from_parquet(str(folder / "images.parquet"), cache_dir=cache)
    return store, embedded.with_format("torch")


def main() -> None:
    """Time both in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    options = parser.parse_args()
    if options.smallest:
        options.images, options.rounds = 4, 1
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        store, data = prepared(Path(name), options.images)
        order = np.random.default_rng(0).permutation(len(store)).tolist()
        peers, own = [], []
        for _ in range(options.rounds):
            start = time.perf_counter()
            theirs = [data[row]["image"] for row in order]
            peers.append((time.perf_counter() - start) / len(order))
            start = time.perf_counter()
            ours = [torch.from_numpy(store.pixels(row).copy())[None] for row in order]
            own.append((time.perf_counter() - start) / len(order))
        if not all(torch.equal(a.reshape(b.shape), b) for a, b in zip(theirs, ours, strict=True)):
            raise SystemExit("the pixels differ")
    ratio = median(peer / mine for peer, mine in zip(peers, own, strict=True))
    print(f"datasets, PNG, torch  {1e3 * median(peers):7.3f} ms an image")
    print(f"store                 {1e3 * median(own):7.3f} ms an image   {ratio:.0f}x, bar {BAR}x")


if __name__ == "__main__":
    main()

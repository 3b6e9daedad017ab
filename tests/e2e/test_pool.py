"""A run on a thousand real radiographs without labels, when they are there: it learns."""

import json
from functools import partial
from pathlib import Path

import pytest

from support import ROOT, output_of

POOL = ROOT.parent / "shared/data/nih1024_320"


@pytest.mark.slow
@pytest.mark.skipif(not POOL.is_dir(), reason=f"{POOL} is not there")
def test_real_radiographs_are_told_apart_better_than_by_chance(tmp_path: Path) -> None:
    cxrssl = partial(output_of, "-m", "cxrssl", folder=ROOT)
    store, run = tmp_path / "store", tmp_path / "run"
    cxrssl("ingest", str(POOL), str(store), "--size", "128", "--layout", "images")
    pool = f"data.store={store}", "data.normals=true", "data.pool_fraction=1.0"
    changes = *pool, "batch_size=64", "epochs=5"
    settings = [part for change in changes for part in ("--set", change)]
    cxrssl("pretrain", "recipes/pretrain/demo.yaml", *settings, "--out", str(run))
    metrics = json.loads((run / "metrics.json").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last_epoch = [line["loss"] for line in lines if "loss" in line and line["epoch"] == 4]
    assert metrics["num_images"] == 1025
    # log(2B - 1) is what embeddings come to that tell nothing apart.
    assert max(last_epoch) < metrics["chance_loss"] - 0.3
    health = [line for line in lines if "rankme" in line]
    assert [line["step"] for line in health] == [0, 16, 64, 80]  # a twentieth of the time
    # A random network spreads noise, too: measured 38.7 at the start and 30.4 at the end.
    assert health[-1]["rankme"] > 0.5 * health[0]["rankme"]
    assert health[-1]["uniformity"] < health[0]["uniformity"] - 0.4  # measured: -0.146 to -0.714

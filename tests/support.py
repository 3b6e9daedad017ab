"""What several tests need: the smoke recipes, changed."""

from pathlib import Path

from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe

ROOT = Path(__file__).resolve().parents[1]


def pretrain_recipe(store: Path, *changes: str) -> PretrainRecipe:
    """Return the smoke recipe for a store; each change is `a.b=value`."""
    path = ROOT / "recipes/pretrain/smoke.yaml"
    return load_recipe(path, PretrainRecipe, overrides=[f"data.store={store}", *changes])


def finetune_recipe(store: Path, *changes: str) -> FinetuneRecipe:
    """Return the smoke recipe for a store; each change is `a.b=value`."""
    path = ROOT / "recipes/finetune/smoke.yaml"
    return load_recipe(path, FinetuneRecipe, overrides=[f"data.store={store}", *changes])

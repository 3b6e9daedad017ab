"""The pool of a pretraining holds no image whose labels its fine-tuning sees, and all others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.data.detection import splits_of
from cxrssl.data.store import Store
from cxrssl.finetune.splits import labelled_splits
from cxrssl.pretrain.pool import assumption, pool_images
from cxrssl.reproduce.jobs import trainings
from support import ROOT, pretrain_recipe

Images = dict[str, Any]
WITH_FINDINGS: Images = {"normals": False}
ALL: Images = {"normals": True}


def plan(pool: Images, labels: Images, *changes: str) -> Plan:
    """Return the smoke plan with other images for pretraining, and for fine-tuning."""
    path = ROOT / "recipes/plans/smoke.yaml"
    overrides = [
        f"pretrainings.simclr.set={json.dumps({'batch_size': 2, 'data': pool})}",
        f"finetuning.set={json.dumps({'data': labels})}",
    ]
    return load_recipe(path, Plan, overrides=[*overrides, *changes])


def image_sets(store: Store, plan: Plan) -> list[tuple[set[str], set[str], PretrainRecipe]]:
    """Return the pool, the labelled images, and the pretraining of every arm that has one."""
    runs = {training.job.name: training.recipe for training in trainings(plan, Path("runs/x"))}
    arms = []
    for name, recipe in runs.items():
        if not isinstance(recipe, FinetuneRecipe) or recipe.init.backbone is None:
            continue
        pretraining = runs[recipe.init.backbone.parent.name]
        assert isinstance(pretraining, PretrainRecipe), name
        pool = set(pool_images(store, pretraining)[0].ids)
        labelled = {example.image_id for example in labelled_splits(store, recipe).train}
        arms.append((pool, labelled, pretraining))
    return arms


def training_images(store: Store, protocol: str, *, normals: bool) -> set[str]:
    splits = splits_of(store, protocol=protocol, normals=normals)  # type: ignore[arg-type]
    return {name for name, split in splits.items() if split == "train"}


@pytest.mark.parametrize("pool", [WITH_FINDINGS, ALL])
@pytest.mark.parametrize("labels", [WITH_FINDINGS, ALL])
@pytest.mark.parametrize("orders", [(None, None), ("table", "seeded"), ("seeded", "table")])
def test_pool_and_labels_share_nothing_whatever_their_recipes_say(
    pool: Images, labels: Images, orders: Sequence[str | None], store: Store
) -> None:
    changed_plan = plan(
        pool | {"label_order": orders[0]},
        labels | {"label_order": orders[1]},
        "label_fractions=[0.2, 0.5, 0.7, 1.0]",
        "seeds=[0, 1, 2]",
    )
    arms = image_sets(store, changed_plan)
    assert len(arms) == 9
    for unlabelled, labelled, recipe in arms:
        assert not unlabelled & labelled
        train = training_images(store, "corrected", normals=pool["normals"])
        assert unlabelled == train - labelled
        differ = pool != labels or orders[0] != orders[1]
        assert (recipe.data.finetuning is not None) == differ


@pytest.mark.parametrize("protocol", ["published", "described"])
@pytest.mark.parametrize("orders", [(None, None), ("table", "seeded"), ("seeded", "table")])
def test_pool_and_labels_share_nothing_in_the_papers_protocols(
    protocol: str, orders: Sequence[str | None], store: Store
) -> None:
    changed_plan = plan(
        WITH_FINDINGS | {"label_order": orders[0]},
        WITH_FINDINGS | {"label_order": orders[1]},
        f"protocol={protocol}",
        "label_fractions=[0.3, 0.5, 1.0]",
    )
    train = training_images(store, protocol, normals=False)
    arms = image_sets(store, changed_plan)
    assert len(arms) == 2
    assert all(pool == train - labelled and labelled < train for pool, labelled, _ in arms)


def test_a_pool_has_what_a_single_reader_never_read(store: Store) -> None:
    reader = store.findings["reader"].value_counts().index[0]
    changed_plan = plan(ALL, ALL | {"fusion": f"single:{reader}"})
    ((pool, labelled, recipe),) = image_sets(store, changed_plan)
    read = set(store.findings.loc[store.findings["reader"].eq(reader), "image_id"])
    assert labelled <= read
    assert pool == training_images(store, "corrected", normals=True) - labelled
    assert recipe.data.finetuning is not None


def test_faulty_arms_share_nothing_either(store: Store) -> None:
    path = ROOT / "recipes/plans/demo.yaml"
    changes = ["pretrainings.simclr.set={batch_size: 2}", "label_fractions=[0.3, 0.5, 1.0]"]
    arms = image_sets(store, load_recipe(path, Plan, overrides=changes))
    assert len(arms) == 4
    assert not any(pool & labelled for pool, labelled, _ in arms)


def test_a_pool_alone_says_what_it_takes_for_granted(store_folder: Path) -> None:
    half = pretrain_recipe(store_folder, "data.pool_fraction=0.75", "seed=3")
    text = assumption(half)
    assert text is not None
    for part in ("protocol corrected", "normals true", "label_order seeded", "label_fraction 0.25"):
        assert part in text
    assert assumption(pretrain_recipe(store_folder)) is None
    paired = "data.finetuning={normals: false, label_order: null, fusion: consensus}"
    stated = pretrain_recipe(store_folder, "data.pool_fraction=0.5", paired)
    assert assumption(stated) is None

"""Treatments of a plan: what they may change, how they are read, and their words."""

import re
from pathlib import Path
from typing import Any

import pytest
import timm

from cxrssl.config.arms import arms_of, pairs_of, run_arms_of, run_seed
from cxrssl.config.comparable import unequal
from cxrssl.config.difference_words import (
    NOTHING,
    Known,
    difference_text,
    differences,
    pool_overlap_text,
    subject,
)
from cxrssl.config.load import flattened, load_recipe, to_yaml
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RecipeError
from cxrssl.models.stages import body_parameters
from cxrssl.reproduce.checks import check
from cxrssl.reproduce.jobs import trainings
from made_runs import ANY_START, made_plan
from support import ROOT, finetune_recipe

DOCS = (ROOT / "docs/experiments.md").read_text()
SMOKE = ROOT / "recipes/plans/smoke.yaml"
AUGMENT: dict[str, Any] = {
    "scale": [0.7, 1.4], "shift": 0.1, "rotation_degrees": 10.0, "gamma": [0.8, 1.25],
    "contrast": [1.0, 1.0], "brightness": [0.0, 0.0], "blur_sigma_px": [0.0, 0.0],
    "noise_share": [0.0, 0.0], "cutout": None,
}  # fmt: skip
PASTE = {
    "largest_side": 0.2, "repeats": 3.0, "probability": 0.5, "most": 3, "scale": [0.8, 1.2],
    "rotation_degrees": 15.0, "within": [],
}  # fmt: skip
TEACHER = {
    "store": None, "batch_size": 4, "burn_in_steps": 1, "threshold": 0.7, "weight": 1.0,
    "ramp_steps": 0, "relation_weight": 0.0, "known_normals": False, "pseudo_boxes": "teacher",
}  # fmt: skip
TWO = (
    "treatments={aug: {title: strong, set: {ema: {decay: 0.9}}, controls: [plain]}, "
    "plain: {title: plain}}"
)


def treated(*changes: str) -> Plan:
    """Return the smoke plan with `treatments` and no `initialisations`."""
    return made_plan("initialisations=null", TWO, *changes)


def recipe(**changes: object) -> FinetuneRecipe:
    content = finetune_recipe(Path("stores/x")).model_dump() | changes
    return FinetuneRecipe.model_validate(content)


def test_a_plan_of_either_name_is_the_same_plan(tmp_path: Path) -> None:
    old = made_plan()
    path = tmp_path / "new.yaml"
    path.write_text(SMOKE.read_text().replace("initialisations:", "treatments:"))
    assert load_recipe(path, Plan, overrides=[]) == old
    written = to_yaml(old)
    assert "initialisations" not in written
    path.write_text(written)
    assert load_recipe(path, Plan, overrides=[]) == old


def test_either_name_can_be_set_where_the_plan_uses_it(tmp_path: Path) -> None:
    changed = made_plan("initialisations.control.set.init.start=imagenet")
    assert changed.treatments["control"].set == {"init": {"start": "imagenet"}}
    path = tmp_path / "new.yaml"
    path.write_text(SMOKE.read_text().replace("initialisations:", "treatments:"))
    setting = "treatments.control.set.init.start=imagenet"
    assert load_recipe(path, Plan, overrides=[setting]) == changed


def test_both_names_may_stand_in_a_plan_in_their_order() -> None:
    plan = made_plan(
        "treatments={aug: {title: aug, set: {ema: {decay: 0.9}}, controls: [control]}}"
    )
    assert list(plan.treatments) == ["ssl", "control", "aug"]
    assert plan.main == "ssl"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("treatments.ssl.title=x", "ssl is in initialisations and in treatments: name it in one"),
        ("treatments=[1]", "treatments holds no sections: expected NAME: {title: TITLE}"),
        ("initialisations=3", "initialisations holds no sections"),
        ("initialisations={}", "treatments: Dictionary should have at least 1 item"),
        ("initialisations.ssl.tilte=x", r"no key initialisations.ssl.tilte. Did you mean initiali"),
        ("treatment.ssl.title=x", r"no key treatment.ssl.title. Did you mean .*treatments"),
        (
            "initialisations.ssl.set={ema: {decay: 0.9}}",
            r"ssl.set changes ema: .* Move it to treat",
        ),
        ("initialisations.ssl.unlabelled_pool=rest", "ssl.set changes unlabelled_pool"),
        ("initialisations.ssl.pretraining=3", "initialisations.ssl.pretraining: Input should be"),
    ],
)
def test_what_the_old_name_may_not_say_is_refused(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        made_plan(change)


@pytest.mark.parametrize(
    "key",
    ["max_steps", "batch_size", "data.fusion", "seed", "optim.peak_lr", "model.norm", "size_px"],
)
def test_a_treatment_changes_what_is_listed_alone(key: str) -> None:
    with pytest.raises(RecipeError, match=f"set changes {key}: a treatment may change init, aug"):
        treated(f"treatments.aug.set={{{key}: 1}}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("treatments.aug.set={optim: null}", "set changes optim: a treatment may change"),
        ("treatments.aug.set={model: {}}", "set changes model: a treatment may change"),
        ("treatments.aug.set={unlabelled: {store: x}}", "names unlabelled.store, which the plan"),
        ("treatments.aug.unlabelled_pool=train", "unlabelled_pool: Input should be 'rest' or 'ex"),
        (
            "treatments.aug.unlabelled_pool=external",
            "aug has unlabelled_pool external, and there is no",
        ),
        ("data.fresh_seeds=true", "fresh_seeds are a seed for each fold: set data.folds"),
    ],
)
def test_a_faulty_treatment_is_refused(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        treated(change)


def test_lists_and_empty_mappings_keep_their_place_in_dotted_fields() -> None:
    fields = {"a": {"b": [1, 2], "c": {}, "d": None}, "e.f": []}
    assert dict(flattened(fields)) == {"a.b": [1, 2], "a.c": {}, "a.d": None, "e.f": []}


def test_the_plan_in_the_documentation_can_be_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(treatments:.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL)
    smoke = SMOKE.read_text()
    start, end = smoke.index("initialisations:"), smoke.index("label_fractions:")
    path = tmp_path / "documented.yaml"
    path.write_text(smoke[:start] + block + smoke[end:])
    plan = load_recipe(path, Plan, overrides=["finetuning.set.max_steps=12"])
    assert plan.main == "aug"
    runs = trainings(plan, tmp_path / "runs")
    assert len(runs) == 5 + 3  # no teacher on the rest with all labels
    check(plan, runs, ANY_START)


def test_a_teacher_on_the_rest_has_no_arm_with_all_labels() -> None:
    teacher = "treatments.aug.set={ema: {decay: 0.9}, unlabelled: {weight: 1.0}}"
    names = [a.name for a in arms_of(treated(teacher, "treatments.aug.unlabelled_pool=rest"))]
    assert names == ["plain-100-seed0", "aug-50-seed0", "plain-50-seed0"]
    pool = "treatments.aug.unlabelled_pool=external", "data.pool=films"
    assert "aug-100-seed0" in [a.name for a in arms_of(treated(teacher, *pool))]


def test_each_fold_may_have_a_seed_of_its_own_and_keeps_its_name() -> None:
    folds = "data.source=x", "data.folds=3", "seeds=[0, 2]"
    old, fresh = made_plan(*folds), made_plan(*folds, "data.fresh_seeds=true")
    assert [a.name for a in run_arms_of(old)] == [a.name for a in run_arms_of(fresh)]
    assert {run_seed(old, arm) for arm in run_arms_of(old)} == {0, 2}
    seeds = {(arm.seed, arm.fold): run_seed(fresh, arm) for arm in run_arms_of(fresh)}
    assert seeds == {(0, 1): 0, (0, 2): 1, (0, 3): 2, (2, 1): 6, (2, 2): 7, (2, 3): 8}
    pairs = [*pairs_of(fresh)]
    assert len(pairs) == 6  # SSL with half of the labels, of two seeds in three folds
    for arm, control in pairs:
        assert (arm.label_fraction, arm.seed, arm.fold) == (0.5, control.seed, control.fold)
        assert run_seed(fresh, arm) == run_seed(fresh, control)


def test_a_treatment_and_its_control_are_equal_in_all_else() -> None:
    control = recipe(max_steps=8)
    teacher = recipe(max_steps=8, ema={"decay": 0.9}, unlabelled=TEACHER, augment=AUGMENT)
    assert unequal(teacher, control) == []
    assert unequal(recipe(max_steps=9), control) == ["max_steps is 9 and 8"]
    model = control.model.model_dump() | {"norm": "gn"}
    group, frozen = (recipe(max_steps=8, model=model | {"frozen_stages": n}) for n in (0, 1))
    assert unequal(frozen, group) == []
    assert unequal(group, control) == ["model.norm is gn and bn"]
    data = control.data.model_dump()
    moved = recipe(max_steps=8, data=data | {"store": Path("/elsewhere/x")})
    assert unequal(moved, control) == []
    assert unequal(recipe(max_steps=8, data=data | {"store": Path("y")}), control) == [
        "data.store is y and x"
    ]


def test_pasting_needs_a_number_of_steps_as_it_makes_epochs_longer() -> None:
    steps = {"max_steps": 8, "epochs": 8}
    pasted, control = recipe(paste=PASTE, **steps), recipe(**steps)
    assert unequal(pasted, control) == []
    short = {"max_steps": 8, "epochs": 7}  # which may end before eight steps
    (fault,) = unequal(recipe(paste=PASTE, **short), recipe(**short))
    assert fault.endswith("so that both have the same labelled steps")
    best = steps | {"keep": "best", "validate_every_epochs": 1}
    (fault,) = unequal(recipe(paste=PASTE, **best), recipe(**best))
    assert fault.endswith("keep: best chooses among them: set keep to last")
    larger = recipe(paste=PASTE | {"largest_side": 0.4}, max_steps=None)
    (fault,) = unequal(larger, recipe(paste=PASTE, max_steps=None))
    assert fault.startswith("paste.largest_side is 0.4 and ")
    once = PASTE | {"repeats": 1}
    larger_once = recipe(paste=once | {"largest_side": 0.4}, max_steps=None)
    assert unequal(larger_once, recipe(paste=once, max_steps=None)) == []
    (fault,) = unequal(recipe(paste=PASTE, max_steps=None), recipe(max_steps=None))
    assert fault.startswith(
        "paste.repeats is 3 and 1, which makes epochs of other lengths: set max_steps"
    )
    once = {**PASTE, "repeats": 1.0}
    assert unequal(recipe(paste=once, max_steps=None), recipe(max_steps=None)) == []


def words(treatment: FinetuneRecipe, control: FinetuneRecipe, *changes: str) -> str:
    """Return in what the first treatment of a plan differs from its second."""
    plan = treated(*changes)
    known = Known({"simclr": "SimCLR"}, pool_images=1025)
    return difference_text(differences(plan, ("aug", "plain"), (treatment, control), known))


@pytest.mark.parametrize(
    ("changes", "control", "text"),
    [
        ({}, {}, NOTHING),
        ({"augment": AUGMENT}, {}, "augmentation (scale 0.7 to 1.4, shifts up to 10 %, turns up to "
         "10 degrees, gamma 0.8 to 1.25)"),
        ({}, {"augment": AUGMENT}, "no augmentation"),
        ({"augment": AUGMENT}, {"augment": AUGMENT | {"scale": [0.9, 1.1]}},
         "augmentation with scale 0.7 to 1.4 instead of 0.9 to 1.1"),
        ({"augment": AUGMENT | {"cutout": {"most": 2, "side": [0.1, 0.2]}}}, {"augment": AUGMENT},
         "augmentation with cutout.most 2 instead of none; and augmentation with cutout.side 0.1 "
         "to 0.2 instead of none"),
        ({"ema": {"decay": 0.99}}, {}, "an average of the weights (decay 0.99)"),
        ({"ema": {"decay": 0.99}}, {"ema": {"decay": 0.9}},
         "average of the weights with decay 0.99 instead of 0.9"),
        ({"paste": PASTE}, {}, "pasted small findings (up to 3 an image with probability 0.5, "
         "sides up to 20 % of the image, images with small findings 3 times as often, "
         "scale 0.8 to 1.2, turns up to 15 degrees)"),
        ({"ema": {"decay": 0.9}, "unlabelled": TEACHER}, {"ema": {"decay": 0.9}},
         "a teacher on the 1,025 images of the pool (4 a step, score 0.7 and more, from step 1 on, "
         "weight 1)"),
        ({"ema": {"decay": 0.9}, "unlabelled": TEACHER | {"pseudo_boxes": "shuffled"}}, {},
         "an average of the weights (decay 0.9); and shuffled pseudo boxes (control) of a teacher "
         "on the 1,025 images of the pool (4 a step, score 0.7 and more, from step 1 on, "
         "weight 1)"),
    ],
)  # fmt: skip
def test_a_difference_is_told_in_words(
    changes: dict[str, Any], control: dict[str, Any], text: str
) -> None:
    pool = "treatments.aug.unlabelled_pool=external", "data.pool=films"
    assert words(recipe(**changes), recipe(**control), *pool) == text


def test_a_teacher_is_told_from_shuffled_boxes_and_by_its_images() -> None:
    ema = {"decay": 0.9}
    teacher = recipe(ema=ema, unlabelled=TEACHER)
    shuffled = recipe(ema=ema, unlabelled=TEACHER | {"pseudo_boxes": "shuffled"})
    pools = ("treatments.aug.unlabelled_pool=rest", "treatments.plain.unlabelled_pool=rest")
    assert words(teacher, shuffled, *pools) == (
        "the teacher's pseudo boxes instead of shuffled pseudo boxes (control)"
    )
    pooled = recipe(ema=ema, unlabelled=TEACHER | {"store": Path("runs/x/pool")})
    external = "treatments.aug.unlabelled_pool=external", pools[1], "data.pool=films"
    assert words(pooled, teacher, *external) == (
        "teacher on the 1,025 images of the pool instead of the training images whose labels it "
        "does not see"
    )


def test_a_start_and_a_pretraining_are_told_in_words() -> None:
    init = recipe().init.model_dump()
    file = recipe(init=init | {"start": "imagenet", "weights": Path("/w/lite0.safetensors")})
    assert words(file, recipe()) == "ImageNet (lite0.safetensors) instead of random start"
    group = recipe().model.model_dump() | {"norm": "gn"}
    drawn = recipe(init=init | {"start": "mean_var"}, model=group)
    assert words(drawn, recipe(model=group)) == (
        "random weights with mean and variance of ImageNet instead of random start"
    )
    kept = recipe(init=init | {"start": "imagenet", "keep_stages": 3}, model=group)
    whole = recipe(init=init | {"start": "imagenet"}, model=group)
    assert words(kept, whole) == "first stages whose weights are kept: 3 instead of all"
    optim = recipe().optim.model_dump() | {"layer_decay": 0.75}
    assert words(recipe(optim=optim), recipe()) == "layer decay 0.75 instead of none"
    assert unequal(recipe(optim=optim), recipe()) == []
    frozen = recipe(model=group | {"frozen_stages": 1})
    assert words(frozen, recipe(model=group)) == "frozen stages 1 instead of 0"
    trained = recipe(init=init | {"backbone": Path("runs/x/pretrain-simclr-seed0/backbone")})
    of_plan = "treatments.aug.pretraining=simclr"
    assert words(trained, recipe(), of_plan) == (
        "pretraining SimCLR on the training images whose labels it does not see"
    )
    assert words(trained, recipe()) == (
        "published backbone pretrain-simclr-seed0/backbone instead of none"
    )
    chain = (
        "pretrainings={simclr: {recipe: pretrain/smoke, pool: train, after: wide}, "
        "wide: {recipe: pretrain/smoke, pool: external}}"
    )
    assert words(trained, recipe(), of_plan, chain, "data.pool=films") == (
        "pretraining SimCLR on all training images, after pretraining wide on the 1,025 images of "
        "the pool"
    )
    other = "treatments.plain.pretraining=wide"
    assert words(trained, trained, of_plan, chain, other, "data.pool=films").endswith(
        "after pretraining wide on the 1,025 images of the pool instead of pretraining wide on the "
        "1,025 images of the pool"
    )


def test_a_gate_is_told_in_words() -> None:
    data = recipe().data.model_dump() | {"normals": True}
    control = recipe(data=data, validate_every_epochs=1)
    settings = {"power": 1.0, "drop_below": 0.1, "weight_decay": 1.0}
    gated = recipe(data=data, validate_every_epochs=1, gate=settings)
    assert unequal(gated, control) == []
    assert words(gated, control) == (
        "an image-level gate (scores times p to the power 1, no box on an image with p below 0.1)"
    )
    stronger = recipe(data=data, validate_every_epochs=1, gate=settings | {"power": 2.0})
    assert words(stronger, gated) == "image-level gate with power 2 instead of 1"


def test_what_saves_labels_is_called_pretraining_where_it_is_that_alone() -> None:
    assert subject(made_plan(), "ssl") == "pretraining"
    imagenet = "initialisations.control.set={init: {start: imagenet}}"
    assert subject(made_plan(imagenet), "ssl") == "pretraining"
    assert subject(treated(), "aug") == "strong"
    assert subject(treated("treatments.aug.pretraining=simclr"), "aug") == "strong"
    pool = "treatments.aug.unlabelled_pool=external", "data.pool=films"
    assert pool_overlap_text(treated(*pool), "saw") == (
        "the teacher leaves out those that are equal byte for byte."
    )
    both = treated(*pool, "pretrainings.simclr.pool=external")
    text = pool_overlap_text(both, "saw")
    assert text.startswith("pretraining saw their pixels, if not their labels.")
    assert text.endswith("The teacher leaves out those that are equal byte for byte.")


def test_another_backbone_may_be_what_a_treatment_changes_and_is_said_with_its_size() -> None:
    plan = treated(
        "treatments.aug.set={model: {backbone: test_vit, frozen_stages: 1}, "
        "init: {start: published, weights: 'hf-hub:org/x@c0ffee'}}"
    )
    runs = trainings(plan, Path("runs"))
    first, second = (
        next(run.recipe for run in runs if run.job.name.startswith(f"{name}-"))
        for name in ("aug", "plain")
    )
    assert isinstance(first, FinetuneRecipe)
    assert isinstance(second, FinetuneRecipe)
    assert unequal(first, second) == []
    sizes = body_parameters([first.backbone, second.backbone])
    with_head = {name: timm.create_model(name, num_classes=0) for name in sizes}
    for name, number in sizes.items():
        whole = sum(parameter.numel() for parameter in with_head[name].parameters())
        assert 0.9 * whole < number <= whole  # a body has no last norm
    text = difference_text(
        differences(plan, ("aug", "plain"), (first, second), Known({}, None, sizes))
    )
    assert text == (
        f"another backbone: test_vit ({sizes['test_vit'] / 1e6:.1f} M parameters) instead of "
        f"test_resnet ({sizes['test_resnet'] / 1e6:.1f} M parameters); frozen stages 1 instead of "
        "0; and published weights (hf-hub:org/x@c0ffee) instead of random start"
    )
    wider = second.model_copy(update={"model": second.model.model_copy(update={"fpn_channels": 8})})
    assert unequal(first, wider) == [f"model.fpn_channels is {first.model.fpn_channels} and 8"]
    assert body_parameters(["test_vit", "test_vit"]) == {}

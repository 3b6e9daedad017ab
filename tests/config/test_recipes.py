"""Recipes: every packaged one fits its schema, and every fault is named with its place."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from cxrssl.config.catalogue import packaged_names, recipe_path
from cxrssl.config.load import load_recipe, load_run_recipe, to_yaml
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.config.section import Section
from cxrssl.core.errors import RecipeError
from cxrssl.reproduce.checks import check
from cxrssl.reproduce.jobs import trainings
from cxrssl.reproduce.resources import Resources
from support import ROOT, RTDETR, old_form, output_of

KINDS = {"pretrain": PretrainRecipe, "finetune": FinetuneRecipe, "plans": Plan}
SMOKE = ROOT / "recipes/pretrain/smoke.yaml"


def test_every_packaged_recipe_is_found() -> None:
    files = list((ROOT / "recipes").rglob("*.yaml"))
    assert len(files) == len(packaged_names()) == 60  # 14 finetune, 34 pretrain, 12 plans


@pytest.mark.parametrize("name", packaged_names())
def test_a_packaged_recipe_fits_and_survives_being_written(name: str, tmp_path: Path) -> None:
    kind = KINDS[name.split("/")[0]]
    recipe = load_recipe(recipe_path(name), kind, overrides=[])
    (tmp_path / "again.yaml").write_text(to_yaml(recipe))
    assert load_recipe(tmp_path / "again.yaml", kind, overrides=[]) == recipe


@pytest.mark.parametrize("name", [n for n in packaged_names() if n.startswith("plans/")])
def test_the_runs_of_a_plan_fit_together(name: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    overrides = [f"data.source={tmp_path / 'images'}"]
    if load_recipe(recipe_path(name), Plan, overrides=[]).data.pool_phantom is None:
        overrides.append(f"data.pool={tmp_path / 'images'}")
    plan = load_recipe(recipe_path(name), Plan, overrides=overrides)
    # Weights of the Hub would be fetched now; any file does for what is checked here.
    (tmp_path / "weights.safetensors").touch()
    of_hub = [key for key, section in plan.treatments.items() if "hf-hub" in str(section.set)]
    file = f"init.weights={tmp_path / 'weights.safetensors'}"
    overrides += [f"treatments.{key}.set.{file}" for key in of_hub]
    plan = load_recipe(recipe_path(name), Plan, overrides=overrides)
    check(plan, trainings(plan, tmp_path / "runs"), Resources({}, lambda *_: None))


def test_overrides_are_yaml_and_reach_nested_fields() -> None:
    changes = ["optim.peak_lr=1e-3", "views.crop_area=[0.5, 1]", "seed=7"]
    recipe = load_recipe(SMOKE, PretrainRecipe, overrides=[*changes, "data.num_workers=3"])
    assert recipe.data.num_workers == 3  # has a default, and the file does not name it
    assert (recipe.optim.peak_lr, recipe.views.crop_area, recipe.seed) == (0.001, (0.5, 1.0), 7)


FAULTY_CHANGES = {
    "pretrain": [
        ("optim.peak_l=1", r"a recipe has no key optim\.peak_l\. Did you mean optim\.peak_lr\?"),
        ("peak_lr=1", r"a recipe has no key peak_lr\. Did you mean optim\.peak_lr\?"),
        ("views.noise=1", r"Did you mean views\.noise"),
        ("epochs=true", "epochs is True: expected a number"),
        ("data.num_workers=no", "data: num_workers is False: expected a number$"),
        ("data.store=", r"data\.store: expected a path \(got None\)"),
        ("nothing.at.all=1", "a recipe has no key nothing.at.all"),
        ("seed", "expected a.b=value"),
        ("precision=no", r"precision: Input should be 'fp32', 'bf16' or 'fp16' \(got False\)"),
        ("data.pool_fraction=0", r"data\.pool_fraction: Input should be greater than 0 \(got 0\)"),
        ("data.pool_fraction=1.5", "data.pool_fraction: Input should be less than or equal to 1"),
        ("views.crop_area=[1, 0.2]", r"crop_area must be \[least, largest\], got \[1.0, 0.2\]"),
        ("views.crop_aspect=[8, 9]", r"begins at 0.2, and of crop_aspect \[8.*above 0.125 of an"),
        ("views.crop_aspect=[0.1, 0.15]", r"crop_aspect \[0.1, 0.15\] no crop above 0.15 of"),
        ("views.blur_kernel_px=20", "blur_kernel_px must be odd, got 20"),
        ("views.noise_draw=normal", "views.noise_draw: Input should be 'uniform' or 'divisor'"),
        ("body.weights=a.safetensors", "start: random takes no weights, got a.safetensors"),
        ("body.start=run", "start: run needs weights: the backbone/ folder"),
        (
            "body.start=moco",
            "body.start: Input should be 'random', 'imagenet', 'published', 'coco' or 'run'",
        ),
        ("method.projector_layers=4", "method.projector_layers: Input should be 2 or 3"),
        ("method.temperature=1e-30", "method.temperature: Input should be greater than or equal"),
        ("max_chunk_images=0", "max_chunk_images: Input should be greater than or equal to 1"),
        ("optim.name=adam", "optim.name: Input should be 'sgd', 'lars' or 'adamw'"),
        ("optim.warmup_steps=51", "warmup_steps is 51, more than half of max_steps 100"),
        (
            "optim={schedule: steps, drop_epochs: [2], name: sgd, peak_lr: 1, momentum: 0, "
            "weight_decay: 0, warmup_steps: 0, clip_norm: null}",
            "never reached in 2 epochs",
        ),
        ("data.finetuning={normals: true}", r"data\.finetuning\.label_order: Field required"),
        ("batch_size=1", "batch_size: pretraining needs at least 2 images a batch"),
        *(
            (f"views.noise_draw=divisor & views.noise_share={pair}", "noise_share must be 1 over")
            for pair in ("[0, 0.25]", "[0.3, 0.4]", "[0.25, 3]")
        ),
        *(
            (f"optim.peak_lr={number}", r"optim\.peak_lr: Input should be")
            for number in (".inf", "-.inf", ".nan", "1e999")
        ),
        ("views.size_px=1000000000000", "views.size_px: Input should be less"),
        ("views.blur_kernel_px=100000001", "views.blur_kernel_px: Input should be less"),
        ("method.projector_hidden=1" + "0" * 22, "method.projector_hidden: Input should be less"),
        ("method.projector_outputs=1000000000000", "projector_outputs: Input should be less"),
        ("method.name=simclr2", "method.name: unknown name 'simclr2'; expected simclr or moco"),
        ("method.name=moco", "fields section method has depends on its name: begin"),
        ("model.backbone=resnet50", "--set 'model.back.*: model.backbone is now body.backbone"),
        ("model.temperature=0.1", r"model\.temperature is now method\.temperature\."),
        ("model={temperature: 0.1}", "model is now body, the backbone, and method"),
    ],
    "finetune": [
        ("data.protocol=paper", "data.protocol: Input should be 'published', 'described' or"),
        ("data.fusion=nms", "data.fusion: String should match pattern"),
        ("data.fusion=majority:0", "data.fusion: String should match pattern"),
        ("data.oversample_rounding=floor", "data.oversample_rounding: Input should be"),
        (
            "data.protocol=described & data.normals=true",
            "protocol described leaves them out; set it to false",
        ),
        ("batch_size=999999999999999999999", "batch_size: Input should be less"),
        ("epochs=999999999999999999999", "epochs: Input should be less"),
    ],
    "plans": [
        ("data.size_px=1000000000", "data.size_px: Input should be less"),
        ("slurm.minutes=0", "slurm.minutes: .* greater than or equal to 1 .got 0"),
        ("slurm.minutes=9999999999", "slurm.minutes: .* less than or equal to 525600"),
        ("slurm.requeues=1001", "slurm.requeues: .* less than or equal to 1000"),
        ("slurm.gpus=65", "slurm.gpus: .* less than or equal to 64"),
        ("slurm.cpus=4097", "slurm.cpus: .* less than or equal to 4096"),
        ("slurm.memory_gb=100001", "slurm.memory_gb: .* less than or equal to 100000"),
        ("slurm.most_at_once=1001", "slurm.most_at_once: .* less than or equal to 1000"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [(kind, *row) for kind, rows in FAULTY_CHANGES.items() for row in rows],
)
def test_a_faulty_override_is_named(kind: str, changes: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_path(f"{kind}/smoke"), KINDS[kind], overrides=changes.split(" & "))


def test_all_faults_of_a_file_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMOKE.read_text().replace("seed: 0\n", "").replace("epochs: 2", "epoch: 2"))
    with pytest.raises(RecipeError) as error:
        load_recipe(path, PretrainRecipe, overrides=[])
    text = str(error.value)
    assert "mine.yaml does not fit PretrainRecipe" in text
    assert "  seed: Field required" in text
    assert "  epochs: Field required" in text
    assert "  epoch: Extra inputs are not permitted (got 2)" in text


def test_a_missing_broken_or_misspelt_recipe_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Not found: .*none\.yaml.*Expected a recipe, a YAML"):
        load_recipe(tmp_path / "none.yaml", PretrainRecipe, overrides=[])
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(RecipeError, match=r"holds \[1\]; expected a recipe: keys and values"):
        load_recipe(tmp_path / "list.yaml", PretrainRecipe, overrides=[])
    (tmp_path / "empty.yaml").touch()
    with pytest.raises(RecipeError, match=r"empty\.yaml is empty; expected a recipe"):
        load_recipe(tmp_path / "empty.yaml", PretrainRecipe, overrides=[])
    with pytest.raises(
        RecipeError, match=r"is a folder\. Expected a file or the name of a packaged"
    ):
        recipe_path(str(tmp_path))
    without_family = (ROOT / "recipes/finetune/smoke.yaml").read_text()
    without_family = without_family.replace("  family: faster_rcnn\n", "")
    (tmp_path / "old.yaml").write_text(without_family)
    with pytest.raises(
        RecipeError, match=r"model\.family: is missing; expected faster_rcnn or rtde"
    ):
        load_recipe(tmp_path / "old.yaml", FinetuneRecipe, overrides=[])
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match="is not YAML"):
        load_recipe(tmp_path / "bad.yaml", PretrainRecipe, overrides=[])
    with pytest.raises(RecipeError, match=r"Did you mean .*plans/smoke"):
        recipe_path("plans/smok")


class Part(Section):
    size: int = 1
    more: dict[str, Any] = Field(default_factory=dict)


class Whole(Section):
    parts: dict[str, Part] = Field(default_factory=dict)
    name: str = ""


def whole(tmp_path: Path, text: str, *changes: str) -> Whole:
    (tmp_path / "whole.yaml").write_text(text)
    return load_recipe(tmp_path / "whole.yaml", Whole, overrides=list(changes))


def test_overrides_reach_into_names_that_are_free(tmp_path: Path) -> None:
    changes = ["parts.left.size=2", "parts.right.more.a.b=x", "parts.right.more.a.c=[1, 2]"]
    recipe = whole(tmp_path, "parts: {left: {size: 1}}", *changes)
    assert recipe.parts["left"].size == 2
    assert recipe.parts["right"].more == {"a": {"b": "x", "c": [1, 2]}}


@pytest.mark.parametrize(
    "key",
    [
        *("parts.left.sise", "part.left.size", "name.left", "parts.left.size.x"),
        *("parts..size", "parts.", "parts.left.more.", "parts.left.more..a"),
    ],
)
def test_overrides_do_not_reach_beyond_what_is_there(key: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"a recipe has no key {key}"):
        whole(tmp_path, "name: x", f"{key}=1")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("name: a\nname: b\n", "line 2"),
        ("parts:\n  x: {size: 1}\n  y: {}\n  x: {size: 2}\n", "line 4"),
    ],
)
def test_a_key_that_comes_twice_is_refused_with_its_place(
    text: str, place: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="comes twice") as error:
        whole(tmp_path, text)
    assert place in str(error.value)
    assert "whole.yaml" in str(error.value)


def test_a_key_that_comes_twice_in_an_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the key 'size' comes twice"):
        whole(tmp_path, "name: x", "parts.left={size: 1, size: 2}")


def test_a_key_that_is_no_name_is_a_fault_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="found unhashable key"):
        whole(tmp_path, "? [a, b]\n: 1\n")


FAULTY_TEXTS = {
    "alias": ("a: &a [x, x]\nb: [*a, *a]\n", "anchors and aliases .* are not read.*line 1"),
    "merge": ("a: &a {x: 1}\nb: {<<: *a, y: 1}\n", "anchors and aliases"),
    "merge in place": ("a: {<<: {x: 1}}\n", "the type 'merge' is not read"),
    "deep list": (f"a: {'[' * 5000}{']' * 5000}\n", "more than 32 deep"),
    "deep mapping": ("\n".join(f"{' ' * k}a:" for k in range(500)), "more than 32 deep"),
    "long number": (f"a: {'9' * 5000}\n", "a number of more than 40 digits"),
    "long hexadecimal": (f"a: 0x{'f' * 90000}\n", "a number of more than 40 digits"),
    "no number": ("a: 0b_\n", "invalid literal for int"),
    "bytes": ("a: !!binary aGk=\n", "the type 'binary' is not read"),
    "set": ("a: !!set {x}\n", "the type 'set' is not read"),
    "a date of its own": ("a: !!timestamp 2001-99-99\n", "the type 'timestamp' is not read"),
    "python": ("a: !!python/object/apply:os.getcwd []\n", "the type 'python/object/apply"),
    "two documents": ("a: 1\n---\nb: 2\n", "expected a single document"),
}


@pytest.mark.parametrize("name", FAULTY_TEXTS)
def test_what_no_recipe_holds_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    text, message = FAULTY_TEXTS[name]
    with pytest.raises(RecipeError, match=f"(?s)whole.yaml.*{message}"):
        whole(tmp_path, text)
    with pytest.raises(RecipeError, match=f"(?s)--set 'parts.*{message}"):
        whole(tmp_path, "name: x", f"parts={text}")


def test_a_small_file_that_would_be_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 10)}]" for k in range(12)]
    with pytest.raises(RecipeError, match="anchors and aliases"):
        whole(tmp_path, "\n".join(lines))


def test_a_date_is_text_whether_or_not_there_is_such_a_day(tmp_path: Path) -> None:
    recipe = whole(tmp_path, "parts: {a: {more: {x: 2001-99-99, y: 2001-01-01}}}").parts
    assert recipe["a"].more == {"x": "2001-99-99", "y": "2001-01-01"}


def test_a_recipe_is_utf8_whatever_the_locale_is(tmp_path: Path) -> None:
    path = tmp_path / "é.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMOKE.read_bytes() + "# café\n".encode())
    code = (
        "import sys; from cxrssl.config.load import load_recipe;"
        "from cxrssl.config.schema import PretrainRecipe; from pathlib import Path;"
        "load_recipe(Path(sys.argv[1]), PretrainRecipe, overrides=[])"
    )
    output_of("-c", code, path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    path.write_bytes(b"# a\n# caf\xe9\n" + SMOKE.read_bytes())
    with pytest.raises(RecipeError, match=r"line 2: not UTF-8\. Save the file as UTF-8"):
        load_recipe(path, PretrainRecipe, overrides=[])


def test_a_file_that_is_no_recipe_by_its_size_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(RecipeError, match="more than 1 MiB and is not a recipe"):
        load_recipe(tmp_path / "large.yaml", PretrainRecipe, overrides=[])
    with pytest.raises(RecipeError, match=r"^Not found: 'aaa.*Packaged recipes: "):
        recipe_path("a" * 5000)


@pytest.mark.parametrize("sign", [r"\n", r"\r", r"\e", r"\0", r"\x7f", r"\x9b", r"\u202e", r"\N"])
@pytest.mark.parametrize("key", ["data.store", "body.backbone", "body.weights"])
def test_no_text_of_a_recipe_has_a_control_character(key: str, sign: str) -> None:
    with pytest.raises(RecipeError, match=f"{key}: .*a control character") as error:
        load_recipe(SMOKE, PretrainRecipe, overrides=[f'{key}="a{sign}b"'])
    assert str(error.value).isprintable() or "\n" in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        *(r'data.source="a\nb"', r'finetuning.recipe="a\nb"', r'finetuning.set.a="a\eb"'),
        *(r'finetuning.set={a: {b: [1, "\n"]}}', r'finetuning.set={a: {"b\n": 1}}'),
        r'initialisations.control.title="a\u2028b"',
    ],
)
def test_no_text_of_a_plan_has_a_control_character(change: str) -> None:
    with pytest.raises(RecipeError, match="a control character"):
        load_recipe(recipe_path("plans/smoke"), Plan, overrides=[change])


@pytest.mark.parametrize("key", ["partition", "account"])
@pytest.mark.parametrize(
    "name", [r"x\ntouch y", "x y", "$(x)", "`x`", "x;y", "'x'", "-x", "x,", ",x", "x#", "é"]
)
def test_names_of_a_cluster_are_plain(key: str, name: str) -> None:
    with pytest.raises(RecipeError, match=rf"slurm\.{key}: "):
        load_recipe(recipe_path("plans/smoke"), Plan, overrides=[f'slurm.{key}="{name}"'])


def test_the_names_that_clusters_have_are_taken() -> None:
    changes = ["slurm.partition=gpu-a100,gpu_h100.long", "slurm.account=lab+x@site"]
    plan = load_recipe(recipe_path("plans/smoke"), Plan, overrides=changes)
    assert (plan.slurm.partition, plan.slurm.account) == ("gpu-a100,gpu_h100.long", "lab+x@site")


RTDETR_FROZEN = RTDETR.replace("norm: recalibrated", "norm: frozen")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.norm=frozen"], "random without init.backbone .* model.norm: frozen would keep"),
        ([RTDETR_FROZEN], "random without init.backbone .* model.norm: frozen would keep"),
        (["model.frozen_stages=1"], "model.frozen_stages: 1 would keep it so in these stages"),
        (["model.frozen_stages=1", "model.norm=sync"], "frozen_stages: 1 would keep it so"),
    ],
)
def test_statistics_of_no_image_are_not_frozen(changes: list[str], message: str) -> None:
    path = ROOT / "recipes/finetune/smoke.yaml"
    with pytest.raises(RecipeError, match=message):
        load_recipe(path, FinetuneRecipe, overrides=changes)
    for start in ("init.backbone=runs/ssl/backbone", "init.start=imagenet"):
        load_recipe(path, FinetuneRecipe, overrides=[*changes, start])


@pytest.mark.parametrize("norm", ["recalibrated", "bn", "sync", "gn"])
def test_a_random_start_goes_with_norms_that_learn_or_are_measured(norm: str) -> None:
    path = ROOT / "recipes/finetune/smoke.yaml"
    recipe = load_recipe(path, FinetuneRecipe, overrides=[f"model.norm={norm}"])
    assert (recipe.init.start, recipe.model.norm) == ("random", norm)
    if norm in ("recalibrated", "gn"):
        changes = [f"model.norm={norm}", "model.frozen_stages=1"]
        frozen = load_recipe(path, FinetuneRecipe, overrides=changes)
        assert frozen == recipe.model_copy(update={"model": frozen.model})
        assert frozen.model.model_dump()["frozen_stages"] == 1


def test_a_recipe_of_the_old_form_is_refused_and_each_field_is_said_where_it_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(old_form(SMOKE.read_text()))
    with pytest.raises(RecipeError, match="has the form of earlier versions") as error:
        load_recipe(path, PretrainRecipe, overrides=[])
    lines = [line.strip() for line in str(error.value).splitlines()[1:]]
    assert len(lines) == 10
    assert "model.backbone is now body.backbone" in lines
    assert "model.temperature is now method.temperature" in lines
    assert lines[-1] == "method.name is new: simclr"


def test_a_plan_that_changes_fields_of_the_old_form_is_told_where_they_are(tmp_path: Path) -> None:
    changes = ["pretrainings.simclr.set={model: {temperature: 0.1}}"]
    plan = load_recipe(recipe_path("plans/smoke"), Plan, overrides=changes)
    with pytest.raises(RecipeError, match=r"model\.temperature is now method\.temperature"):
        trainings(plan, tmp_path)


def test_the_recipe_in_the_folder_of_an_old_run_is_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(old_form(SMOKE.read_text()))
    expected = load_recipe(SMOKE, PretrainRecipe, overrides=[])
    assert load_run_recipe(tmp_path, PretrainRecipe) == expected


def test_a_rule_of_the_recipe_is_told_in_its_own_words_alone() -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(SMOKE, PretrainRecipe, overrides=["batch_size=1"])
    assert "needs at least 2 images a batch" in str(error.value)
    assert "Value error" not in str(error.value)
    assert "(got" not in str(error.value)

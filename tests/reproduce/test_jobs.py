"""What a plan comes to: commands that run by hand, and faults named before anything is trained."""

import json
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cxrssl.config.load import load_recipe, to_yaml
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import RecipeError, RunError
from cxrssl.core.files import write_text
from cxrssl.reproduce.checks import check, write_plan
from cxrssl.reproduce.jobs import Training, data_jobs, trainings
from cxrssl.reproduce.resources import Resources
from made_runs import ANY_START
from made_runs import made_plan as plan
from support import old_form


def by_name(runs: list[Training]) -> dict[str, Training]:
    return {run.job.name: run for run in runs}


def test_ssl_and_control_are_told_the_same_but_for_the_backbone() -> None:
    runs = by_name(trainings(plan(), Path("runs/x")))
    ssl, control = runs["ssl-50-seed0"].recipe, runs["control-50-seed0"].recipe
    assert isinstance(ssl, FinetuneRecipe)
    assert isinstance(control, FinetuneRecipe)
    assert ssl.init.backbone == Path("runs/x/pretrain-simclr-50-seed0/backbone")
    blank = ssl.init.model_copy(update={"backbone": None})
    assert ssl.model_copy(update={"init": blank}) == control


def test_pool_and_labels_are_what_is_left_of_each_other() -> None:
    fractions = plan("label_fractions=[0.1, 0.5, 0.9, 1.0]")
    for run in trainings(fractions, Path("runs/x")):
        if isinstance(run.recipe, PretrainRecipe):
            percent = float(run.job.name.split("-")[2])
            assert run.recipe.data.pool_fraction == pytest.approx(1 - percent / 100, abs=1e-12)


def test_a_command_says_all_that_its_recipe_says() -> None:
    for run in trainings(plan(), Path("runs/with space")):
        command, path, *options = run.job.arguments
        overrides = [value for key, value in pairwise(options) if key == "--set"]
        kind = PretrainRecipe if command == "pretrain" else FinetuneRecipe
        assert load_recipe(Path(path), kind, overrides=overrides) == run.recipe
        assert shlex.split(shlex.join(run.job.arguments)) == list(run.job.arguments)


def test_a_start_that_is_drawn_needs_the_weights_that_it_is_drawn_like() -> None:
    asked: list[tuple[str, str]] = []

    def missing(start: str, architecture: str) -> str | None:
        asked.append((start, architecture))
        return "not at hand"

    drawn = "{title: drawn, set: {init: {start: mean_var}}}"
    of_ssl = "{title: drawn like SSL, pretraining: simclr, set: {init: {start: mean_var}}}"
    changed = plan(f"initialisations={{drawn: {drawn}, of_ssl: {of_ssl}}}")
    runs = trainings(changed, Path("runs/x"))
    recipe = by_name(runs)["of_ssl-50-seed0"].recipe
    assert isinstance(recipe, FinetuneRecipe)
    assert (recipe.init.start, recipe.init.backbone is None) == ("mean_var", False)
    with pytest.raises(RunError, match=r"2 run\(s\), such as drawn-100-seed0, start from imagen"):
        check(changed, runs, Resources({}, missing))
    assert asked == [("imagenet", "test_resnet")]


def test_faulty_arms_split_and_pool_as_the_published_code_does() -> None:
    runs = by_name(trainings(plan(name="demo"), Path("runs/x")))
    expected = {
        "ssl-50-seed0": ("corrected", None),
        "p4-ssl-50-seed0": ("published", "seeded"),
        "p4-pretrain-simclr-50-seed0": ("published", "seeded"),
        "p4p5-ssl-50-seed0": ("published", "table"),
        "p4p5-pretrain-simclr-50-seed0": ("published", "table"),
        "p4p5-control-50-seed0": ("published", "table"),
    }
    sections = {name: runs[name].recipe.data for name in expected}
    assert {n: (data.protocol, data.label_order) for n, data in sections.items()} == expected
    backbone = runs["p4p5-ssl-50-seed0"].recipe
    assert isinstance(backbone, FinetuneRecipe)
    assert backbone.init.backbone == Path("runs/x/p4p5-pretrain-simclr-50-seed0/backbone")


def test_an_external_pool_has_a_store_of_its_own() -> None:
    described = "protocol=described", "finetuning.set={data: {normals: false}}"
    smoke = plan("data.pool=films", "pretrainings.simclr.pool=external", *described)
    jobs = {job.name: job for job in data_jobs(smoke, Path("runs/x"))}
    assert jobs["ingest-pool"].arguments[:3] == ("ingest", "films", "runs/x/pool")
    run = by_name(trainings(smoke, Path("runs/x")))["pretrain-simclr-seed0"]
    assert run.job.needs == ("ingest-pool",)
    assert run.recipe.data.store == Path("runs/x/pool")
    assert run.recipe.data.protocol == "corrected"  # the others know only images with findings
    assert "ingest-pool" not in {job.name for job in data_jobs(plan(), Path("runs/x"))}


MADE = "{images: 40, seed: 77, normal_share: 0.1, min_side_px: 200, max_side_px: 260}"


def test_a_made_pool_is_made_and_ingested_with_its_hidden_labels() -> None:
    smoke = taught("external", f"data.pool_phantom={MADE}")
    jobs = {job.name: job for job in data_jobs(smoke, Path("runs/x"))}
    made, ingest = jobs["phantom-pool"], jobs["ingest-pool"]
    assert made.arguments[:6] == (
        "phantom",
        "runs/x/phantom-pool",
        "--images",
        "40",
        "--seed",
        "77",
    )
    assert ingest.needs == ("phantom-pool",)
    assert ingest.arguments[:3] == ("ingest", "runs/x/phantom-pool", "runs/x/pool")
    assert ingest.arguments[-2:] == ("--layout", "kaggle")


def test_a_pretraining_on_a_made_pool_takes_all_of_it_without_labels() -> None:
    changes = f"data.pool_phantom={MADE}", "pretrainings.simclr.pool=external"
    smoke = plan(*changes)
    jobs = {job.name: job for job in data_jobs(smoke, Path("runs/x"))}
    unread = jobs["ingest-pool-unread"]
    assert unread.arguments[:3] == ("ingest", "runs/x/phantom-pool", "runs/x/pool-unread")
    assert unread.arguments[-2:] == ("--layout", "images")
    run = by_name(trainings(smoke, Path("runs/x")))["pretrain-simclr-seed0"]
    assert run.job.needs == ("ingest-pool-unread",)
    assert run.recipe.data.store == Path("runs/x/pool-unread")
    assert run.visits(labelled=20, pool=40) == 40 * run.recipe.epochs
    alone = {job.name for job in data_jobs(taught("external", changes[0]), Path("runs/x"))}
    assert "ingest-pool-unread" not in alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((f"data.pool_phantom={MADE}", "data.pool=films"), "pool and pool_phantom are both there"),
        (
            (f"data.pool_phantom={MADE}", "data.phantom.seed=77"),
            "have the seed 77, and so the same",
        ),
    ],
)
def test_a_made_pool_that_can_not_be_is_refused(changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plan(*changes)


def test_a_pretraining_after_another_starts_from_its_backbone() -> None:
    chain = (
        "pretrainings={wide: {recipe: pretrain/smoke, pool: train}, "
        "simclr: {recipe: pretrain/smoke, pool: rest, after: wide}}"
    )
    runs = trainings(plan(chain), Path("runs/x"))
    order = [run.job.name for run in runs]
    later = by_name(runs)["pretrain-simclr-50-seed0"]
    assert order.index("pretrain-wide-seed0") < order.index(later.job.name)
    assert later.job.needs == ("ingest", "pretrain-wide-seed0")
    assert isinstance(later.recipe, PretrainRecipe)
    assert later.recipe.body.weights == Path("runs/x/pretrain-wide-seed0/backbone")


TEACHER = (
    "{batch_size: 2, burn_in_steps: 1, threshold: 0.5, weight: 1.0, ramp_steps: 0, "
    "relation_weight: 0.0, known_normals: false, pseudo_boxes: teacher}"
)
AUGMENT = (
    "{scale: [0.7, 1.4], shift: 0.1, rotation_degrees: 5.0, gamma: [1.0, 1.0], "
    "contrast: [1.0, 1.0], brightness: [0.0, 0.0], blur_sigma_px: [0.0, 0.0], "
    "noise_share: [0.0, 0.0], cutout: null}"
)
EMA = "ema: {decay: 0.9}"
TAUGHT = (
    f"treatments={{taught: {{title: taught, set: {{{EMA}, unlabelled: {TEACHER}}}, "
    f"controls: [ema], unlabelled_pool: POOL}}, ema: {{title: EMA, set: {{{EMA}}}}}}}"
)


def taught(pool: str, *changes: str) -> Plan:
    """Return a plan whose teacher has the images of a pool, and whose control is EMA alone."""
    return plan("initialisations=null", TAUGHT.replace("POOL", pool), *changes)


def finetuning(smoke: Plan, name: str) -> FinetuneRecipe:
    recipe = by_name(trainings(smoke, Path("runs/x")))[name].recipe
    assert isinstance(recipe, FinetuneRecipe)
    return recipe


def test_a_treatment_sets_entire_sections_single_fields_and_none() -> None:
    base = f"finetuning.set={{max_steps: 4, augment: {AUGMENT}}}"
    changed = "treatments.ema.set={augment: null}", "treatments.taught.set.augment={shift: 0.2}"
    smoke = taught("rest", base, *changed)
    runs = by_name(trainings(smoke, Path("runs/x")))
    recipes = [runs[f"{name}-50-seed0"].recipe for name in ("taught", "ema")]
    assert all(isinstance(recipe, FinetuneRecipe) for recipe in recipes)
    first, second = recipes
    assert first.augment.scale == (0.7, 1.4)
    assert first.augment.shift == 0.2
    assert second.augment is None
    assert (first.max_steps, second.max_steps) == (4, 4)
    for run in runs.values():
        _, path, *options = run.job.arguments
        overrides = [value for key, value in pairwise(options) if key == "--set"]
        assert load_recipe(Path(path), FinetuneRecipe, overrides=overrides) == run.recipe


def test_the_plan_decides_where_a_teachers_images_are() -> None:
    rest = finetuning(taught("rest"), "taught-50-seed0")
    assert rest.unlabelled is not None
    assert rest.unlabelled.store is None
    smoke = taught("external", "data.pool=films")
    run = by_name(trainings(smoke, Path("runs/x")))["taught-100-seed0"]
    assert isinstance(run.recipe, FinetuneRecipe)
    assert run.recipe.unlabelled is not None
    assert run.recipe.unlabelled.store == Path("runs/x/pool")
    assert run.job.needs == ("ingest", "ingest-pool")
    assert "ingest-pool" in {job.name for job in data_jobs(smoke, Path("runs/x"))}
    control = by_name(trainings(smoke, Path("runs/x")))["ema-100-seed0"]
    assert control.job.needs == ("ingest",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["treatments.taught.unlabelled_pool=null"], "set treatments.taught.unlabelled_pool to"),
        (["treatments.ema.unlabelled_pool=rest"], "ema has unlabelled_pool rest, and its recipe"),
        (["treatments.taught.set={unlabelled: null}"], "taught has unlabelled_pool rest, and its"),
        (
            [f"finetuning.set={{{EMA}, unlabelled: {TEACHER}}}"],
            "set treatments.ema.unl",
        ),
        (
            ["treatments.taught.set={unlabelled: {weight: 1.0}}"],
            r"treatment taught, as the plan changes it: [^\n]*\n  unlabelled\.batch_size: F",
        ),
        (["treatments.ema.set={ema: {}}"], "ema.decay: Field required"),
        (["treatments.ema.set={gates: {}}"], "set changes gates: a treatment may change init"),
    ],
)
def test_a_teacher_without_images_or_the_other_way_round_is_refused(
    changes: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        trainings(taught("rest", *changes), Path("runs/x"))


def test_a_teachers_images_are_work_and_no_labelled_steps() -> None:
    runs = by_name(trainings(taught("rest", "finetuning.set={max_steps: 5}"), Path("runs/x")))
    first, second = runs["taught-50-seed0"], runs["ema-50-seed0"]
    batch = second.recipe.batch_size
    assert first.visits(labelled=100, pool=0) == second.visits(labelled=100, pool=0) == 5 * batch
    assert second.work(labelled=100, pool=0) == 5 * batch
    assert first.work(labelled=100, pool=0) == 5 * batch + 4 * 2  # after one step of burn-in


def test_a_run_of_a_fold_has_its_seed_where_seeds_are_fresh() -> None:
    folds = "data.source=x", "data.folds=2", "seeds=[0, 3]"
    runs = by_name(trainings(plan(*folds, "data.fresh_seeds=true"), Path("runs/x")))
    before = by_name(trainings(plan(*folds), Path("runs/x")))
    assert list(runs) == list(before)
    names = ("ssl-50-fold1-seed3", "ssl-50-fold2-seed3", "control-50-fold2-seed3")
    assert [runs[name].recipe.seed for name in names] == [6, 7, 7]
    assert [before[name].recipe.seed for name in names] == [3, 3, 3]
    assert runs["pretrain-simclr-50-fold2-seed3"].recipe.seed == 7  # hides the labels of that run
    external = "data.pool=films", "pretrainings.simclr.pool=external", "data.fresh_seeds=true"
    shared = by_name(trainings(plan(*folds, *external), Path("runs/x")))
    assert shared["pretrain-simclr-seed3"].recipe.seed == 3
    assert shared["ssl-50-fold2-seed3"].recipe.seed == 7


def test_pairs_that_differ_in_more_than_the_treatment_are_refused(tmp_path: Path) -> None:
    pasted = (
        "treatments.ema.set={paste: {largest_side: 0.2, repeats: 3.0, probability: 0.5, most: 1, "
        "scale: [1.0, 1.0], rotation_degrees: 0.0, within: []}}"
    )
    by_epochs = taught("rest", pasted, "finetuning.set={max_steps: null}")
    with pytest.raises(RunError, match="taught-50-seed0 can't be compared with its control ema-50"):
        check(by_epochs, trainings(by_epochs, tmp_path), ANY_START)
    by_steps = taught("rest", pasted, "finetuning.set={max_steps: 3, epochs: 3}")
    runs = trainings(by_steps, tmp_path)
    check(by_steps, runs, ANY_START)
    longer = [
        replace(run, recipe=run.recipe.model_copy(update={"max_steps": 4}))
        if run.job.name.startswith("taught")
        else run
        for run in runs
    ]
    with pytest.raises(RunError, match="control ema-50-seed0: max_steps is 4 and 3"):
        check(by_steps, longer, ANY_START)


def test_a_plan_begun_under_the_old_name_goes_on(tmp_path: Path) -> None:
    smoke = plan()
    before = to_yaml(smoke).replace("treatments:", "initialisations:")
    before = "".join(
        line
        for line in before.splitlines(keepends=True)
        if "unlabelled_pool" not in line and "fresh_seeds" not in line
    )
    assert "initialisations:\n  ssl:" in before
    write_text(tmp_path / "plan.yaml", before)
    write_plan(tmp_path, smoke, [])
    assert load_recipe(tmp_path / "plan.yaml", Plan, overrides=[]) == smoke
    assert [run.job.name for run in trainings(smoke, tmp_path)] == [
        "control-100-seed0",
        "pretrain-simclr-50-seed0",
        "ssl-50-seed0",
        "control-50-seed0",
    ]
    with pytest.raises(RunError, match="another plan: treatments differ"):
        write_plan(tmp_path, plan("initialisations.control.title=other"), [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("finetuning.recipe=finetune/smok", "^Not found: finetune/smok.* Did you mean finetune/sm"),
        ("finetuning.set={epochs: 0}", "epochs: Input should be greater than or equal to 1"),
        ("finetuning.set={epoch: 1}", "a recipe has no key epoch"),
        ("finetuning.set={seed: 3}", "control-100-seed0: seed can't be set for a recipe of a plan"),
        ("finetuning.set={data: {store: x}}", "data.store can't be set"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        trainings(plan(change), Path("runs/x"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["answer.label_fraction=1.0"], "answer is about ssl with 1 of the labels, and it has no"),
        (["initialisations.ssl.label_fractions=[1.0]"], "answer is about ssl with 0.5 of the"),
        (["initialisations.control.label_fractions=[0.5]"], "control has arms at 1 label share"),
        (["label_fractions=[0.5]"], "control has arms at 1 label share"),
        (["data.source=nowhere"], "data.source is nowhere, and there is no such folder"),
        (
            ["finetuning.set={model: {backbone: resnet18}}"],
            "ssl-50-seed0 has the backbone resnet18, and what it starts from test_resnet",
        ),
        (
            ["finetuning.set={intensity: {equalize: false}}"],
            "ssl-50-seed0 sees other grey levels than what it starts from",
        ),
        (
            ["initialisations.control.set={init: {backbone: 'hf-hub:org/no@v1'}}"],
            "hf-hub:org/no@v1 is to be started from: org/no@v1 is not complete in the cache",
        ),
        (
            ["finetuning.set={init: {start: imagenet, weights: no.safetensors}}"],
            "control-100-seed0 starts from no.safetensors, and there is no such file",
        ),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(
    changes: list[str], message: str, tmp_path: Path
) -> None:
    smoke = plan(*changes)
    with pytest.raises(RunError, match=message) as error:
        check(smoke, trainings(smoke, tmp_path), ANY_START)
    assert "nothing has been trained" in str(error.value)


def test_a_run_of_another_recipe_is_not_taken_for_this_plans(tmp_path: Path) -> None:
    smoke = plan()
    runs = trainings(smoke, tmp_path)
    run = by_name(runs)["control-50-seed0"]
    write_text(run.folder / "recipe.yaml", to_yaml(run.recipe))
    check(smoke, runs, ANY_START)
    longer = run.recipe.model_copy(update={"epochs": run.recipe.epochs + 1})
    write_text(run.folder / "recipe.yaml", to_yaml(longer))
    with pytest.raises(RunError, match=f"{run.folder} holds a run of another recipe"):
        check(smoke, runs, ANY_START)


def test_a_plans_folder_may_be_moved(tmp_path: Path) -> None:
    smoke = plan()
    for run in trainings(smoke, tmp_path / "old"):
        write_text(tmp_path / "new" / run.folder.name / "recipe.yaml", to_yaml(run.recipe))
    check(smoke, trainings(smoke, tmp_path / "new"), ANY_START)


def test_a_run_from_another_pretraining_is_another_run(tmp_path: Path) -> None:
    smoke = plan()
    runs = trainings(smoke, tmp_path)
    run = by_name(runs)["ssl-50-seed0"]
    assert isinstance(run.recipe, FinetuneRecipe)
    before = run.recipe.init.model_copy(update={"backbone": tmp_path / "pretrain-x-seed0/backbone"})
    write_text(run.folder / "recipe.yaml", to_yaml(run.recipe.model_copy(update={"init": before})))
    with pytest.raises(RunError, match=f"{run.folder} holds a run of another recipe"):
        check(smoke, runs, ANY_START)


def test_what_a_later_pretraining_starts_from_need_not_be_there_yet(tmp_path: Path) -> None:
    smoke = plan(
        "pretrainings={wide: {recipe: pretrain/smoke, pool: train}, "
        "simclr: {recipe: pretrain/smoke, pool: rest, after: wide}}"
    )
    check(smoke, trainings(smoke, tmp_path), ANY_START)


def test_a_source_may_be_named_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films").mkdir()
    monkeypatch.chdir(tmp_path)
    write_plan(tmp_path / "x", plan("data.source=films"), [])
    write_plan(tmp_path / "x", plan(f"data.source={tmp_path}/films"), [])
    with pytest.raises(RunError, match="another plan: data"):
        write_plan(tmp_path / "x", plan(f"data.source={tmp_path}"), [])


def test_a_plan_may_grow_and_not_change(tmp_path: Path) -> None:
    grown = ("seeds=[0, 1]", "label_fractions=[0.25, 0.5, 1.0]")
    write_plan(tmp_path, plan(), [])
    write_plan(tmp_path, plan(*grown), [])
    write_plan(tmp_path, plan(*grown, "slurm={gpus: 0}"), [])
    reading = "answer.reading={seconds_per_image: 30, seconds_per_box: 10}"
    write_plan(tmp_path, plan(*grown, "answer.target={AP50: 0.6}", reading), [])
    with pytest.raises(RunError, match="holds runs of another plan: label_fractions, seeds differ"):
        write_plan(tmp_path, plan("seeds=[1]"), [])
    with pytest.raises(RunError, match="another plan: data"):
        write_plan(tmp_path, plan(*grown, "data.size_px=96"), [])
    with pytest.raises(RunError, match="another plan: answer"):  # it was named before the runs
        write_plan(tmp_path, plan(*grown, "answer.metric=AP"), [])


def test_a_plan_begun_in_the_old_form_of_recipes_goes_on(tmp_path: Path) -> None:
    films = {"model": {"temperature": 0.1}}
    before = f"pretrainings.simclr.set={json.dumps(films)}"
    now = "pretrainings.simclr.set={method: {temperature: 0.1}}"
    write_text(tmp_path / "plan.yaml", to_yaml(plan(before)))
    write_plan(tmp_path, plan(now), [])
    with pytest.raises(RunError, match="another plan: pretrainings"):
        write_plan(tmp_path, plan("pretrainings.simclr.set={method: {temperature: 0.2}}"), [])
    runs = trainings(plan(now), tmp_path)
    run = by_name(runs)["pretrain-simclr-50-seed0"]
    write_text(run.folder / "recipe.yaml", old_form(to_yaml(run.recipe)))
    check(plan(now), runs, ANY_START)


def test_what_is_no_plans_is_left_alone(tmp_path: Path) -> None:
    for made in ("phantom", "x-50-seed0"):
        (tmp_path / made / made).mkdir(parents=True)
        content = made if made == "phantom" else "runs"
        with pytest.raises(
            RunError, match=f"holds {content} and no plan.yaml, so it is not the folder of a plan"
        ):
            write_plan(tmp_path / made, plan(), [])
    assert not (tmp_path / "plan.yaml").exists()


def test_a_cut_run_that_was_moved_goes_on_under_its_new_paths(tmp_path: Path) -> None:
    smoke = plan()
    old, new = (trainings(smoke, tmp_path / name) for name in ("old", "new"))
    write_text(tmp_path / "new/plan.yaml", to_yaml(smoke))
    for before, now in zip(old, new, strict=True):
        write_text(now.folder / "recipe.yaml", to_yaml(before.recipe))
    check(smoke, new, ANY_START)
    done = new.pop(0)  # its recipe says what it was made with
    recipe = (done.folder / "recipe.yaml").read_text()
    write_text(done.job.product, "{}")
    write_plan(tmp_path / "new", smoke, [done, *new])
    assert (done.folder / "recipe.yaml").read_text() == recipe
    assert {run.folder: (run.folder / "recipe.yaml").read_text() for run in new} == {
        run.folder: to_yaml(run.recipe) for run in new
    }

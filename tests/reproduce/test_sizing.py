"""A plan for own data: sized by a budget, once for its folder, with the starts that are at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cxrssl.config.load import load_recipe, recipe_path, to_yaml
from cxrssl.config.plan import Plan, within
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.duration import hours_of
from cxrssl.core.errors import RecipeError, RunError
from cxrssl.jobs.local import job_environments
from cxrssl.reproduce.checks import check, write_plan
from cxrssl.reproduce.costs import print_costs
from cxrssl.reproduce.images import PlanImages, check_images
from cxrssl.reproduce.jobs import data_jobs, trainings
from cxrssl.reproduce.resources import Resources
from cxrssl.reproduce.sizing import sized


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 100 films, of which 20 were not read."""
    folder = tmp_path_factory.mktemp("films")
    rows = ["image,label,xmin,ymin,xmax,ymax"]
    for number in range(100):
        noise = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(noise).save(folder / f"f{number}.png")
        if number < 80:
            rows.append(f"f{number}.png,mass,1,2,9,9")
    (folder / "boxes.csv").write_text("\n".join(rows))
    return folder


def own(films: Path, budget: str) -> Plan:
    plan = load_recipe(recipe_path("own", "plan"), Plan, overrides=[f"data.source={films}"])
    return within(plan, hours_of(budget))


def machine(seconds_160: float, *, imagenet: bool) -> Resources:
    """Return a machine on which an image takes so long, by its area."""

    def timed(recipe: FinetuneRecipe | PretrainRecipe, _device: torch.device) -> float:
        size_px = recipe.size_px if isinstance(recipe, FinetuneRecipe) else recipe.views.size_px
        deep = 4 if recipe.backbone == "resnet50" else 1
        return seconds_160 * deep * (size_px / 160) ** 2

    def fault_of_start(_start: str, _architecture: str) -> str | None:
        return None if imagenet else "not at hand"

    return Resources({"pretrain": timed, "finetune": timed}, fault_of_start)


def cost_s(plan: Plan, out: Path, resources: Resources) -> float:
    """Return the seconds of all training steps."""
    total = 0.0
    for run in trainings(plan, out):
        assert run.recipe.max_steps is not None
        an_image = resources.timed[run.job.arguments[0]](run.recipe, torch.device("cpu"))
        total += an_image * run.recipe.batch_size * run.recipe.max_steps
    return total


@pytest.mark.parametrize("imagenet", [False, True])
@pytest.mark.parametrize("budget", ["45m", "3h", "2d"])
def test_all_runs_fit_into_the_budget_and_use_most_of_it_or_all_steps(
    films: Path, budget: str, imagenet: bool, tmp_path: Path
) -> None:
    resources = machine(0.03, imagenet=imagenet)
    plan = sized(own(films, budget), tmp_path, resources)
    check(plan, trainings(plan, tmp_path), resources)
    core_s = 3600 * hours_of(budget) * len(job_environments())
    used = cost_s(plan, tmp_path, resources) / core_s
    assert used < 0.75
    assert plan.sizing is not None
    assert plan.sizing.decided is not None
    assert used > 0.2 or plan.sizing.decided.finetune_steps == 5000
    assert plan.data.size_px == plan.sizing.tiers[plan.sizing.decided.tier].size_px


def test_a_larger_budget_takes_larger_images_and_all_seeds(films: Path, tmp_path: Path) -> None:
    resources = machine(0.05, imagenet=False)
    plans = [sized(own(films, text), tmp_path, resources) for text in ("20m", "2h", "4d")]
    sizes = [plan.data.size_px for plan in plans]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == 512
    assert [len(plan.seeds) for plan in plans] == sorted(len(plan.seeds) for plan in plans)
    assert len(plans[-1].seeds) == 3
    assert plans[-1].label_fractions == (0.1, 0.2, 0.5, 1.0)


def test_a_budget_that_takes_nothing_says_how_much_would_do(films: Path, tmp_path: Path) -> None:
    slow = machine(5.0, imagenet=True)
    with pytest.raises(
        RunError, match=r"budget of 10 min is too small .* --budget [0-9.]+[mh]"
    ) as e:
        sized(own(films, "10m"), tmp_path, slow)
    needed = str(e.value).rsplit("--budget ", 1)[1].rstrip(".")
    sized(own(films, needed), tmp_path, slow)


def test_starts_are_those_at_hand(films: Path, tmp_path: Path) -> None:
    without = sized(own(films, "2h"), tmp_path, machine(0.03, imagenet=False))
    assert list(without.treatments) == ["ssl", "random"]
    assert not any(job.name == "weights" for job in data_jobs(without, tmp_path))
    plan = sized(own(films, "2h"), tmp_path, machine(0.03, imagenet=True))
    assert list(plan.treatments) == ["ssl", "imagenet", "random"]
    assert plan.treatments["ssl"].controls == ("imagenet",)
    (weights,) = [job for job in data_jobs(plan, tmp_path) if job.name == "weights"]
    for run in trainings(plan, tmp_path):
        recipe = run.recipe
        section = recipe.init if isinstance(recipe, FinetuneRecipe) else recipe.body
        needs_file = section.weights is not None
        assert needs_file == (section.start == "imagenet")
        assert (weights.name in run.job.needs) == needs_file
        if needs_file:
            assert section.weights == weights.product


def test_a_sized_plan_decides_its_treatments_and_drops_none(films: Path, tmp_path: Path) -> None:
    more = "treatments={aug: {title: aug, set: {ema: {decay: 0.9}}, controls: [random]}}"
    plan = load_recipe(recipe_path("own", "plan"), Plan, overrides=[f"data.source={films}", more])
    with pytest.raises(
        RecipeError, match=r"has the starts ssl and random, .* this one has aug too"
    ):
        sized(plan, tmp_path, machine(0.03, imagenet=False))


def test_unread_films_are_in_the_pool(films: Path, tmp_path: Path) -> None:
    plan = sized(own(films, "2h"), tmp_path, machine(0.03, imagenet=False))
    (recipe,) = {
        run.recipe.data.unread
        for run in trainings(plan, tmp_path)
        if isinstance(run.recipe, PretrainRecipe)
    }
    assert recipe


def test_what_was_decided_stays_for_the_folder(films: Path, tmp_path: Path) -> None:
    plan = own(films, "2h")
    first = sized(plan, tmp_path, machine(0.03, imagenet=True))
    write_plan(tmp_path, first, trainings(first, tmp_path))
    assert sized(plan, tmp_path, machine(9.0, imagenet=False)) == first
    with pytest.raises(RunError, match=r"was sized for 2.0 h, .* Say --budget 2h to go on there"):
        sized(own(films, "3h"), tmp_path, machine(0.03, imagenet=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("plan", "holds runs of another plan: .*sizing.* differ"),
        ("tiers", "holds runs of another plan: .*sizing differ"),
        ("broken", "is not a plan of this version"),
        ("store", "holds store and no plan.yaml"),
    ],
)
def test_the_folder_of_something_else_is_refused_before_anything_is_measured(
    films: Path, tmp_path: Path, content: str, message: str
) -> None:
    def never(_recipe: object, _device: torch.device) -> float:
        raise AssertionError("measured")

    if content == "store":
        (tmp_path / "store").mkdir()
    elif content == "tiers":
        first = sized(own(films, "2h"), tmp_path, machine(0.03, imagenet=False))
        assert first.sizing is not None
        tiers = {"tiers": (*first.sizing.tiers, first.sizing.tiers[-1])}
        other = first.model_copy(update={"sizing": first.sizing.model_copy(update=tiers)})
        write_plan(tmp_path, other, [])
    else:
        smoke = load_recipe(recipe_path("smoke", "plan"), Plan, overrides=[])
        (tmp_path / "plan.yaml").write_text(to_yaml(smoke) if content == "plan" else "seeds: x\n")
    measured = Resources({"pretrain": never, "finetune": never}, lambda *_: None)
    with pytest.raises(RunError, match=message):
        sized(own(films, "2h"), tmp_path, measured)


def test_batches_are_no_larger_than_the_pool(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    rows = ["image,label,xmin,ymin,xmax,ymax"]
    for number in range(40):
        Image.new("L", (16, 16), number).save(folder / f"{number}.png")
        rows.append(f"{number},mass,1,2,9,9")
    (folder / "boxes.csv").write_text("\n".join(rows))
    plan = sized(own(folder, "4d"), tmp_path / "out", machine(0.03, imagenet=False))
    runs = [
        r.recipe for r in trainings(plan, tmp_path / "out") if isinstance(r.recipe, PretrainRecipe)
    ]
    assert {recipe.batch_size for recipe in runs} == {int(0.9 * plan.sizing.decided.images)}
    check_images(PlanImages(plan, tmp_path / "out"), trainings(plan, tmp_path / "out"))
    fixed = load_recipe(
        recipe_path("own", "plan"), Plan, overrides=[f"data.source={folder}", "sizing=null"]
    )
    with pytest.raises(RunError, match=r"pretrain-simclr-seed0 has about \d+ images to learn from"):
        check_images(PlanImages(fixed, tmp_path / "out"), trainings(fixed, tmp_path / "out"))


def test_a_plan_of_fixed_sizes_takes_no_budget() -> None:
    plan = load_recipe(recipe_path("smoke", "plan"), Plan, overrides=[])
    with pytest.raises(RecipeError, match="smoke has no section sizing"):
        within(plan, 1.0)


def test_few_images_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    rows = ["image,label,xmin,ymin,xmax,ymax"]
    for number in range(6):
        Image.new("L", (16, 16), number).save(folder / f"{number}.png")
        rows.append(f"{number},mass,1,2,9,9")
    (folder / "boxes.csv").write_text("\n".join(rows))
    with pytest.raises(RunError, match="a curve needs two shares"):
        sized(own(folder, "2h"), tmp_path / "out", machine(0.03, imagenet=True))


def test_a_dry_run_says_the_sizes_and_what_it_would_say(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_costs(own(films, "2h"), tmp_path / "runs", machine(0.03, imagenet=True))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Sized for 2.0 h: EfficientNet-Lite0 at" in printed
    assert "ImageNet weights of tf_efficientnet_lite0 are at hand." in printed
    assert "It would say which share of the labels ImageNet needs to reach the AP50 of" in printed
    assert "So few test images leave intervals wide" in printed
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "hours"), [("30m", 0.5), ("2h", 2), ("1.5 D", 36), ("90 min", 1.5), ("2hours", 2)]
)
def test_a_time_is_read(text: str, hours: float) -> None:
    assert hours_of(text) == hours


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "0h", "1e9h", "nanh", "2 weeks", "20000h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one such as 30m"):
        hours_of(text)

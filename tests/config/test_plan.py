"""Plans: which runs follow from them, and every fault named before anything is run."""

from pathlib import Path

import pytest
import yaml

from cxrssl.config.arms import Arm, arms_of, pretrainings_of
from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan
from cxrssl.core.errors import RecipeError
from made_runs import made_plan as plan
from support import ROOT

SMOKE = ROOT / "recipes/plans/smoke.yaml"


def names(arms: list[Arm]) -> list[str]:
    return [arm.name for arm in arms]


def test_where_the_pool_is_the_rest_no_ssl_arm_sees_all_labels() -> None:
    arms = arms_of(plan("label_fractions=[0.1, 0.5, 1.0]", "seeds=[0, 3]"))
    assert names(arms) == [
        *("control-100-seed0", "control-100-seed3"),
        *("ssl-50-seed0", "ssl-50-seed3", "control-50-seed0", "control-50-seed3"),
        *("ssl-10-seed0", "ssl-10-seed3", "control-10-seed0", "control-10-seed3"),
    ]


def test_there_is_one_pretraining_for_each_share_and_seed_where_the_pool_is_the_rest() -> None:
    arms = arms_of(plan("label_fractions=[0.1, 0.5, 1.0]", "seeds=[0, 3]"))
    runs = pretrainings_of(arms)
    assert sorted(run.name for run in runs) == [
        *("pretrain-simclr-10-seed0", "pretrain-simclr-10-seed3"),
        *("pretrain-simclr-50-seed0", "pretrain-simclr-50-seed3"),
    ]


def test_there_is_one_pretraining_a_seed_on_a_pool_that_labels_do_not_change() -> None:
    arms = arms_of(
        plan("label_fractions=[0.1, 0.5, 1.0]", "seeds=[0, 3]", "pretrainings.simclr.pool=train")
    )
    assert {run.name for run in pretrainings_of(arms)} == {
        "pretrain-simclr-seed0",
        "pretrain-simclr-seed3",
    }
    assert sum(arm.treatment == "ssl" for arm in arms) == 6  # all labels among them


def test_pretrainings_that_follow_another_come_after_it() -> None:
    chain = (
        "pretrainings={wide: {recipe: pretrain/smoke, pool: train}, "
        "simclr: {recipe: pretrain/smoke, pool: rest, after: wide}}"
    )
    runs = pretrainings_of(arms_of(plan(chain)))
    assert [run.name for run in runs] == ["pretrain-wide-seed0", "pretrain-simclr-50-seed0"]
    assert runs[1].after == runs[0]


def test_a_pretraining_that_follows_one_of_the_rest_knows_its_share() -> None:
    chain = (
        "pretrainings={first: {recipe: pretrain/smoke, pool: rest}, "
        "simclr: {recipe: pretrain/smoke, pool: train, after: first}}"
    )
    arms = arms_of(plan(chain, "label_fractions=[0.25, 0.5, 1.0]"))
    assert {run.name for run in pretrainings_of(arms)} == {
        *("pretrain-first-25-seed0", "pretrain-simclr-25-seed0"),
        *("pretrain-first-50-seed0", "pretrain-simclr-50-seed0"),
    }
    assert "ssl-100-seed0" not in names(arms)


def test_faults_are_put_back_one_after_another() -> None:
    arms = [arm for arm in arms_of(plan(name="demo")) if arm.faults]
    assert names(arms) == [
        "p4-control-100-seed0",
        "p4-ssl-50-seed0",
        "p4p5-ssl-50-seed0",
        "p4p5-control-50-seed0",
    ]
    assert [arm.pretraining.name if arm.pretraining else None for arm in arms] == [
        None,
        "p4-pretrain-simclr-50-seed0",
        "p4p5-pretrain-simclr-50-seed0",
        None,
    ]


def test_a_treatment_may_have_arms_at_some_shares_alone() -> None:
    arms = arms_of(plan("data.source=.", name="paper"))
    assert [name for name in names(arms) if name.startswith("baseline")] == ["baseline-100-seed0"]
    assert sum(arm.treatment == "ssl" for arm in arms) == 9


NUM_RUNS = {"smoke": 4, "demo": 16, "paper": 19, "described": 38, "published": 10, "corrected": 132}


@pytest.mark.parametrize(("name", "num_runs"), NUM_RUNS.items())
def test_no_two_runs_of_a_plan_share_a_folder(name: str, num_runs: int) -> None:
    arms = arms_of(plan(name=name))
    folders = [*names(arms), *(run.name for run in pretrainings_of(arms))]
    assert len(set(folders)) == len(folders) == num_runs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("label_fractions=[0]", "label_fractions.0: Input should be greater than 0"),
        ("label_fractions=[1.5]", "label_fractions.0: Input should be less than or equal to 1"),
        ("label_fractions=[0.5, 0.5]", "label_fractions names one value twice"),
        ("label_fractions=[0.5, 0.50000001, 1.0]", "label_fractions names one value twice"),
        ("label_fractions=[0.3, 1.0]", "answer.label_fraction 0.5 is none of label_fractions"),
        ("answer.metric=mAP", "answer.metric: Input should be 'AP', 'AP50', 'AP40'"),
        ("answer.target={AP50: 1.0}", "answer.target.AP50: Input should be less than 1"),
        ("answer.target={AP75: 0.5}", "answer.target.AP75"),
        (
            "answer.reading={seconds_per_image: 30}",
            "answer.reading.seconds_per_box: Field required",
        ),
        ("seeds=[1, 1]", "seeds names one value twice"),
        ("seeds=[-1]", "seeds.0: Input should be greater than or equal to 0"),
        ("data.phantom=null", "source and phantom are both null"),
        ("faults=[0.3]", "faults need label_fractions of the same shares"),
        ("faults=[1.0]", "faults need label_fractions of the same shares"),
        (
            "initialisations={a: {title: one}, b: {title: one}}",
            "two treatments have one title",
        ),
        (
            "initialisations={ssl: {title: one, pretraining: none}}",
            "pretraining of treatment ssl: unknown pretraining 'none'; defined are: simclr",
        ),
        (
            "initialisations={ssl: {title: one, controls: [ssl]}}",
            "controls of treatment ssl: ssl is not another treatment",
        ),
        (
            "initialisations={ssl: {title: one, label_fractions: [0.7]}}",
            "label_fractions of treatment ssl are none of the plan's",
        ),
        ("initialisations={'a-b': {title: one}}", "String should match pattern"),
        (
            'initialisations.control.title="a\\nb"',
            "initialisations.control.title: String should match pattern",
        ),
        ("name=..", "name: String should match pattern"),
        (
            "initialisations.control.set={data: {fusion: union}}",
            "initialisations.control.set changes data: initialisations differ in their start alone",
        ),
        (
            "initialisations.ssl.controls=[control, control]",
            "controls names one twice",
        ),
        (
            "pretrainings={simclr: {recipe: pretrain/smoke, pool: rest, after: other}}",
            "pretrainings.simclr.after: unknown pretraining 'other'; defined are: simclr",
        ),
        (
            "pretrainings={simclr: {recipe: pretrain/smoke, pool: external}}",
            "pretrainings.simclr needs data.pool",
        ),
        (
            "pretrainings={simclr: {recipe: pretrain/smoke, pool: rest, after: b}, "
            "b: {recipe: pretrain/smoke, pool: rest, after: simclr}}",
            "pretrainings go in a circle: simclr after b after simclr",
        ),
        (
            "pretrainings={simclr: {recipe: pretrain/smoke, pool: rest, after: simclr}}",
            "pretrainings go in a circle: simclr after simclr",
        ),
    ],
)
def test_a_faulty_plan_is_refused(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plan(change)


def test_faults_go_back_into_the_corrected_protocol_alone() -> None:
    with pytest.raises(RecipeError, match="faults are put back into protocol corrected"):
        plan("protocol=described", "faults=[0.5]")


def test_two_initialisations_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twins.yaml"
    text = SMOKE.read_text().replace("  control:", "  ssl:")
    assert len(yaml.safe_load(text)["initialisations"]) == 1  # YAML alone takes the last one
    path.write_text(text)
    with pytest.raises(RecipeError, match="ssl"):
        load_recipe(path, Plan, overrides=[])

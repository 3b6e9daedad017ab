"""The answer says what the numbers say, by hand, and is silent where it must be."""

from pathlib import Path

import pytest

from cxrssl.core.errors import RunError
from cxrssl.report import answer, report
from cxrssl.run.arms import Arm, FinishedArm, Kind


def finished(kind: Kind, pool_percent: int, ap50: float | None, seed: int = 0) -> FinishedArm:
    result = {"metrics": {"AP50": {"value": ap50}}}
    return FinishedArm(Arm(kind, pool_percent, seed), Path(), result)


def arms(
    baseline: float | None, ssl: dict[int, float], control: dict[int, float]
) -> list[FinishedArm]:
    return [
        finished("baseline", 0, baseline),
        *(finished("ssl", percent, value) for percent, value in ssl.items()),
        *(finished("control", percent, value) for percent, value in control.items()),
    ]


def test_it_counts_wins_and_names_the_least_labels_that_keep_the_score() -> None:
    found = answer(arms(0.40, {10: 0.41, 50: 0.39, 90: 0.10}, {10: 0.40, 50: 0.35, 90: 0.16}))
    assert "SSL is ahead of its control at 2 of 3 label shares (AP50 -0.003 on average)" in found
    assert "95 % of the all-label AP50 (0.400) is kept with 50 % of the labels after SSL" in found
    assert found.endswith("and with 90 % of the labels without.")


def test_no_gap_has_no_sign_and_no_share_is_invented() -> None:
    found = answer(arms(0.40, {50: 0.3}, {50: 0.3}))
    assert "at 0 of 1 label shares (AP50 +0.000 on average)" in found
    assert found.endswith(
        "kept at no smaller share of the labels after SSL "
        "and at no smaller share of the labels without."
    )


def test_seeds_are_averaged() -> None:
    found = answer(
        [
            finished("baseline", 0, 0.2),
            finished("baseline", 0, 0.6, seed=1),
            *(finished("ssl", 50, value, seed) for seed, value in enumerate((0.5, 0.3))),
            *(finished("control", 50, value, seed) for seed, value in enumerate((0.1, 0.2))),
        ]
    )
    assert "at 1 of 1 label shares (AP50 +0.250 on average)" in found
    assert "all-label AP50 (0.400) is kept with 50 % of the labels after SSL" in found


def test_nothing_is_said_about_labels_saved_where_the_baseline_finds_nothing() -> None:
    found = answer(arms(0.01, {50: 0.02}, {50: 0.01}))
    assert "AP50 +0.010 on average" in found
    assert found.endswith("so nothing can be read here about labels saved.")


def test_a_score_that_cannot_be_computed_is_an_error() -> None:
    with pytest.raises(RunError, match="the test split holds no box"):
        answer(arms(None, {50: 0.1}, {50: 0.1}))


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no plan\.yaml"):
        report(tmp_path)

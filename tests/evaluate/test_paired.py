"""Differences between two runs, on the same draws of the same images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrssl.core.errors import DataError
from cxrssl.core.files import write_json
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import NO_SPREAD, Bootstrap

NUM = 60
BOOTSTRAP = Bootstrap(200)


def results(*, fraction_found: float, seed: int = 0) -> list[dict[str, Any]]:
    """Find a share of the boxes, and raise a false alarm in every other image."""
    generator = np.random.default_rng(seed)
    return [
        {
            "image_id": n,
            "category_id": 1,
            "bbox": [10, 10, 20, 20] if hits else [80, 80, 20, 20],
            "score": round(float(generator.uniform(0.1, 1)), 3),
        }
        for n in range(NUM)
        for hits in ([True, False] if generator.uniform() < fraction_found else [False])
    ]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    truth = {
        "images": [{"id": n} for n in range(NUM)],
        "categories": [{"id": 1, "name": "Nodule/Mass"}],
        "annotations": [
            {"image_id": n, "category_id": 1, "bbox": [10, 10, 20, 20]} for n in range(NUM - 10)
        ],
    }
    write_json(tmp_path / "truth.json", truth)
    write_json(tmp_path / "good.json", results(fraction_found=0.9))
    write_json(tmp_path / "poor.json", results(fraction_found=0.5))
    return tmp_path


def scores(
    files: Path, name: str, against: str | None = None, bootstrap: Bootstrap = BOOTSTRAP
) -> dict[str, Any]:
    other_run = None if against is None else files / against
    paths = files / f"{name}.json", files / "truth.json", None, other_run
    return evaluate_files(*paths, consensus_iou=0.2, bootstrap=bootstrap)


def test_a_better_run_is_better_with_an_interval_that_says_so(files: Path) -> None:
    content = scores(files, "good", "poor.json")
    gap = content["against"]["metrics"]["AR100"]
    poor = scores(files, "poor")["metrics"]["AR100"]["value"]
    assert gap["value"] == content["metrics"]["AR100"]["value"]
    assert gap["other"] == poor
    assert gap["delta"] == pytest.approx(gap["value"] - poor)
    assert 0 < gap["low"] < gap["delta"] < gap["high"]
    assert 0 < gap["p"] < 0.05


def test_swapping_the_runs_swaps_the_sign(files: Path) -> None:
    forward = scores(files, "good", "poor.json")["against"]["metrics"]
    backward = scores(files, "poor", "good.json")["against"]["metrics"]
    for name, gap in forward.items():
        if gap["low"] is not None:
            assert backward[name]["delta"] == pytest.approx(-gap["delta"])
            assert backward[name]["low"] == pytest.approx(-gap["high"])
            assert backward[name]["p"] == pytest.approx(gap["p"])


def test_a_run_does_not_differ_from_itself(files: Path) -> None:
    gaps = scores(files, "good", "good.json")["against"]["metrics"]
    assert all(gap["delta"] in (0, None) for gap in gaps.values())
    assert gaps["AP"] | {"value": 0, "other": 0} == {
        "value": 0, "other": 0, "delta": 0, "low": None, "high": None, "p": None,
        "reason": NO_SPREAD,
    }  # fmt: skip


def test_pairing_makes_the_interval_narrower_than_two_runs_apart(files: Path) -> None:
    gaps = scores(files, "good", "poor.json")
    apart = [scores(files, name)["replicate_values"]["froc_at_1"] for name in ("good", "poor")]
    spread = float(np.hypot(*(np.std(values) for values in apart)))
    gap = gaps["against"]["metrics"]["froc_at_1"]
    assert gap["high"] - gap["low"] < 2 * 1.96 * spread


def test_what_eval_wrote_stands_for_the_predictions(files: Path) -> None:
    write_json(files / "scores.json", scores(files, "poor"))
    written = scores(files, "good", "scores.json")["against"]["metrics"]
    scored = scores(files, "good", "poor.json")["against"]["metrics"]
    for name, gap in scored.items():
        assert written[name] == pytest.approx(gap, abs=2e-5), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "was made with another seed .1; here 0."),
        ({"replicates": 100}, "another number of replicates .100; here 200."),
        ({"truth_sha256": "0" * 64}, "another truth"),
        ({"metrics": {}}, "is not a file of `cxrssl eval --json` of this version"),
        ({"replicate_values": {}}, "is not a file of `cxrssl eval --json` of this version"),
    ],
)
def test_scores_of_other_draws_are_refused(
    files: Path, change: dict[str, Any], message: str
) -> None:
    write_json(files / "scores.json", scores(files, "poor") | change)
    with pytest.raises(DataError, match=message):
        scores(files, "good", "scores.json")


def test_predictions_on_other_images_are_refused(files: Path) -> None:
    stray = [entry | {"image_id": 1000} for entry in results(fraction_found=0.5)]
    (files / "stray.json").write_text(json.dumps(stray))
    with pytest.raises(DataError, match=r"are not listed by the truth, such as 1000"):
        scores(files, "good", "stray.json")

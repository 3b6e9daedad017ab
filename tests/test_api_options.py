"""What an option of a command does, the argument of its name does from Python."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cxrssl
from cxrssl.core.errors import ArgumentError, DataError
from cxrssl.data.store import Store
from support import finetune_recipe, run_cxrssl

NUM = 20
SQUARE = [40, 60, 40, 30]


def coco(first: int) -> dict[str, Any]:
    """Return a truth of films of which each has a box at one place and one at another."""
    numbers = range(first, first + NUM)
    boxes = [(1, SQUARE, n) for n in numbers] + [(2, [n * 7 % 80, n * 3 % 80, 15, 15], n)
                                                 for n in numbers]  # fmt: skip
    return {
        "images": [
            {"id": n, "file_name": f"film{n}.png", "width": 100, "height": 100} for n in numbers
        ],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"image_id": n, "category_id": k, "bbox": box, "reader": reader}
            for k, box, n in boxes
            for reader in "AB"
        ],
    }


FOUND = [
    {"image_id": n, "category_id": 1 + n % 2, "bbox": SQUARE, "score": 0.9 - n / 400}
    for n in range(100, 100 + NUM)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    contents = {"t": coco(100), "train": coco(0), "p": FOUND}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "only.txt").write_text("film103.png\n107\nfilm111\n112\n")
    return folder


@pytest.fixture(scope="module")
def run(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "det"
    changes = ("max_steps=30", "epochs=6", "batch_size=4", "model.score_threshold=0.0")
    cxrssl.finetune(finetune_recipe(store_folder, *changes), out)
    return out


def of_command(out: Path, *options: object) -> dict[str, Any]:
    """Return what `cxrssl eval --json` writes."""
    done = run_cxrssl("eval", *options, "--replicates", 50, "--json", out)
    assert done.returncode == 0, done.stderr[-3000:]
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def as_json(scores: cxrssl.Scores) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(scores.content))
    return content


# --- scores of files


def test_only_train_truth_and_readers_of_files_are_those_of_the_command(
    folder: Path, tmp_path: Path
) -> None:
    truth, found, train, only = (
        folder / name for name in ("t.json", "p.json", "train.json", "only.txt")
    )
    expected = of_command(
        *(tmp_path / "s.json", "--predictions", found, "--truth", truth, "--readers", truth),
        *("--train-truth", train, "--only", only, "--consensus-iou", 0.4),
    )
    scores = cxrssl.evaluate(
        truth,
        found,
        readers=truth,
        train_truth=train,
        only=only,
        consensus_iou=0.4,
        replicates=50,
    )
    assert as_json(scores) == expected
    assert expected["only"]["n_images"] == expected["n_images"] == 4
    assert expected["prior"]["n_training_images"] == NUM
    assert expected["readers"] is not None


def test_a_train_truth_may_be_an_object(folder: Path) -> None:
    by_file = cxrssl.evaluate(
        folder / "t.json", FOUND, train_truth=folder / "train.json", replicates=0
    )
    by_object = cxrssl.evaluate(folder / "t.json", FOUND, train_truth=coco(0), replicates=0)
    ours, theirs = (scores.content["prior"] for scores in (by_object, by_file))
    assert ours["fitted_on"] == f"the {NUM} images of train_truth (as given)"
    assert ours["boxes"] == theirs["boxes"]
    assert ours["metrics"] == theirs["metrics"]


# --- scores on a store


def test_split_fusion_overlap_and_normals_of_a_store_are_those_of_the_command(
    run: Path, store_folder: Path, tmp_path: Path
) -> None:
    plain = as_json(cxrssl.evaluate(store_folder, run, replicates=50))
    options = ("--split", "val", "--fusion", "union", "--consensus-iou", 0.5, "--no-normals")
    expected = of_command(tmp_path / "s.json", run, "--data", store_folder, *options)
    changed = cxrssl.evaluate(
        store_folder,
        run,
        split="val",
        fusion="union",
        consensus_iou=0.5,
        normals=False,
        replicates=50,
    )
    assert as_json(changed) == expected
    for name in ("split", "fusion", "consensus_iou", "normals", "truth_sha256"):
        assert plain[name] != expected[name], name


@pytest.mark.slow
def test_operating_points_and_only_of_a_store_are_those_of_the_command(
    run: Path, store_folder: Path, store: Store, tmp_path: Path
) -> None:
    plain = cxrssl.evaluate(store_folder, run, replicates=0)
    num_images = plain.content["n_images"]
    only = tmp_path / "only.txt"
    predictions = json.loads((run / "predictions.json").read_text())
    only.write_text("\n".join(entry["id"] for entry in predictions["images"][1:]))
    points = [tmp_path / "command.json", tmp_path / "call.json"]
    expected = of_command(
        *(tmp_path / "s.json", run, "--data", store_folder, "--only", only),
        *("--operating-points", points[0], "--choose-on", "train"),
    )
    scores = cxrssl.evaluate(
        store_folder,
        cxrssl.load_detector(run),
        only=str(only),
        operating_points=points[1],
        choose_on="train",
        replicates=50,
    )
    assert expected["only"]["n_images"] == num_images - 1
    assert as_json(scores) == expected
    assert points[0].read_text() == points[1].read_text()
    assert json.loads(points[1].read_text())["chosen_on"]["split"] == "train"
    cxrssl.evaluate(store_folder, run, operating_points=points[1], replicates=0)
    assert json.loads(points[1].read_text())["chosen_on"]["split"] == "val"


# --- operating points


@pytest.fixture(scope="module")
def points(run: Path, store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("points") / "points.json"
    cxrssl.evaluate(store_folder, run, operating_points=file, choose_on="train", replicates=0)
    return file


def films(source: Path) -> list[Path]:
    return sorted((source / "train").iterdir())[:4]


@pytest.mark.slow
def test_an_operating_point_shows_what_the_command_shows(
    run: Path, points: Path, source: Path, tmp_path: Path
) -> None:
    inputs = films(source)
    options = ("--operating-point", points, "--point", "f1_by_class", "--write", "coco")
    done = run_cxrssl("predict", run, *inputs, "--out", tmp_path / "command", *options)
    assert done.returncode == 0, done.stderr
    summary = cxrssl.predict(
        run,
        inputs,
        tmp_path / "call",
        formats="coco",
        operating_point=points,
        point="f1_by_class",
    )
    texts = [(tmp_path / name / "predictions.json").read_text() for name in ("command", "call")]
    assert texts[0] == texts[1]
    assert summary.operating_point.startswith("operating point f1_by_class")
    detector = cxrssl.load_detector(run, operating_point=str(points), point="f1_by_class")
    assert detector.operating_point == summary.operating_point
    found = detector(inputs)
    assert sum(map(len, found)) == summary.num_findings == len(json.loads(texts[1])["annotations"])
    assert summary.num_findings > 0
    # A threshold of 0.3 or none at all shows others.
    assert summary.num_findings != sum(map(len, cxrssl.load_detector(run)(inputs)))
    assert summary.num_findings < sum(map(len, cxrssl.load_detector(run)(inputs, threshold=0)))


def test_a_point_that_is_not_named_is_f1(run: Path, points: Path) -> None:
    detector = cxrssl.load_detector(run, operating_point=points)
    assert detector.operating_point.startswith("operating point f1 ")
    assert cxrssl.load_detector(run).operating_point == ""


def test_scores_of_what_an_operating_point_left_are_warned_of(
    run: Path, points: Path, source: Path, store_folder: Path
) -> None:
    detector = cxrssl.load_detector(run, operating_point=points)
    film = films(source)[0]
    truth = {
        "images": [{"id": 1, "file_name": film.name}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(detector.classes)],
        "annotations": [{"image_id": 1, "category_id": 0, "bbox": [1, 1, 20, 20]}],
    }
    scores = cxrssl.evaluate(truth, detector([film]), replicates=0)
    assert any("was used at an operating point f1 " in text for text in scores.warnings)
    with pytest.raises(ArgumentError, match="at an operating point is not scored on a store"):
        cxrssl.evaluate(store_folder, detector)


def test_an_operating_point_and_a_threshold_exclude_each_other(
    run: Path, points: Path, source: Path, tmp_path: Path
) -> None:
    for call in (
        lambda: cxrssl.predict(run, source, tmp_path / "o", threshold=0.5, operating_point=points),
        lambda: cxrssl.load_detector(run, operating_point=points)(films(source), threshold=0),
    ):
        with pytest.raises(DataError, match="--threshold and --operating-point were both given"):
            call()


# --- ingest


def test_exact_and_shard_are_those_of_the_command(source: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "call", tmp_path / "command"
    options = ("--size", 64, "--exact", "--workers", 1)
    done = run_cxrssl("ingest", source, theirs, *options)
    assert done.returncode == 0, done.stderr
    plain = tmp_path / "plain"
    cxrssl.ingest(source, plain, size_px=64, num_workers=1)
    summary = cxrssl.ingest(source, ours, size_px=64, num_workers=1, exact=True, shard="2/2")
    assert summary.num_missing == 1  # 30 films are one shard, which is the first call's
    assert not (ours / "manifest.json").exists()
    assert not cxrssl.ingest(
        source, ours, size_px=64, num_workers=1, exact=True, shard="1/2"
    ).num_missing
    manifests = [(folder / "manifest.json").read_text() for folder in (ours, theirs, plain)]
    assert manifests[0] == manifests[1] != manifests[2]


# --- what does not fit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cxrssl.evaluate({}, [], fusion="union"), "split, fusion, normals, operating_poi"),
        (lambda: cxrssl.evaluate({}, [], normals=False), "are about a store, and truth is a COCO"),
        (lambda: cxrssl.evaluate({}, [], split="val"), "are about a store, and truth is a COCO"),
        (lambda: cxrssl.evaluate({}, [], operating_points="o"), "are about a store, and truth is"),
        (lambda: cxrssl.evaluate({}, [], choose_on="val"), "choose_on is about operating_points"),
        (lambda: cxrssl.evaluate({}, [], normals="no"), "normals is 'no'; expected True or False"),
        (lambda: cxrssl.evaluate({}, [], fusion=3), "fusion is 3; expected text"),
        (lambda: cxrssl.evaluate({}, [], split=3), "split is 3; expected train, val, test"),
        (lambda: cxrssl.evaluate({}, [], only=3), "only is 3; expected a path"),
        (lambda: cxrssl.evaluate({}, [], train_truth={1}), "train_truth are not the content of a"),
        (lambda: cxrssl.evaluate({}, [], operating_points=3), "operating_points is 3; expected a"),
        (lambda: cxrssl.evaluate(".", "d", choose_on="x", operating_points="o"), "choose_on is "),
        (lambda: cxrssl.evaluate(".", "d", train_truth="t"), "train_truth is that of the store"),
        (lambda: cxrssl.evaluate(".", "d", only="a", operating_points="a"), "a is read by this"),
        (lambda: cxrssl.predict("c", "i", "o", point="f1"), "--point names a point of --op"),
        (lambda: cxrssl.predict("c", "i", "o", operating_point=3), "operating_point is 3; exp"),
        (lambda: cxrssl.load_detector("c", operating_point="p", point=3), "point is 3; expected"),
        (lambda: cxrssl.load_detector("c", point="f1"), "--point names a point of --operating"),
        (lambda: cxrssl.ingest("s", "t", exact="yes"), "exact is 'yes'; expected True or False"),
        (lambda: cxrssl.ingest("s", "t", shard="3/2"), "--shard '3/2': expected I/N with I from 1"),
        (lambda: cxrssl.ingest("s", "t", shard=2), "shard is 2; expected text"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(
    call: Callable[[], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cxrssl.CxrsslError, match=message):
        call()
    assert [*tmp_path.iterdir()] == []

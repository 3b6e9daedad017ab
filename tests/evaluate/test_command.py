"""`cxrssl eval` as a user meets it: what is printed, what is written, and what stops it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAME = "Verschattung " * 9  # wider than a terminal
TRUTH: dict[str, Any] = {
    "images": [{"id": n} for n in range(12)],
    "categories": [{"id": 1, "name": "胸部 [red]:heart:"}, {"id": 2, "name": NAME}],
    "annotations": [
        {"image_id": n, "category_id": 1 + n % 2, "bbox": [10, 10, 20, 20]} for n in range(10)
    ],
}
RESULTS = [
    {"image_id": n, "category_id": 1 + n % 2, "bbox": [10 + n, 10, 20, 20], "score": 0.9 - n / 20}
    for n in range(10)
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    readers = [
        {**annotation, "reader": name}
        for annotation in TRUTH["annotations"]
        for name in ("R1", "R2")
    ]
    contents = {"p": RESULTS, "t": TRUTH, "r": TRUTH | {"annotations": readers}}
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def run(
    folder: Path, *options: str, encoding: str = "utf-8", columns: str = "80"
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cxrssl", "eval", *options]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": columns}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)


FILES = ("--predictions", "p.json", "--truth", "t.json")


def test_nothing_that_is_printed_is_cut_off(files: Path) -> None:
    options = (*FILES, "--readers", "r.json", "--against", "p.json", "--replicates", "50")
    done = run(files, *options, "--json", "out.json", columns="40")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "…" not in text
    assert NAME.strip() in text
    assert "胸部 [red]:heart:" in text
    scores = json.loads((files / "out.json").read_text())
    for name, entry in scores["metrics"].items():
        if entry["value"] is not None:
            assert f"{entry['value']:.3f}" in text, name
            assert (entry["low"] == entry["high"]) == ("reason" in entry), name
            assert ("exact" in entry) <= (f"exact bound on {entry.get('exact_on')}" in text), name
            assert ("reason" in entry) <= (entry.get("reason", "") in text), name
        else:
            assert f"not computed: {name}: {entry['reason']}" in text
    assert scores["readers"]["verdict"] in text


def test_what_a_terminal_can_not_show_costs_nothing(files: Path) -> None:
    done = run(files, *FILES, "--replicates", "50", "--json", "out.json", encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert json.loads((files / "out.json").read_text())["per_class"][TRUTH["categories"][0]["name"]]


def test_scores_are_written_even_if_nobody_reads_them(files: Path) -> None:
    command = [sys.executable, "-m", "cxrssl", "eval", *FILES, "--replicates", "50"]
    with Path("/dev/full").open("wb") as full:
        subprocess.run(
            [*command, "--json", "out.json"], cwd=files, stdout=full, stderr=full, check=False
        )
    assert json.loads((files / "out.json").read_text())["n_images"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("options", [FILES, ()])
def test_without_replicates_there_are_values_alone(files: Path, options: tuple[str, ...]) -> None:
    arguments = (*options, "--readers", "r.json", "--replicates", "0", "--json", "out.json")
    done = run(files, *arguments)
    assert done.returncode == 0, done.stderr
    assert b"No intervals" in done.stdout
    scores = json.loads((files / "out.json").read_text())
    between = scores["readers"]["between_readers"]["f1_at_0.4"]
    assert between["value"] == 1
    assert between["reason"] == "no interval: no replicates were drawn"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*FILES, "--json", "p.json"), "p.json is read by this command, and would be lost"),
        ((*FILES, "--json", "."), "is not a file that can be written"),
        ((*FILES, "--json", "/dev/null"), "is not a file that can be written"),
        ((*FILES, "--json", "t.json/out.json"), "can't be written: "),
        ((*FILES, "--json", "x" * 300), "can't be written: "),
        ((*FILES, "--replicates", "5"), "5 draws say nothing: 0, or 50 and more"),
        ((*FILES, "--normals"), "--split, --fusion, --normals, --operating-points and"),
        ((*FILES, "--operating-points", "o.json"), "--choose-on are about a store"),
        (("--readers", "r.json", "--only", "x"), "--only is about a detector"),
        ((*FILES, "--only", "nowhere.txt"), "nowhere.txt can't be read"),
        ((*FILES, "--train-truth", "p.json"), "p.json is not a COCO file"),
        ((*FILES, "--train-truth", "t.json"), "have no width and height"),
        (("run", "--data", "s", "--train-truth", "t.json"), "a store has its own"),
        (("run", "--data", "s", "--choose-on", "val"), "--operating-points, which is not given"),
        (
            ("run", "--data", "s", "--json", "o.json", "--operating-points", "o.json"),
            "o.json is read by this command, and would be lost",
        ),
        (("--predictions", "p.json"), "expected CHECKPOINT --data STORE"),
        (("--readers", "r.json", "--against", "p.json"), "expected CHECKPOINT --data STORE"),
        (("run", *FILES), "expected CHECKPOINT --data STORE"),
        ((), "expected CHECKPOINT --data STORE"),
        ((*FILES, "--readers", "t.json"), "10 of 10 annotations name no reader"),
    ],
)
def test_a_users_fault_is_told_before_the_work(
    files: Path, options: tuple[str, ...], message: str
) -> None:
    done = run(files, *options, columns="200")
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_an_earlier_file_outlives_a_later_fault(files: Path) -> None:
    (files / "out.json").write_text("{}")
    (files / "p.json").write_text("[7]")
    assert run(files, *FILES, "--json", "out.json").returncode == 2
    assert (files / "out.json").read_text() == "{}"
    assert {path.name for path in files.iterdir()} == {"p.json", "t.json", "r.json", "out.json"}


def test_files_need_no_torch(files: Path) -> None:
    code = (
        "import sys; from cxrssl import cli; sys.argv[0] = 'cxrssl'\n"
        "try: cli.main()\n"
        "finally: print(sorted({'torch', 'transformers', 'timm', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "eval", *FILES, "--replicates", "0"]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("[]\n"), done.stderr


def test_a_score_that_misleads_is_warned_of_and_what_was_matched_is_said(files: Path) -> None:
    far_off = [
        {**entry, "image_id": f"film{entry['image_id']}", "bbox": [900, 9, 5, 5]}
        for entry in RESULTS
    ]
    (files / "p.json").write_text(json.dumps(far_off))
    truth = TRUTH | {"images": [{"id": n, "file_name": f"film{n}.png"} for n in range(12)]}
    (files / "t.json").write_text(json.dumps(truth))
    done = run(files, *FILES, "--replicates", "0", "--json", "out.json")
    assert done.returncode == 0
    warning = "none of 10 detections overlaps any of 10 true boxes"
    assert f"Warning: {warning}" in done.stderr.decode()
    assert "Note: p.json was matched by file name with t.json" in done.stdout.decode()
    scores = json.loads((files / "out.json").read_text())
    assert scores["warnings"][0].startswith(warning)
    assert scores["notes"][0].startswith("p.json was matched by file name")


def test_fixed_boxes_and_subsets_are_told_on_the_terminal(files: Path) -> None:
    sized = [{**image, "width": 100, "height": 100, "kind": "normal"} if image["id"] > 9 else
             {**image, "width": 100, "height": 100} for image in TRUTH["images"]]  # fmt: skip
    for name in ("t", "train"):
        (files / f"{name}.json").write_text(json.dumps(TRUTH | {"images": sized}))
    (files / "only.txt").write_text("\n".join(map(str, range(3, 12))))
    options = (*FILES, "--train-truth", "train.json", "--only", "only.txt")
    done = run(files, *options, "--replicates", "50", columns="200")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "9 images of 12, by --only (7 with boxes, 2 normal)" in text
    assert "a baseline without eyes: 2 fixed boxes" in text
    # Both classes lie at the same place, so that every second fixed box is right.
    told = (
        "By AP50 the detector can't be told from fixed boxes that look at no image (0.584 against"
    )
    assert told in text
    assert "FP/image normal" in text

"""Every benchmark starts and ends, on as little as can be, and none hides a library's module."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

from support import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
# Common packages that libraries of ours import when they are there.
OPTIONAL = {"coverage", "evaluate", "datasets"}


def test_no_benchmark_hides_a_module_of_python_or_of_a_library() -> None:
    importable = set(sys.stdlib_module_names) | set(metadata.packages_distributions()) | OPTIONAL
    assert len(SCRIPTS) == 15
    assert not {script.stem for script in SCRIPTS} & importable


def lungs(folder: Path) -> Path:
    """Make ten pictures with a box of each lung, as COCO."""
    boxes = {1: [10, 20, 40, 80], 2: [70, 20, 40, 80]}
    annotations, images = [], []
    for number in range(1, 11):
        name = f"{number}.png"
        Image.linear_gradient("L").resize((120, 120)).rotate(number).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 120, "height": 120})
        for category, box in boxes.items():
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": category,
                "bbox": box,
            }
            annotations.append(annotation | {"area": 3200, "iscrowd": 0})
    categories = [{"id": 1, "name": "left lung"}, {"id": 2, "name": "right lung"}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "_annotations.coco.json").write_text(json.dumps(content))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_runs_on_as_little_as_can_be(script: Path, tmp_path: Path) -> None:
    needs = {"fusion": "torchxrayvision", "human_readers": "torchxrayvision"}
    if importlib.util.find_spec(needs.get(script.stem, "torch")) is None:
        pytest.skip(f"{needs[script.stem]} is not installed")
    folder = [str(lungs(tmp_path))] if script.stem == "real_lungs" else []
    command = [sys.executable, str(script), *folder, "--smallest"]
    # As a user starts it, with nothing of the tests to be imported.
    paths = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    environment = os.environ | paths
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()

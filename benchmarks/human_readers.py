"""The readers of VinDr-CXR against each other, by `cxrssl eval --readers` on the real table.

The table is in the package torchxrayvision and is read there: it is bound by a data-use agreement.
Written out as COCO, for the paper's test split (images with findings in order of first appearance,
the last fifth), in a folder that is deleted at the end.

Run: python benchmarks/human_readers.py; options, such as --json OUT, go on to `cxrssl eval`;
--smallest leaves the intervals out.
"""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cxrssl.core.labels import FINDINGS, NO_FINDING
from cxrssl.data.protocol import split_images
from cxrssl.data.tables import read_table


def table_path() -> Path | None:
    """Return where the table lies, None if the package is not installed."""
    spec = find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "data/vinbigdata-train.csv.gz"


def readers_coco(table: Path) -> dict[str, Any]:
    """Return the marks of the paper's test split as COCO, with who looked at each image."""
    rows = read_table(table).rows
    with_findings = list(dict.fromkeys(rows["image_id"][rows["category"] != NO_FINDING]))
    splits = split_images(with_findings, protocol="published")
    rows = rows[rows["image_id"].map(splits).eq("test")]
    looked: dict[str, dict[str, None]] = {}
    marks = []
    for image, reader, category, x0, y0, x1, y1 in rows.itertuples(index=False):
        looked.setdefault(image, {})[reader] = None
        if category != NO_FINDING:
            marks.append(
                {
                    "image_id": image,
                    "category_id": FINDINGS.index(category) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "reader": reader,
                }
            )
    return {
        "images": [{"id": name, "readers": list(own)} for name, own in looked.items()],
        "categories": [{"id": place, "name": name} for place, name in enumerate(FINDINGS, 1)],
        "annotations": marks,
    }


def main() -> None:
    """Print what the command prints."""
    table = table_path()
    if table is None:
        raise SystemExit("torchxrayvision, which holds the table, is not installed")
    with tempfile.TemporaryDirectory() as folder:
        readers = Path(folder) / "readers.json"
        readers.write_text(json.dumps(readers_coco(table)))
        options = [
            part
            for given in sys.argv[1:]
            for part in (["--replicates", "0"] if given == "--smallest" else [given])
        ]
        command = [sys.executable, "-m", "cxrssl", "eval", "--readers", str(readers), *options]
        raise SystemExit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()

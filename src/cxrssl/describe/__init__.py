"""What is in an annotation table, told from the table alone, and the paper's figures 1 and 3.

Left out because a table does not hold the sizes of its images: the size of a box as a share of its
image, and so COCO's small, medium and large.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.core.files import write_json
from cxrssl.core.printable import printable
from cxrssl.data.protocol import Protocol
from cxrssl.data.tables import read_table
from cxrssl.describe.findings import FUSION_IOU, crowds, findings_of
from cxrssl.describe.numbers import agreement, balance, counts, drift

__all__ = ["describe"]


def describe(
    path: Path,
    *,
    protocol: Protocol,
    out: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Describe an annotation table as a protocol sees it.

    Splits, oversampling, agreement and drift are over images with findings, as the paper drops the
    others. What can't be computed is None or left out, and `notes` says why.

    Args:
        path: The table, in Kaggle's or PhysioNet's columns.
        protocol: Rule by which images are split, fused and oversampled.
        out: Folder for `describe.json` and the figures; None for neither.
        say: Called with a line for each thing that was written to `out` or could not be.

    Returns:
        What `cxrssl describe --json` prints.

    Raises:
        DataError: If the table can't be read, or `out` is a file.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; --out needs a folder, which may be absent.")
    table = read_table(path)
    findings = findings_of(table, protocol=protocol)
    notes = list(table.notes)
    content = {
        "protocol": protocol,
        "fusion": {"policy": findings.policy, "iou": FUSION_IOU},
        "table_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **counts(findings),
        **balance(findings, protocol=protocol, notes=notes),
        "inter_reader": agreement(findings, notes=notes),
        "split_drift": drift(findings, notes=notes),
        "faults": table.faults | crowds(table),
        "notes": notes,
    }
    if out is not None:

        def say_plainly(line: str) -> None:
            say(printable(line))

        # Matplotlib takes longer to load than all of the above to run.
        from cxrssl.describe.figures import draw

        write_json(out / "describe.json", content)
        say_plainly(f"wrote {out / 'describe.json'}")
        draw(findings, content, table.sizes, pixels=path.parent / "train", out=out, say=say_plainly)
    return content

"""The runtime is free of GPL and AGPL: by the metadata of all that it brings, and its imports."""

import json
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dicom_files import LOSSLESS, dicom_file, extended
from licences import is_copyleft, runtime_closure, statements
from support import ROOT, output_of

# Packages that say nothing of their licence, and what was found on looking at them.
LOOKED_AT = {"cuda-toolkit": "NVIDIA's list of its other packages, without code"}

PIXELS = np.add.outer(np.arange(64) * 20, np.arange(64) * 30).astype(np.uint16)
CHILD = """
import json, sys
from pathlib import Path

class Blocked:
    tried = set()
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].lstrip("_") in ("libjpeg", "pylibjpeg", "openjpeg", "rle"):
            self.tried.add(name)
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
from cxrssl.data.dicom.read import read_dicom
from cxrssl.data.dicom.write import FileIdentity, PixelForm, SYNTAXES, write_dicom
import numpy as np
folder = Path(sys.argv[1])
for syntax in SYNTAXES:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    identity = FileIdentity("x")
    write_dicom(folder / f"own {syntax}", pixels, form=PixelForm(syntax), identity=identity)
routes = {p.name: read_dicom(p, size_px=32).route for p in sorted(folder.iterdir())}
loaded = [name for name in sys.modules if name.lstrip("_").startswith(("libjpeg", "pylibjpeg"))]
print(json.dumps({"routes": routes, "loaded": loaded}))
"""


def test_nothing_at_runtime_is_gpl() -> None:
    closure = runtime_closure(ROOT / "pyproject.toml")
    assert {"numpy", "torch", "pydicom", "imagecodecs"} <= set(closure)
    statements_of = {name: statements(name) for name in closure}
    assert {name for name, lines in statements_of.items() if not lines} <= set(LOOKED_AT)
    copyleft = {
        name: lines for name, lines in statements_of.items() if any(map(is_copyleft, lines))
    }
    assert not copyleft


def test_no_pinned_package_is_the_gpl_plugin() -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = {canonicalize_name(Requirement(line).name) for line in pinned if line[:1] != "#"}
    assert "numpy" in names
    assert "pylibjpeg-libjpeg" not in names


@pytest.mark.parametrize(
    "statement",
    [
        "GPL-3.0-only",
        "GPL-2.0-or-later",
        "AGPL-3.0-only",
        "MIT AND GPL-3.0-or-later",
        "(MIT OR BSD-3-Clause) AND GPL-2.0-only",
        "GPL-2.0-only OR AGPL-3.0-only",
        "GPL V3.0",
        "GPLv2+",
        "GPL",
        "GNU GPL 3",
        "GNU General Public License v3 or later (GPLv3+)",
        "License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
        "License :: OSI Approved :: GNU Affero General Public License v3 or later (AGPLv3+)",
        "                    GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007",
        "GPL-3.0-only WITH Font-exception-2.0",
    ],
)
def test_gpl_is_known_by_every_name(statement: str) -> None:
    assert is_copyleft(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "MIT",
        "LGPL-2.1-or-later",
        "LGPLv3+",
        "GNU Lesser General Public License v2 or later (LGPLv2+)",
        "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)",
        "License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)",
        "MPL-2.0 AND MIT",
        "MIT OR GPL-2.0-or-later",
        "(GPL-2.0-only OR MIT) AND BSD-3-Clause",
        "GPL-2.0-or-later OR (MIT AND Zlib)",
        "GPL-3.0-or-later WITH GCC-exception-3.1 AND BSD-3-Clause",
        "PSF, GPL-compatible",
        "License :: OSI Approved :: Python Software Foundation License",
        "LicenseRef-NVIDIA-Proprietary",
        "",
    ],
)
def test_what_is_no_gpl_is_not_taken_for_it(statement: str) -> None:
    assert not is_copyleft(statement)


def test_every_syntax_is_read_and_written_without_pylibjpeg(tmp_path: Path) -> None:
    """pydicom loads libjpeg itself where that is installed; nothing here may need it."""
    for codec in LOSSLESS:
        dicom_file(tmp_path / codec, PIXELS, codec)
    extended(tmp_path / "extended", PIXELS, BitsStored=12, HighBit=11)
    found = json.loads(output_of("-c", CHILD, tmp_path))
    assert len(found["routes"]) == len(LOSSLESS) + 1 + 4
    assert found["loaded"] == []

"""The published data sets that are read as they are: which functions find and read each.

Each has a module here, whose docstring says how it is read and which description that is from.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cxrssl.core.layouts import PublishedName
from cxrssl.data.tables.chestx_det import chestx_det_tables, read_chestx_det
from cxrssl.data.tables.marks import StatedMarks
from cxrssl.data.tables.nih import nih_tables, read_nih
from cxrssl.data.tables.object_cxr import object_cxr_tables, read_object_cxr
from cxrssl.data.tables.padchest_gr import padchest_gr_tables, read_padchest_gr
from cxrssl.data.tables.published_files import PublishedSource
from cxrssl.data.tables.rsna import read_rsna, rsna_tables
from cxrssl.data.tables.tbx11k import read_tbx11k, tbx11k_tables


class _Functions(NamedTuple):
    find: Callable[[Path, Sequence[Path]], list[Path]]
    read: Callable[[PublishedSource], StatedMarks]


_FUNCTIONS: Mapping[PublishedName, _Functions] = {
    "rsna": _Functions(rsna_tables, read_rsna),
    "nih": _Functions(nih_tables, read_nih),
    "tbx11k": _Functions(tbx11k_tables, read_tbx11k),
    "chestx-det": _Functions(chestx_det_tables, read_chestx_det),
    "object-cxr": _Functions(object_cxr_tables, read_object_cxr),
    "padchest-gr": _Functions(padchest_gr_tables, read_padchest_gr),
}


def published_tables(name: PublishedName, folder: Path, files: Sequence[Path]) -> list[Path]:
    """Return the tables of a published data set among the files of a folder; [] if it is not there.

    Raises:
        DataError: If one of them is there twice.
    """
    return _FUNCTIONS[name].find(folder, files)


def read_published(name: PublishedName, source: PublishedSource) -> StatedMarks:
    """Read the tables of a published data set.

    Raises:
        DataError: If one can't be read, or is not of its published form.
    """
    return _FUNCTIONS[name].read(source)

"""What a source holds: its image files, and the findings that each reader marked. No pixels."""

from cxrssl.data.tables.rows import COLUMNS, Table
from cxrssl.data.tables.source import ReadOptions, Source, read_source
from cxrssl.data.tables.vindr import read_table

__all__ = ["COLUMNS", "ReadOptions", "Source", "Table", "read_source", "read_table"]

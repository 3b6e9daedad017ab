"""What a source holds: its image files, and the findings that each reader marked. No pixels."""

from cxrssl.data.tables.rows import COLUMNS, Table, checked_id
from cxrssl.data.tables.source import Layout, Source, read_source
from cxrssl.data.tables.vindr import read_table

__all__ = ["COLUMNS", "Layout", "Source", "Table", "checked_id", "read_source", "read_table"]

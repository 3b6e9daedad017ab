"""Names of the layouts that a source folder may have; `data.tables.source` says what each is."""

from typing import Literal

PublishedName = Literal["rsna", "nih", "tbx11k", "chestx-det", "object-cxr", "padchest-gr"]
"""Data sets that are read as published; `data.tables.published` has the functions of each."""
ToolName = Literal["label-studio", "yolo", "voc", "csv"]
"""What tools and people write; `data.tables.tools` has the functions of each."""
LayoutName = Literal["kaggle", "physionet", PublishedName, "coco", ToolName, "images"]
Layout = Literal["auto", LayoutName]

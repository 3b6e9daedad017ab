"""Names of the layouts that a source folder may have; `data.tables.source` says what each is."""

from typing import Literal

LayoutName = Literal["kaggle", "physionet", "coco", "csv", "images"]
Layout = Literal["auto", "kaggle", "physionet", "coco", "csv", "images"]

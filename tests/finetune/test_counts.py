"""Counts of training labels are those of the store's own table of findings."""

from cxrssl.core.labels import NO_FINDING
from cxrssl.data.detection import examples_of
from cxrssl.data.store import Store
from cxrssl.finetune.counts import label_counts


def test_counts_are_those_of_the_table(store: Store) -> None:
    examples = examples_of(store, fusion="consensus", iou=0.2)
    counts, table = label_counts(examples, fusion="consensus"), store.findings
    drawn = table[table["category"].ne(NO_FINDING)]
    assert counts["train_images"] == len(store)
    assert counts["train_images_with_boxes"] == drawn["image_id"].nunique()
    assert counts["train_reader_boxes"] == len(drawn)
    assert counts["train_readings"] == len(table[["image_id", "reader"]].drop_duplicates())
    assert counts["train_boxes"] == sum(len(example.boxes) for example in examples)
    assert 0 < counts["train_boxes"] < counts["train_reader_boxes"]


def test_of_a_single_reader_the_others_count_nothing(store: Store) -> None:
    table = store.findings
    reader = str(table["reader"].iloc[0])
    fusion = f"single:{reader}"
    examples = examples_of(store, fusion=fusion, iou=0.2)
    counts, rows = label_counts(examples, fusion=fusion), table[table["reader"].eq(reader)]
    assert counts["train_readings"] == rows["image_id"].nunique() == counts["train_images"]
    assert counts["train_reader_boxes"] == len(rows[rows["category"].ne(NO_FINDING)])
    assert label_counts([], fusion="union")["train_images"] == 0

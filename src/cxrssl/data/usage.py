"""Which images of a store a run uses, and why it leaves out the others: each is counted once."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrssl.core.labels import NO_FINDING
from cxrssl.data.detection import Example
from cxrssl.data.store import Store

_ROLES = {
    "train": "for training",
    "val": "for validation",
    "test": "for testing",
    "pool": "in the pool",
}


@dataclass(frozen=True)
class Usage:
    """What a run makes of the images of a store.

    Attributes:
        num_stored: Images in the store.
        used: Images by what the run does with them: `train`, `val` and `test`, or `pool`.
        boxes: Fused boxes of the used images, likewise; empty for a pool.
        left_out: The other images by reason; together with `used` they are all of the store.
        num_marks: Boxes that readers drew on the used images.
        num_marks_left_out: Those of them that are part of no fused box.
        num_not_stored: Images of the source that are not in the store, because they have a fault.
    """

    num_stored: int
    used: Mapping[str, int]
    boxes: Mapping[str, int]
    left_out: Mapping[str, int]
    num_marks: int
    num_marks_left_out: int
    num_not_stored: int

    def as_json(self) -> dict[str, Any]:
        """Return the record for `provenance.json` and `metrics.json`."""
        return {
            "stored": self.num_stored,
            "used": dict(self.used),
            "boxes": dict(self.boxes),
            "left_out": dict(self.left_out),
            "marks": self.num_marks,
            "marks_left_out": self.num_marks_left_out,
            "not_stored": self.num_not_stored,
        }

    def lines(self) -> list[str]:
        """Return it in words, a sentence each."""
        parts = [self._used_text(role) for role in self.used]
        num_left_out = sum(self.left_out.values())
        parts += [f"{num_left_out:,} left out"] if num_left_out else ["none left out"]
        lines = [f"{_images(self.num_stored)} in the store: {', '.join(parts)}."]
        if self.left_out:
            lines.append(f"Left out: {left_out_text(self.left_out)}.")
        if self.num_marks_left_out:
            lines.append(
                f"{self.num_marks_left_out:,} of {self.num_marks:,} marks of readers on the images "
                "that take part are in no box (data.fusion)."
            )
        if self.num_not_stored:
            lines.append(
                f"{_images(self.num_not_stored)} of the source could not be ingested and "
                f"{'is' if self.num_not_stored == 1 else 'are'} not in the store: see "
                "its manifest.json."
            )
        return lines

    def _used_text(self, role: str) -> str:
        boxes = self.boxes.get(role)
        unit = "box" if boxes == 1 else "boxes"
        return (
            f"{self.used[role]:,} {_ROLES[role]}{'' if boxes is None else f' ({boxes:,} {unit})'}"
        )


def usage_of(
    store: Store,
    used: Mapping[str, Collection[str]],
    *,
    splits: Mapping[str, str],
    unused_of_split: Mapping[str, str],
    normals: bool,
    reader: str | None = None,
    examples: Sequence[Example] = (),
) -> Usage:
    """Count the images of a store that a run uses, and the others by reason.

    Args:
        store: The store.
        used: Ids of the images by what the run does with them; none is in two.
        splits: The split of each image that takes part, from `splits_of`.
        unused_of_split: Why an image of a split is not used all the same, by split, in words that
            follow a number: `for validation`.
        normals: Whether images without findings take part.
        reader: The one reader whose boxes count, None for all.
        examples: The used images with their boxes; none for a pool.
    """
    role_of = {name: role for role, names in used.items() for name in names}
    rows = store.findings
    with_row = set(rows["image_id"])
    with_finding = set(rows.loc[rows["category"].ne(NO_FINDING), "image_id"])
    read = with_row if reader is None else set(rows.loc[rows["reader"].eq(reader), "image_id"])

    def reason(image_id: str, part: str) -> str:
        split = splits.get(image_id)
        if split is not None:
            if reader is not None and image_id not in read:
                return f"not read by {reader} (data.fusion is single:{reader})"
            return unused_of_split[split]
        if image_id not in with_row:
            return "without a mark that could be used, so neither with findings nor without"
        if image_id not in with_finding and not normals:
            return "without a finding (data.normals is false)"
        if part == "test":
            return "of the source's own test part (data.protocol leaves it out)"
        return "in no split"

    left_out = Counter(
        reason(image.image_id, image.part)
        for image in store.images
        if image.image_id not in role_of
    )
    boxes = dict.fromkeys(used, 0) if examples else {}
    for example in examples:
        boxes[role_of[example.image_id]] += len(example.boxes)
    return Usage(
        len(store),
        {role: len(names) for role, names in used.items()},
        boxes,
        dict(left_out.most_common()),
        sum(len(example.box_of_mark) for example in examples),
        sum(int((example.box_of_mark < 0).sum()) for example in examples),
        len(store.manifest["failures"]),
    )


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Return in words how many images are left out, and why."""
    return "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"

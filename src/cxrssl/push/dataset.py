"""Upload of a store: Parquet that plain `datasets` reads, with pixels only where asked for."""

from collections import Counter
from itertools import chain
from pathlib import Path

from cxrssl import __version__
from cxrssl.core.errors import DataError, HubError
from cxrssl.core.markdown import render_card
from cxrssl.data.builder import VinDrCXR
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.licence_terms import Origin, ids_sha256, origin_of
from cxrssl.data.protocol import SPLITS, Protocol
from cxrssl.data.store import Store
from cxrssl.hub.publish import Content, content_tag
from cxrssl.push.cards import Label
from cxrssl.push.metadata import data_metadata
from cxrssl.push.texts import DATA_TITLES, SET_DATA, licence_text
from cxrssl.push.upload import PushOptions, Upload

_RIGHT_OPTION = "--i-have-the-right-to-share-images"
_PROTOCOL: Protocol = "corrected"
_FUSION = "consensus"
_IOU = 0.2


def dataset_upload(folder: Path, work: Path, repo: str, options: PushOptions) -> Upload:
    """Write a store as Parquet and return the files and their card.

    Args:
        folder: Folder of the store.
        work: An empty folder for the Parquet files.
        repo: ORG/NAME.
        options: Visibility, licence, and whether images are uploaded.

    Raises:
        HubError: If the known terms of the data forbid it.
        DataError: If there is no store, or it has no boxes and `images` is false.
    """
    store = Store(folder)
    if not store.classes and not options.images:
        raise DataError(
            f"{folder} is a pool of images without boxes, and without --images nothing of it would "
            "go along. Name a store with boxes."
        )
    origin = origin_of(store)
    is_private = options.private is not False
    check_terms(origin, images=options.images, is_private=is_private, has_right=options.has_right)
    builder = VinDrCXR(
        store=folder,
        protocol=_PROTOCOL,
        fusion=_FUSION,
        consensus_iou=_IOU,
        images=options.images,
        cache_dir=str(work / "cache"),
    )
    builder.export(work / "parquet")
    prefix = f"{builder.dataset_name}-"
    files: dict[str, Content] = {
        f"data/{path.name.removeprefix(prefix)}": path
        for path in sorted((work / "parquet").glob("*.parquet"))
    }
    label = Label(repo, content_tag(files), options.licence)
    patterns = {split: f"data/{split}*.parquet" for split in builder.info.splits}
    card = _card(store, origin, label, patterns, images=options.images)
    return Upload("dataset", "data set", files, card)


def check_terms(origin: Origin, *, images: bool, is_private: bool, has_right: bool) -> None:
    """Check that the terms of the data allow the upload.

    Raises:
        HubError: If images of people, or public annotations of them, would be uploaded and the
            user has not stated the right to do so.
    """
    if has_right or origin == "phantom":
        return
    if origin == "VinDr-CXR" and images:
        raise HubError(
            "this is VinDr-CXR, or laid out as it is, and its terms (PhysioNet's data-use "
            "agreement, the rules of Kaggle's competition) forbid to pass its images on. Push the "
            f"annotations alone, without --images. {_RIGHT_OPTION} is for who has another "
            "agreement, or whose own data lie in that layout."
        )
    if origin == "VinDr-CXR" and not is_private:
        raise HubError(
            "this is VinDr-CXR, or laid out as it is, and its terms forbid to pass its annotations "
            f"on to people who have not agreed to them. Leave out --public, or say {_RIGHT_OPTION} "
            "if you have another agreement, or if it is your own data in that layout."
        )
    if images or not is_private:
        raise HubError(
            "these are of people, and cxrssl does not know under what terms; image ids are file "
            "names, and readers may be called by theirs. Push the annotations alone and privately, "
            f"without {'--images' if images else '--public'}, or say {_RIGHT_OPTION}."
        )


def _card(
    store: Store, origin: Origin, label: Label, patterns: dict[str, str], *, images: bool
) -> str:
    examples = examples_of(store, fusion=_FUSION, iou=_IOU)
    splits = splits_of(store, protocol=_PROTOCOL, normals=True)
    parts = {name: in_split(examples, splits, name) for name in SPLITS if name in patterns}
    boxes_text = "by several readers" if store.classes else "without boxes"
    title = f"{'Radiographs' if images else 'Boxes'} of {DATA_TITLES[origin]}, {boxes_text}"
    boxes: Counter[str] = Counter()
    images_with: Counter[str] = Counter()
    for example in chain.from_iterable(parts.values()):
        names = [store.classes[number] for number in example.labels]
        boxes.update(names)
        images_with.update(set(names))
    num_images = sum(map(len, parts.values()))
    content = {
        "metadata": data_metadata(
            licence=label.licence,
            name=title,
            num_images=num_images,
            splits=patterns,
            images=images,
        ),
        "title": title,
        "summary": (
            f"{num_images} chest radiographs, {'with' if images else 'without'} their pixels"
            + (
                ": the boxes that each reader drew, and the readers' consensus with its support."
                if store.classes
                else ", and no boxes: a pool to pretrain on."
            )
        ),
        "repo": label.repo,
        "tag": label.tag,
        "origin": origin,
        "data": SET_DATA[origin],
        "splits": [_split_row(name, part) for name, part in parts.items()],
        "classes": [
            {"name": name, "boxes": boxes[name], "images": images_with[name]}
            for name in store.classes
        ],
        "images": images,
        "size_px": store.manifest["size_px"],
        "fit": store.manifest["fit"],
        "fusion": _FUSION,
        "consensus_iou": _IOU,
        "protocol": _PROTOCOL,
        "fingerprint": store.fingerprint,
        "version": __version__,
        "license": licence_text(label.licence, "annotations"),
    }
    return render_card("card_dataset", content)


def _split_row(name: str, part: list[Example]) -> dict[str, object]:
    return {
        "name": name,
        "images": len(part),
        "objects": sum(len(example.boxes) for example in part),
        "readers": sum(len(example.reader_boxes) for example in part),
        "sha256": ids_sha256([example.image_id for example in part]),
    }

"""What each name in the scores means, in a sentence that travels with the numbers.

Where nothing else is said, the 100 strongest detections of a class and image take part, as in COCO.
"""

_COCO = "averaged over IoU 0.50:0.95 and over the classes with true boxes; pycocotools 2.0"
_PX = "pixels of the original image (of a COCO file: of its boxes, by `area` where it is given)"
_SIZES = {
    "small": f"of up to 32^2 {_PX}",
    "medium": f"of 32^2 to 96^2 {_PX}",
    "large": f"of 96^2 and more {_PX}",
}
_POOLED = (
    "classes pooled, the 100 strongest detections of a class and image, a box found by one of its "
    "class at IoU > 0.4"
)
_MATCHED = f"{_POOLED}, all images, with and without findings"

DEFINITIONS: dict[str, str] = {
    "AP": f"average precision at 101 recalls, {_COCO}",
    "AP50": "the same at IoU 0.50",
    "AP75": "the same at IoU 0.75",
    **{f"AP_{size}": f"AP of true boxes {area}" for size, area in _SIZES.items()},
    "AR1": f"recall of the 1 strongest detection of a class and image, {_COCO}",
    "AR10": "the same of 10",
    "AR100": "the same of 100",
    **{f"AR_{size}": f"AR100 of true boxes {area}" for size, area in _SIZES.items()},
    "AR100_agnostic": "recall of the 100 strongest detections of an image whatever their class, "
    "averaged over IoU 0.50:0.95; pycocotools with useCats=0; the paper's AR",
    "AR_small1000_agnostic": "the same of 1,000, of true boxes of up to "
    "32^2 pixels of the original image; the paper's AR small, but for the pixels, which there are "
    "those of 512 x 512",
    "AP40": "average precision at 101 recalls with COCO's matching, at IoU > 0.4",
    "AP40_voc": "area under the precision-recall curve with PASCAL VOC 2010's matching, at "
    "IoU > 0.4, averaged over the classes with true boxes; Kaggle VinBigData's metric on these "
    "classes",
    "AP_rare": "AP over the classes in 1 to 10 of the images evaluated; LVIS, arXiv 1908.03195, "
    "has these bounds, on training images",
    "AP_common": "AP over the classes in 11 to 100 of the images",
    "AP_frequent": "AP over the classes in more than 100 of the images",
    **{
        f"AP50_support_{k}": f"AP50 of the consensus boxes {readers} drew; the others are ignored"
        for k, readers in (
            (1, "a single reader"),
            (2, "two readers"),
            (3, "three and more readers"),
        )
    },
    "froc_mean": f"mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false alarms an image, "
    f"{_MATCHED}; LUNA16, arXiv 1612.08012",
    **{
        f"froc_at_{rate:g}": f"sensitivity at {rate:g} false alarms an image, {_MATCHED}"
        for rate in (0.125, 0.25, 0.5, 1, 2, 4, 8)
    },
    "fp_per_normal_image_at_sens_0.5": "detections a normal image (one that somebody read as such; "
    "of a COCO file: one that is not said to have another finding, without boxes), at the greatest "
    f"threshold that finds half of the true boxes; {_POOLED}",
    "best_iou_mean": "mean over true boxes of the greatest overlap with one of the 100 strongest "
    "detections of the class in the image, 0 if there is none; the paper's table II, model rows",
    "best_iou_std": "its population standard deviation",
    "best_iou_above_0.2_mean": "the same over the true boxes overlapped by more than 0.2, the "
    "threshold of the paper's reader rows",
    "best_iou_above_0.2_std": "its population standard deviation",
    "ece": f"mean gap of score and precision over 10 bins of the score, {_POOLED}; "
    "arXiv 1706.04599",
}

COUNTS = frozenset({"fp_per_normal_image_at_sens_0.5"})
"""Names of scores that count, and can be more than 1."""

PER_CLASS = ("AP", "AP50", "AP75", "AP40", "AP40_voc", "AR100")
"""Names of the scores that each class has as well."""

"""Sentences of the cards about the source, terms and licence of data and weights."""

from cxrssl.data.licence_terms import Origin

MODEL_DATA: dict[Origin | None, str] = {
    "phantom": (
        "Made radiographs and made readers (`cxrssl phantom`), so no terms of anyone apply to the "
        "data; and nothing measured on them is about patients."
    ),
    "VinDr-CXR": (
        "Images laid out or labelled as VinDr-CXR's, and so taken for it (Nguyen et al., arXiv "
        "2012.15029): chest radiographs of two hospitals in Hanoi, each read by three "
        "radiologists; from PhysioNet under its credentialed data-use agreement, or as VinBigData "
        "from Kaggle under the rules of its competition. Both forbid to pass images or annotations "
        "on, and this repository holds none. The publisher of these weights decided that the "
        "terms allow it. Cite the data set if you use them."
    ),
    "unknown": (
        "Radiographs of a source that cxrssl does not know; ask the publisher which one it is, "
        "and under what terms. No image and no annotation is in this repository."
    ),
    None: (
        "The run has no record of its source: it, or its store, was made by an earlier version of "
        "cxrssl. No image and no annotation is in this repository."
    ),
}

SET_DATA: dict[Origin, str] = {
    "phantom": "Made by `cxrssl phantom`: no terms of anyone apply to images or boxes.",
    "VinDr-CXR": (
        "Annotations laid out or labelled as VinDr-CXR's, and so taken for them (Nguyen et al., "
        "arXiv 2012.15029). PhysioNet gives that data set under a credentialed data-use agreement, "
        "and Kaggle as VinBigData under the rules of its competition: use them only as those terms "
        "allow, give them to nobody who has not agreed to them, and cite the data set."
    ),
    "unknown": (
        "The source is unknown to cxrssl; ask the publisher which one it is, and under what "
        "terms. Image ids are the names of its files."
    ),
}

DATA_TITLES: dict[Origin | None, str] = {
    "phantom": "made radiographs (cxrssl phantom)",
    "VinDr-CXR": "VinDr-CXR",
    "unknown": "chest radiographs",
    None: "chest radiographs",
}

NO_LICENCE = "other"


def licence_text(licence: str, content: str) -> str:
    """Return a card's sentence about the licence.

    Args:
        licence: An identifier of the Hub, `other` if none was named.
        content: What is licensed, such as "weights".
    """
    if licence == NO_LICENCE:
        return (
            f"The publisher named no licence for the {content}: ask before you use them. "
            "The licence of cxrssl (Apache-2.0) does not carry over, nor does that of another "
            "network of the same architecture."
        )
    return f"The {content} are under the licence `{licence}`."

"""Weighted boxes fusion of what several detectors return for an image, or one for several views.

Class by class and from the highest score on, a box joins the fused box that it overlaps most, if
their IoU is above 0.55, and begins another if not. A fused box is the mean of its boxes, weighted
by their scores. Its score is the mean of theirs times min(T, N) / N, for T boxes out of N passes:
what one pass of four returns keeps a quarter of its score. All passes weigh the same.

Source: Solovyev, Wang and Gabruseva, arXiv 1910.13302, section 3, as ensemble-boxes 1.0.9 computes
it with `conf_type="avg"`; 0.55 is that library's default.
"""

from collections.abc import Sequence

import numpy as np

from cxrssl.predict.found import Finding

IOU = 0.55


def fused(
    passes: Sequence[Sequence[Finding]], *, width: int, height: int, max_findings: int
) -> tuple[Finding, ...]:
    """Return the findings of N passes over one image as one list, highest score first.

    Args:
        passes: The findings of each pass, boxes xyxy in pixels of the image and within it. A box
            without area, such as one in the bars of a letterbox, is left out.
        width: Columns of the image.
        height: Rows of the image.
        max_findings: How many findings are kept, those of the highest scores.
    """
    # Here, because it imports numba, which takes a third of a second.
    from ensemble_boxes import weighted_boxes_fusion

    names = sorted({finding.label for findings in passes for finding in findings})
    scale = np.array([width, height, width, height], np.float64)
    usable = [[finding for finding in findings if _is_usable(finding)] for findings in passes]
    boxes, scores, labels = weighted_boxes_fusion(
        [[np.array(finding.box) / scale for finding in findings] for findings in usable],
        [[finding.score for finding in findings] for findings in usable],
        [[names.index(finding.label) for finding in findings] for findings in usable],
        iou_thr=IOU,
    )
    # Its boxes are float32, so that an edge may come out beyond the image by its last bit.
    corners = (np.clip(boxes, 0, 1) * scale).tolist()
    rows = zip(corners, labels.tolist(), scores.tolist(), strict=True)
    findings = (Finding((*box,), names[int(label)], score) for box, label, score in rows)
    return tuple(findings)[:max_findings]


def _is_usable(finding: Finding) -> bool:
    x_min, y_min, x_max, y_max = finding.box
    return x_max > x_min and y_max > y_min and finding.score > 0

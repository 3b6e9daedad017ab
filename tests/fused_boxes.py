"""Weighted boxes fusion in plain Python, for several tests."""

from collections.abc import Sequence

import pytest

from cxrssl.predict.found import Finding

Box = tuple[float, float, float, float]
IOU = 0.55


def by_the_paper(passes: Sequence[Sequence[Finding]], num_passes: int) -> list[Finding]:
    """Fuse as arXiv 1910.13302, section 3 lists the steps; in pixels, one box after the other."""
    results = []
    for label in {finding.label for findings in passes for finding in findings}:
        boxes = [finding for findings in passes for finding in findings if finding.label == label]
        clusters: list[list[Finding]] = []
        means: list[Box] = []
        for finding in sorted(boxes, key=lambda finding: -finding.score):
            overlaps = [iou(mean, finding.box) for mean in means]
            best = max(range(len(means)), key=overlaps.__getitem__, default=-1)
            if best >= 0 and overlaps[best] > IOU:
                clusters[best].append(finding)
                means[best] = mean_box(clusters[best])
            else:
                clusters.append([finding])
                means.append(finding.box)
        for cluster, mean in zip(clusters, means, strict=True):
            score = sum(finding.score for finding in cluster) / len(cluster)
            share = min(len(cluster), num_passes) / num_passes
            results.append(Finding(mean, label, score * share))
    return sorted(results, key=lambda finding: -finding.score)


def mean_box(cluster: Sequence[Finding]) -> Box:
    total = sum(finding.score for finding in cluster)
    edges = zip(*(finding.box for finding in cluster), strict=True)
    scores = [finding.score for finding in cluster]
    x0, y0, x1, y1 = (
        sum(edge * score for edge, score in zip(values, scores, strict=True)) / total
        for values in edges
    )
    return x0, y0, x1, y1


def iou(one: Box, other: Box) -> float:
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return across * down / (sum(areas) - across * down)


def assert_same(findings: Sequence[Finding], expected: Sequence[Finding]) -> None:
    assert [finding.label for finding in findings] == [finding.label for finding in expected]
    for mine, other in zip(findings, expected, strict=True):
        assert mine.score == pytest.approx(other.score, abs=1e-6)
        assert mine.box == pytest.approx(other.box, abs=2e-3)

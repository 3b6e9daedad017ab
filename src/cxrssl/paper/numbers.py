"""The paper's numbers, for comparison with a plan's on the same data.

Source: Benčević et al. 2022, tables I and II. Rows are named by the percentage of labels used; all
labels are its baseline, the others its "SSL" rows.
"""

COLUMNS = ("AP", "AP50", "AP_small", "AR100_agnostic", "AR_small1000_agnostic")
"""Our names of table I's columns: mAP, mAP50, mAP small, AR, AR small."""
AT_512_PX = ("AP_small", "AR_small1000_agnostic")
"""Those columns whose small boxes are by the area at 512 x 512 pixels; ours are by the area in the
original image, where far fewer boxes are small."""

TABLE_1: dict[str, tuple[float, float, float, float, float]] = {
    "100": (0.129, 0.278, 0.021, 0.412, 0.154),
    "90": (0.142, 0.284, 0.026, 0.413, 0.156),
    "80": (0.139, 0.292, 0.020, 0.412, 0.158),
    "70": (0.130, 0.268, 0.014, 0.402, 0.146),
    "60": (0.123, 0.272, 0.014, 0.394, 0.131),
    "50": (0.109, 0.248, 0.011, 0.387, 0.131),
    "40": (0.104, 0.230, 0.011, 0.378, 0.120),
    "30": (0.095, 0.202, 0.007, 0.363, 0.108),
    "20": (0.081, 0.178, 0.006, 0.338, 0.089),
    "10": (0.060, 0.135, 0.003, 0.303, 0.064),
}

TABLE_2: dict[str, tuple[float, float]] = {
    "100": (0.565, 0.309),
    "90": (0.566, 0.309),
    "80": (0.565, 0.308),
    "70": (0.555, 0.312),
    "60": (0.545, 0.316),
}
"""Mean and deviation of the greatest overlap with each true box."""

# Its "R09 and R10" are R8 and R9 of the table, without the threshold; its "R09 and R11" are R8 and
# R10, above an overlap of 0.2: see `cxrssl describe`.
READERS_ALL: dict[tuple[str, str], tuple[float, float]] = {("R8", "R9"): (0.580, 0.284)}
READERS_ABOVE: dict[tuple[str, str], tuple[float, float]] = {("R8", "R10"): (0.674, 0.149)}

"""`cxrssl eval`: every score of a detector or of anyone's COCO files, with intervals.

All scores come from one match table, and so do the replicates behind their intervals. Files need no
detector, and `evaluate.files` loads no torch.
"""

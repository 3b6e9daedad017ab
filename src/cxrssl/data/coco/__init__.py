"""COCO files of detections and truth: read, matched by image and class, written."""

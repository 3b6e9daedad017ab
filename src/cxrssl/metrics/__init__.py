"""Scores of detections against truth. Takes plain arrays and tensors, knows no model and no store."""

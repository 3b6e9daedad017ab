"""Scores of detections against truth, from plain tensors: no model, no store."""

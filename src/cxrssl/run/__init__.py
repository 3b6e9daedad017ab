"""Runs: their folders, seeds, checkpoints, logs and processes."""

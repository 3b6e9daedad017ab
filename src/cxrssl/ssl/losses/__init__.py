"""Losses of self-supervised methods, one file a loss; none has weights."""

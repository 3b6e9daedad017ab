"""Self-supervised methods, one file a loss or a model."""

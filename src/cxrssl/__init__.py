"""How few boxes do you need? Self-supervised pretraining and detection for chest radiographs."""

__version__ = "0.1.0"

"""The numbers of the reproduced paper, and the faults of its published code."""

"""What belongs to this one paper: its numbers and the faults of its published code."""

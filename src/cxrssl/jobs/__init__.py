"""Commands run side by side, on this machine or through Slurm."""

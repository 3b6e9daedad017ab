"""Pulling from and publishing to the Hugging Face Hub."""

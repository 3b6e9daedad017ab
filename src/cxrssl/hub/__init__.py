"""The Hugging Face Hub: what is pulled from it and pushed to it."""

"""The only door to pydicom: `read` decodes a radiograph to grey levels, `write` makes the phantom's files."""

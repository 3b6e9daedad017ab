"""The only door to pydicom: `read` decodes a radiograph, `write` makes the phantom's files."""

"""What `import cxrssl` offers to Python programs: the command line's work, with Python's types.

Each module imports only what its calls need, so that reading a DICOM file imports no torch. Calls
leave the process as it was (`run.process_state`), and raise the errors that the command line prints
(`core.errors`); where a message names an option, such as `--resume`, an argument of that name is
meant.
"""

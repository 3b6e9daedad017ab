"""The Python API, `import cxrssl`: what the command line does, with Python's types.

Each module imports only what its calls need, so that reading a DICOM file imports no torch. Calls
leave the process as it was (`run.process_state`), and raise the errors that the command line prints
(`core.errors`); an option in a message, such as `--resume`, stands for the argument of that name.
"""

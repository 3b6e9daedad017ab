"""From DICOM files and tables to batches: decode, store, consensus, splits, sampling and views."""

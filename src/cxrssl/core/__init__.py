"""What everything else stands on: errors, labels, boxes and plain image arithmetic. Imports nothing of cxrssl above it."""

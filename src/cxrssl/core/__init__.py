"""What everything else stands on: errors, labels, files, boxes and plain image arithmetic."""

"""What makes outputs right or wrong; one file a task."""

"""Reports for people and programs; one file an output."""

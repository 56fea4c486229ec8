"""What one run of `edgekit check` writes; one file an output."""

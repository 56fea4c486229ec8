"""Model formats: sniff, check, digest, describe; one file a format."""

"""Models that edgekit trains itself; one file a model."""

FORMAT = "keras"
"""The format that a trained zoo model has."""

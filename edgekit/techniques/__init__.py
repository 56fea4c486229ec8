"""Techniques that a recipe can name; one folder a technique, one file a model format."""

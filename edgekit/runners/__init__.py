"""Runtimes that execute a model; one file a runtime."""

"""Runs plans, keeps the step cache, measures, and judges."""

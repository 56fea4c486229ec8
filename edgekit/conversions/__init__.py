"""Conversions between formats; one file a pair."""

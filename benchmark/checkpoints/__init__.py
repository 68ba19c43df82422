"""Checkpoints: the suite's, with a manifest, and released ones of publications, read as plain data."""

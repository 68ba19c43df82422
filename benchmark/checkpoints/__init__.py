"""Checkpoints: ours, which say what they are, and released ones of publications, which are read as plain data."""

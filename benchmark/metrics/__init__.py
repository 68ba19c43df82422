"""Scores from additive per-event counts, and their uncertainties."""

"""Regression tests on published and recorded numbers: `python -m benchmark verify`."""

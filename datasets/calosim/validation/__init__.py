"""The simulated calorimeter beside what is expected of it: `python -m benchmark.datasets.calosim.validation`."""

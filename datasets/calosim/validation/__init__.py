"""The simulated calorimeter compared with expectations: `python -m benchmark.datasets.calosim.validation`."""

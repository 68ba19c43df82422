"""How fast the suite's parts are on the machine at hand: `python -m benchmark perf`."""

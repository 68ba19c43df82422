"""Speed of the suite's parts on this machine: `python -m benchmark perf`."""

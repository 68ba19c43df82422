"""Where work runs: devices, kernels, processes and clusters."""

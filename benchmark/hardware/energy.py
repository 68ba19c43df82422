"""Electrical energy of a run, where the machine measures it: processor packages (RAPL) and NVIDIA GPUs (NVML).

Measured for the whole package or card, other programs included; None where a counter cannot be read.
"""

from __future__ import annotations

from pathlib import Path

RAPL = Path("/sys/class/powercap")  # energy_uj counts microjoules and starts again at max_energy_range_uj


class EnergyMeter:
    """Counts from its creation."""

    def __init__(self, device: str = "cpu") -> None:
        self._packages = {
            path: value for path in _package_paths() if (value := _read_number(path / "energy_uj")) is not None
        }
        self._gpu = _gpu_j() if device == "cuda" else None
        self._device = device

    def joules(self) -> float | None:
        """Energy so far; None where it cannot be measured, as in most containers."""
        parts = [_package_j(path, before) for path, before in self._packages.items()]
        if self._device == "cuda":
            now = _gpu_j()
            parts.append(None if now is None or self._gpu is None else now - self._gpu)
        known = [part for part in parts if part is not None]
        return round(sum(known), 1) if known and len(known) == len(parts) else None


def _package_paths() -> list[Path]:
    """The domains of whole packages; subdomains would be counted twice."""
    return sorted(path for path in RAPL.glob("intel-rapl:*") if path.name.count(":") == 1)


def _package_j(package: Path, before: float) -> float | None:
    now = _read_number(package / "energy_uj")
    if now is None:
        return None
    around = (_read_number(package / "max_energy_range_uj") or 0.0) if now < before else 0.0
    return (now - before + around) / 1e6


def _read_number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _gpu_j() -> float | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0))) / 1e3
    except Exception:  # not installed, no driver, a card that does not count: all mean unknown
        return None

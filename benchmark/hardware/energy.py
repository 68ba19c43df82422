"""Electrical energy of a run, where the machine tells it: processor packages (RAPL) and NVIDIA GPUs (NVML).

What is measured is the whole package's or card's, other programs on it included; records keep the number only of what
could be read, and None where nothing could.
"""

from __future__ import annotations

from pathlib import Path

RAPL = Path("/sys/class/powercap")  # energy_uj counts microjoules and starts again at max_energy_range_uj


class EnergyMeter:
    """Counts from when it is made."""

    def __init__(self, device: str = "cpu") -> None:
        self._packages = {path: value for path in _packages() if (value := _number(path / "energy_uj")) is not None}
        self._gpu = _gpu_j() if device == "cuda" else None
        self._device = device

    def joules(self) -> float | None:
        """Energy so far; None where it cannot be measured, as in most containers."""
        parts = [_used(path, before) for path, before in self._packages.items()]
        if self._device == "cuda":
            now = _gpu_j()
            parts.append(None if now is None or self._gpu is None else now - self._gpu)
        known = [part for part in parts if part is not None]
        return round(sum(known), 1) if known and len(known) == len(parts) else None


def _packages() -> list[Path]:
    """The domains of whole packages; those inside them would be counted twice."""
    return sorted(path for path in RAPL.glob("intel-rapl:*") if path.name.count(":") == 1)


def _used(package: Path, before: float) -> float | None:
    now = _number(package / "energy_uj")
    if now is None:
        return None
    around = (_number(package / "max_energy_range_uj") or 0.0) if now < before else 0.0
    return (now - before + around) / 1e6


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _gpu_j() -> float | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0))) / 1e3
    except Exception:  # not installed, no driver, a card that does not count: all mean that nothing is known
        return None

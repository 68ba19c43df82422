"""Small tables from the host to a device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_device(table: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers of a (nested) list on the device; the host does not wait for the copy."""
    tensor = torch.tensor(table, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def like(table: Any, tensor: Tensor) -> Tensor:
    """The same with a tensor's dtype and device."""
    return to_device(table, tensor.dtype, tensor.device)

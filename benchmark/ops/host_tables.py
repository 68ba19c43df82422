"""Small tables that the host makes for a device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_device(table: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers of a (nested) list on the device; the host does not wait for a GPU to take them."""
    made = torch.tensor(table, dtype=dtype)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)


def like(table: Any, tensor: Tensor) -> Tensor:
    """The same in the type and on the device of a tensor."""
    return to_device(table, tensor.dtype, tensor.device)

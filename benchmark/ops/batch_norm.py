"""Batch normalisation over the rows of all processes of a distributed training.

Alone, the layers are torch's. Of several processes each has a share of a step's events; a norm over this share alone
would make results depend on the number of processes. Torch's own `SyncBatchNorm` needs a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm


def several_processes() -> bool:
    """Whether training is distributed over several processes."""
    group = torch.distributed
    return group.is_available() and group.is_initialized() and group.get_world_size() > 1


class _Sum(torch.autograd.Function):
    """An all-reduce of values, and of their gradients on the way back."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        """The sum over processes."""
        return _all_reduced(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """The sum of the processes' gradients: each one's values are in all sums."""
        return _all_reduced(gradients[0])


def _all_reduced(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total


def summed(values: Tensor) -> Tensor:
    """The sum over processes, with gradients."""
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _OverProcesses(nn.modules.batchnorm._BatchNorm):
    """A batch norm of torch whose statistics in training are over the rows of all processes.

    Where there is a single row in all, which has no variance, it is normed by the running statistics.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) or (N, C, ...) in and out. Every process must call it, also one without rows."""
        if not self.training:
            return super().forward(x)
        if several_processes():
            return self._over_processes(x)
        if x.numel() == x.shape[1] and self.running_mean is not None:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)

    def _over_processes(self, x: Tensor) -> Tensor:
        rows = x.float().transpose(0, 1).flatten(1)  # (C, n)
        moments = summed(torch.cat([rows.sum(1), rows.new_tensor([float(rows.shape[1])])]))
        count = moments[-1].detach()
        mean = moments[:-1] / count.clamp(min=1)
        variance = summed((rows - mean[:, None]).square().sum(1)) / count.clamp(min=1)
        if self.track_running_stats:
            self._update(mean.detach(), variance.detach(), count)
            mean = torch.where(count > 1, mean, self.get_buffer("running_mean"))
            variance = torch.where(count > 1, variance, self.get_buffer("running_var"))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        shape = (1, -1, *(1,) * (x.dim() - 2))
        return (x * scale.view(shape) + shift.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards these, with torch's unbiased variance."""
        n_batches = self.get_buffer("num_batches_tracked").add_(1)
        momentum = (count > 1) * (1 / n_batches if self.momentum is None else self.momentum)
        self.get_buffer("running_mean").lerp_(mean, momentum)
        self.get_buffer("running_var").lerp_(variance * count / (count - 1).clamp(min=1), momentum)


class BatchNorm1d(_OverProcesses, nn.BatchNorm1d):
    """`nn.BatchNorm1d` over all processes."""


class BatchNorm2d(_OverProcesses, nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all processes."""


class BatchNorm3d(_OverProcesses, nn.BatchNorm3d):
    """`nn.BatchNorm3d` over all processes."""


_OF_TORCH: dict[type[nn.Module], type[_OverProcesses]] = {
    nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d, nn.BatchNorm3d: BatchNorm3d,
}  # fmt: skip


def norms_over_processes(model: nn.Module) -> list[str]:
    """Turn torch's batch norms in `model` into those above, in place: parameters and names stay as they are.

    Returns the names of batch norms that stay over one process: those of classes of a model's own.
    """
    for module in model.modules():
        module.__class__ = _OF_TORCH.get(type(module), type(module))
    own = (nn.modules.batchnorm._BatchNorm,)
    known = (_OverProcesses, nn.SyncBatchNorm)
    return [name for name, m in model.named_modules() if isinstance(m, own) and not isinstance(m, known)]

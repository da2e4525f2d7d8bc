"""Batch norms and linear layers of the encoder folded into fewer, for inference."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from musicpase.nn import PASE
from musicpase.nn.blocks import ConvBlock
from musicpase.nn.sinc import SincConv

__all__ = ["fold_gates", "fold_head", "fold_norm"]


def fold_norm(block: ConvBlock) -> tuple[Tensor, Tensor]:
    """Weight `(out, in, taps)` and bias `(out,)` of a block's convolution with its batch norm in it."""
    conv = block.conv
    weight = conv.filters() if isinstance(conv, SincConv) else cast(nn.Conv1d, conv).weight
    bias = None if isinstance(conv, SincConv) else cast(nn.Conv1d, conv).bias
    scale, shift = norm_scale_shift(block.norm)
    return weight * scale[:, None, None], shift if bias is None else bias * scale + shift


def fold_gates(linear: nn.Linear) -> nn.Linear:
    """A copy of the QRNN's projection that can change its type and device."""
    copy = nn.Linear(linear.in_features, linear.out_features)
    copy.load_state_dict(linear.state_dict())
    return copy


def fold_head(module: PASE) -> nn.Linear:
    """What is linear behind the recurrence as one layer: top convolution, skips and last norm."""
    weight = torch.cat(
        [module.W.weight, *(skip.weight for skip in cast(Iterable[nn.Conv1d], module.denseskips))], dim=1
    )[..., 0]
    scale, shift = norm_scale_shift(module.norm_out)
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.weight = nn.Parameter(weight * scale[:, None])
    assert module.W.bias is not None
    head.bias = nn.Parameter(module.W.bias * scale + shift)
    return head


def norm_scale_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """A batch norm in eval mode as `scale * x + shift`."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift + norm.bias if norm.affine else shift

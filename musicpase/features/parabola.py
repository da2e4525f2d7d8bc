"""Interpolation between bins: spectral peaks of the tuning estimate, periods of pYIN."""

import torch
from torch import Tensor

__all__ = ["parabolic_shift"]


def parabolic_shift(left: Tensor, centre: Tensor, right: Tensor) -> Tensor:
    """Where the parabola through three neighbouring values has its extremum, relative to the middle one.

    Float64 inside, and rounded like the values, in the order of librosa's compiled stencil: pYIN's pitch bins
    and the tuning's histogram are decided by the last bits.

    Returns:
        A shift in (-1, 1) bins; 0 where the extremum is farther away (or nowhere: a straight line).
    """
    curvature = (left + right).double() - 2.0 * centre.double()
    slope = (right - left).double() / 2.0
    inside = slope.abs() < curvature.abs()
    return torch.where(inside, -slope / torch.where(inside, curvature, 1.0), 0.0).to(centre.dtype)

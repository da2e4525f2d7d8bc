"""Writing a model folder: fp16 where it costs nothing, fp32 where it would."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from musicpase.atomic import write_atomic
from musicpase.config import EncoderConfig
from musicpase.errors import ModelError
from musicpase.weights.config_file import config_bytes

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "save_folder", "stored", "weights_bytes"]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def stored(key: str, value: Tensor) -> Tensor:
    """One tensor of a state dict as it is stored: matrices and kernels in fp16, all else in fp32.

    Vectors (biases, norms, slopes) are 0.2 % of the bytes, and a running variance may lie outside fp16's range. The
    sinc layer's cut-off frequencies [Hz] would be off by up to 2 Hz in fp16, which turns the phase at the ends of
    a filter by a tenth of a radian.

    Raises:
        ModelError: a value is not finite, or too large for its type.
    """
    half = value.is_floating_point() and value.dim() >= 2 and not key.endswith("_hz_")
    dtype = torch.float16 if half else torch.float32 if value.is_floating_point() else value.dtype
    result = value.detach().to("cpu", dtype).contiguous()
    if not result.isfinite().all():
        raise ModelError(f"tensor '{key}' has values that {dtype} cannot hold or that are not finite")
    return result


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A state dict as the bytes of `model.safetensors`; equal values give equal bytes."""
    return save({key: stored(key, value) for key, value in state.items()}, metadata={"format": "pt"})


def save_folder(config: EncoderConfig, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write `config.json` and `model.safetensors` into an existing folder, each in one step.

    Raises:
        ModelError: a weight is not finite.
        OutputError: the folder cannot be written.
    """
    data = weights_bytes(state)
    write_atomic(folder / CONFIG_NAME, config_bytes(config))
    write_atomic(folder / WEIGHTS_NAME, data)

"""Seeded weights and waveforms behind pase_original.npz (numpy RandomState: the same on every platform).

The npz holds, per model (pase_512, paseplus_256, paseplus_512): `keys` and `shapes` of the original state dict in its
order, `low_hz` and `band_hz` of the sinc layer, `seed`, and for each length n the original code's output on
`waveform(n, seed=n)`: `out_n` = output[:, ::37] (channels, every 37th frame), `mean_n` = mean over time, and
`out_n_shape`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np


def state_dict(reference: Mapping[str, Any], model: str) -> dict[str, np.ndarray[Any, Any]]:
    """The original's state dict of one model as {key: numpy array}."""
    random = np.random.RandomState(int(reference[f"{model}/seed"]))
    arrays = {}
    for key, shape_text in zip(reference[f"{model}/keys"], reference[f"{model}/shapes"], strict=True):
        shape = tuple(int(part) for part in str(shape_text).split(",") if part)
        key = str(key)
        if key.endswith("num_batches_tracked"):
            arrays[key] = np.array(7)
        elif "low_hz" in key or "band_hz" in key:
            arrays[key] = reference[f"{model}/{'low_hz' if 'low_hz' in key else 'band_hz'}"]
        elif key.endswith("running_var"):
            arrays[key] = random.uniform(0.5, 2, shape)
        elif key.endswith("running_mean"):
            arrays[key] = random.normal(0, 0.1, shape)
        elif key.endswith("norm.weight"):
            arrays[key] = random.uniform(0.5, 1.5, shape)
        elif key.endswith("act.weight"):
            arrays[key] = random.uniform(0.05, 0.4, shape)
        elif key.endswith("bias"):
            arrays[key] = random.normal(0, 0.05, shape)
        else:
            arrays[key] = random.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape)
    return arrays


def waveform(samples: int, seed: int) -> np.ndarray[Any, Any]:
    """A rising tone with a decaying noise burst every half second, float32, 16 kHz."""
    random = np.random.RandomState(seed)
    seconds = np.arange(samples) / 16000
    tone = 0.3 * np.sin(2 * np.pi * (220 + 40 * seconds) * seconds)
    return (tone + 0.1 * random.normal(size=samples) * np.exp(-((seconds % 0.5) * 8))).astype("float32")

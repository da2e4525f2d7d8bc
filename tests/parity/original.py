"""The original implementation's outputs on seeded weights, and those weights in our modules."""

from pathlib import Path

import numpy as np
import torch

from musicpase.config import EncoderConfig
from musicpase.nn import PASE, PASEPlus
from tests.parity import seeded

REFERENCE = np.load(Path(__file__).with_name("pase_original.npz"), allow_pickle=False)
MODELS = {
    "pase_512": (PASE, EncoderConfig(qrnn=False, skips=False)),
    "paseplus_256": (PASEPlus, EncoderConfig(embedding_dim=256)),
    "paseplus_512": (PASEPlus, EncoderConfig()),
}
LENGTHS = (16000, 48000, 37123)


def state_dict(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.as_tensor(value) for key, value in seeded.state_dict(REFERENCE, name).items()}


def module(name: str) -> PASE:
    kind, config = MODELS[name]
    model = kind(config)
    model.load_state_dict(state_dict(name), strict=True)
    return model.eval()


def waveform(samples: int) -> torch.Tensor:
    return torch.from_numpy(seeded.waveform(samples, seed=samples))

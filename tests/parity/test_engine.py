"""Law: the engine computes what the original implementation computes, whatever the strips."""

import numpy as np
import pytest
import torch

from musicpase.inference.batching import Batcher, Track
from musicpase.inference.engine import Engine
from musicpase.inference.pooling import FramePool, MeanPool
from tests.parity.original import LENGTHS, MODELS, REFERENCE, module, waveform


def engine(name: str, frames: int, dtype: torch.dtype = torch.float32) -> Engine:
    return Engine(module(name), frames, torch.device("cpu"), dtype)


@pytest.mark.parametrize("frames", [20, 100, 400])
@pytest.mark.parametrize("name", MODELS)
def test_equals_original(name: str, frames: int) -> None:
    strips = engine(name, frames)
    batcher = Batcher(strips)
    pools = {samples: (FramePool(strips.head), MeanPool(strips.head)) for samples in LENGTHS}
    for samples, pair in pools.items():  # the three share strips
        for pool in pair:
            track = Track(pool)
            batcher.push(track, waveform(samples).numpy())
            batcher.close(track)
    batcher.flush()
    for samples, (every, mean) in pools.items():
        rows, theirs = every.rows().T, REFERENCE[f"{name}/out_{samples}"]
        assert rows.shape == tuple(REFERENCE[f"{name}/out_{samples}_shape"])
        rms = np.sqrt(np.mean(theirs**2))
        assert np.abs(rows[:, ::37] - theirs).max() < 1e-4 * rms
        assert np.abs(mean.rows()[0] - REFERENCE[f"{name}/mean_{samples}"]).max() < 1e-4 * rms


def test_bf16_points_the_same_way() -> None:
    strips = engine("paseplus_512", 100, torch.bfloat16)
    batcher, pool = Batcher(strips), MeanPool(strips.head)
    track = Track(pool)
    batcher.push(track, waveform(48000).numpy())
    batcher.close(track)
    batcher.flush()
    row, theirs = pool.rows()[0], REFERENCE["paseplus_512/mean_48000"]
    assert np.dot(row, theirs) / np.linalg.norm(row) / np.linalg.norm(theirs) > 0.999
    assert not np.array_equal(row, theirs)

"""Laws: a sound's embedding depends on the sound alone; streamed equals whole (DESIGN.md, contract 1)."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicpase.config import EncoderConfig
from musicpase.inference.batching import Batcher, Track
from musicpase.inference.engine import Engine
from musicpase.inference.pooling import FramePool, MeanPool, Pool, Pooling, SegmentPool
from musicpase.nn import PASE, PASEPlus

Rows = NDArray[np.float32]
SMALL = EncoderConfig(embedding_dim=32, channels=(16, 16, 32, 32, 32, 32, 64, 64), qrnn_dim=48)


@cache
def small(qrnn: bool = True) -> PASE:
    """A narrow encoder whose every parameter and statistic is away from its initial value."""
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    config = SMALL if qrnn else EncoderConfig(embedding_dim=32, channels=SMALL.channels, qrnn=False, skips=False)
    model = PASEPlus(config)
    for key, value in model.state_dict().items():
        if key.endswith(("running_var", "norm.weight")):
            value.uniform_(0.5, 2, generator=generator)
        elif key.endswith(("norm.bias", "running_mean", "act.weight")):
            value.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def sound(samples: int, seed: int) -> Rows:
    return np.random.default_rng(seed).normal(0, 0.2, samples).astype(np.float32)


def embed(strips: Engine, sounds: Sequence[Rows], blocks: Sequence[int] = (7000,)) -> tuple[list[Rows], list[Rows]]:
    """All frames and the mean of each sound, pushed in blocks of the given lengths in turn."""
    batcher = Batcher(strips)
    every, mean = [FramePool(strips.head) for _ in sounds], [MeanPool(strips.head) for _ in sounds]
    pools: list[Pool] = [*every, *mean]
    for pool, samples in zip(pools, [*sounds, *sounds], strict=True):
        track, begin, turn = Track(pool), 0, 0
        while begin < len(samples):
            size = blocks[turn % len(blocks)]
            batcher.push(track, samples[begin : begin + size])
            begin, turn = begin + size, turn + 1
        batcher.close(track)
    batcher.flush()
    return [pool.rows() for pool in every], [pool.rows()[0] for pool in mean]


def whole(model: PASE, samples: Rows) -> Rows:
    with torch.no_grad():
        output: Rows = model(torch.from_numpy(samples)[None])[0].T.numpy()
    return output


LENGTH = st.one_of(st.integers(160, 40000), st.sampled_from([160, 161, 319, 320, 399, 400, 1439, 1440, 3200, 3201]))


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(LENGTH, min_size=1, max_size=5),
    blocks=st.lists(st.integers(1, 20000), min_size=1, max_size=3),
    frames=st.integers(18, 150),
    qrnn=st.booleans(),
)
def test_strips_equal_the_whole_module(lengths: list[int], blocks: list[int], frames: int, qrnn: bool) -> None:
    model = small(qrnn)
    strips = Engine(model, frames, torch.device("cpu"), torch.float32)
    sounds = [sound(samples, seed) for seed, samples in enumerate(lengths)]
    every, mean = embed(strips, sounds, [max(size, 50) for size in blocks])
    for samples, rows, row in zip(sounds, every, mean, strict=True):
        expected = whole(model, samples)
        rms = np.sqrt(np.mean(expected**2))
        assert rows.shape == expected.shape
        assert np.abs(rows - expected).max() < 1e-4 * rms
        assert np.abs(row - expected.mean(0)).max() < 1e-4 * rms


@settings(max_examples=15, deadline=None)
@given(
    length=LENGTH,
    neighbours=st.lists(LENGTH, min_size=1, max_size=4),
    place=st.integers(0, 4),
    block=st.integers(100, 9000),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_neighbours_and_blocks_change_no_bit(
    length: int, neighbours: list[int], place: int, block: int, dtype: torch.dtype
) -> None:
    strips = Engine(small(), 60, torch.device("cpu"), dtype)
    ours = sound(length, 0)
    alone = embed(strips, [ours])
    sounds = [sound(samples, seed + 1) for seed, samples in enumerate(neighbours)]
    place = min(place, len(sounds))
    together = embed(strips, [*sounds[:place], ours, *sounds[place:]], [block])
    assert np.array_equal(alone[0][0], together[0][place])
    assert np.array_equal(alone[1][0], together[1][place])


@pytest.mark.parametrize("segment, hop", [(10, 10), (10, 3), (7, 20), (50, 25), (400, 400), (1, 1)])
def test_segments_are_means_of_frames(segment: int, hop: int) -> None:
    strips = Engine(small(), 60, torch.device("cpu"), torch.float32)
    samples = sound(33333, 1)
    (rows,), _ = embed(strips, [samples])
    pooling = Pooling("segments", segment / 100, hop / 100)
    pool = pooling.new(strips.head)
    assert isinstance(pool, SegmentPool)
    batcher, track = Batcher(strips), Track(pool)
    batcher.push(track, samples)
    batcher.close(track)
    batcher.flush()
    ours = pool.rows()
    begins = [b for b in range(0, len(rows), hop) if b == 0 or b - hop + segment < len(rows)]
    assert pool.spans == [(b, min(b + segment, len(rows))) for b in begins]
    expected = np.stack([rows[b : b + segment].mean(0) for b in begins])
    assert np.abs(ours - expected).max() < 1e-5 * np.sqrt(np.mean(rows**2))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_running_out_halves_the_strips(monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    """R17: rows stay equal; the limit here stands for a GPU's."""
    strips = Engine(small(), 160, torch.device("cpu"), torch.float32)
    expected, _ = embed(strips, [sound(70000, 0), sound(5000, 1)])
    forward = Engine.forward

    def limited(self: Engine, pieces: Sequence[object]) -> object:
        if self.frames > 45:
            raise error
        return forward(self, pieces)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "forward", limited)
    rows, _ = embed(strips, [sound(70000, 0), sound(5000, 1)])
    assert strips.frames == 40
    for ours, theirs in zip(rows, expected, strict=True):
        assert np.abs(ours - theirs).max() < 1e-4 * np.sqrt(np.mean(theirs**2))


def test_another_error_is_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    strips = Engine(small(), 160, torch.device("cpu"), torch.float32)

    def broken(self: Engine, pieces: Sequence[object]) -> object:
        raise RuntimeError("device-side assert triggered")

    monkeypatch.setattr(Engine, "forward", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        embed(strips, [sound(70000, 0)])
    assert strips.frames == 160

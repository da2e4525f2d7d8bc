"""What is held must not grow: segments of a long file, a strip that did not fit."""

import tracemalloc
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from musicpase.inference.batching import Batcher, Track
from musicpase.inference.engine import Engine
from musicpase.inference.pooling import MeanPool, SegmentPool
from musicpase.inference.strips import Piece
from tests.unit.models import small_module


def resident() -> int:
    """Memory of this process [bytes]."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_segments_keep_their_rows_and_nothing_else() -> None:
    """20 minutes in strips of the released model's size, with 900 MB of hidden rows and 0.2 MB of results.

    As many small arrays, the results kept the allocator from using the strips' memory again: 330 MB.
    """
    pool = SegmentPool(torch.nn.Linear(1920, 512), 1000, 1000)
    strip = torch.ones(500, 1920)
    pool.add(strip)
    before = resident()
    for _ in range(239):
        pool.add(strip)
    assert resident() - before < 80e6
    assert pool.frames == 120_000
    assert pool.rows().shape == (120, 512)


def test_a_long_sound_in_memory_is_not_copied_again_for_every_strip() -> None:
    engine = Engine(small_module(), 160, torch.device("cpu"), torch.float32)
    track, sound = Track(MeanPool(engine.head)), np.zeros(160_000, np.float32)
    track.push(sound)
    tracemalloc.start()
    try:
        pieces = [track.take(160) for _ in range(3)]
        kept = tracemalloc.get_traced_memory()[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    held = sum(piece.samples.nbytes for piece in pieces if piece is not None)
    assert 3 * 160 * 160 * 4 <= held <= kept <= peak < held + 20_000  # and the rest would be 500,000 more


def test_what_a_piece_leaves_behind_is_its_state_alone() -> None:
    """Pieces that wait for others would each hold the strip that the state was computed in."""
    engine = Engine(small_module(), 160, torch.device("cpu"), torch.float32)
    track = Track(MeanPool(engine.head))
    Batcher(engine).push(track, np.zeros(70_000, np.float32))
    assert track.state is not None
    assert track.state.untyped_storage().nbytes() == track.state.nbytes == 4 * engine.config.qrnn_dim


def test_a_strip_that_did_not_fit_is_freed_before_the_next_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed strip holds is memory that its halves need."""
    engine = Engine(small_module(), 160, torch.device("cpu"), torch.float32)
    forward = Engine.forward
    failed: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def limited(self: Engine, pieces: Sequence[Piece]) -> object:
        alive.append(any(strip() is not None for strip in failed))
        if self.frames > 45:
            activations = torch.zeros(1000)
            failed.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("no memory")
        return forward(self, pieces)

    monkeypatch.setattr(Engine, "forward", limited)
    batcher, track = Batcher(engine), Track(MeanPool(engine.head))
    batcher.push(track, np.zeros(70_000, np.float32))
    batcher.close(track)
    batcher.flush()
    assert len(failed) == 2  # 160 and 80 frames
    assert track.done
    assert not any(alive)

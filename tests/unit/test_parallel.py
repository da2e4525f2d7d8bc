"""Several devices: the same results in the same order as on one, whatever fails."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from musicpase import audio
from musicpase.hub import ModelRecord
from musicpase.inference.batching import Batcher, Track
from musicpase.inference.encoder import Encoder
from musicpase.inference.parallel import AHEAD, embed_on_devices
from musicpase.inference.pipeline import Failure, Progress, Result, embed_sources
from musicpase.inference.pooling import Pooling
from tests.cli.conftest import tone
from tests.unit.models import small_module


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(small_module(), ModelRecord("small", True, ""), torch.device("cpu"), "fp32", 1.0)


@pytest.fixture
def sources(tmp_path: Path) -> list[audio.Source]:
    """Eleven tones, the fourth and the ninth of which are none."""
    paths = [tone(tmp_path / f"{n:02d}.wav", 0.2 + 0.31 * n, 100 + 50 * n) for n in range(11)]
    for bad in (3, 8):
        paths[bad].write_bytes(b"RIFF")
    return [audio.Source(str(path), path.name) for path in paths]


def batchers(encoder: Encoder, count: int) -> list[Batcher]:
    return [encoder.new_batcher() for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 20])
@pytest.mark.parametrize("workers", [0, 2])
def test_as_on_one_device(encoder: Encoder, sources: list[audio.Source], count: int, workers: int) -> None:
    expected = list(embed_sources(encoder.new_batcher(), sources, workers=0))
    progress = Progress()
    found = list(embed_on_devices(batchers(encoder, count), sources, workers=workers, progress=progress))
    assert [(type(r), r.index, r.path) for r in found] == [(type(r), r.index, r.path) for r in expected]
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, Result) and isinstance(other, Result):
            np.testing.assert_array_equal(one.rows, other.rows)
    good = sum(result.duration_s for result in found if isinstance(result, Result))
    assert progress.audio_s == pytest.approx(good, abs=0.01)
    assert [result.index for result in found if isinstance(result, Failure)] == [3, 8]


def test_frames_go_to_the_writer_of_their_file(encoder: Encoder, sources: list[audio.Source]) -> None:
    taken: dict[int, int] = {}

    def writer(index: int) -> Callable[[NDArray[np.float32]], None]:
        def take(rows: NDArray[np.float32]) -> None:
            taken[index] = taken.get(index, 0) + len(rows)

        return take

    options = {"pooling": Pooling("frames"), "workers": 0, "writer": writer}
    found = list(embed_on_devices(batchers(encoder, 2), sources, **options))  # type: ignore[arg-type]
    frames = {result.index: result.frames for result in found if isinstance(result, Result)}
    assert taken == frames


def test_an_error_on_a_device_ends_the_run(
    encoder: Encoder, sources: list[audio.Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = batchers(encoder, 2)

    def lost() -> None:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(both[1], "flush", lost)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="the device is lost"):
        list(embed_on_devices(both, sources, workers=0))
    assert threading.active_count() == before


def test_a_run_that_is_given_up_leaves_no_thread(encoder: Encoder, sources: list[audio.Source]) -> None:
    many = sources * (2 * AHEAD // len(sources) + 30)  # more than the queues hold, so that the devices wait
    before = threading.active_count()
    results = embed_on_devices(batchers(encoder, 2), many, workers=0)
    assert next(results).index == 0
    results.close()
    assert threading.active_count() == before


def test_a_long_file_does_not_hold_up_the_end(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two devices in the middle of long files stop at the next block."""
    paths = [
        tone(tmp_path / f"{n}.wav", 1.0 if n == 0 else 200) for n in range(3)
    ]  # 1 s: a whole strip, which does not wait
    pushed: list[Track] = []
    push = Batcher.push

    def counted(self: Batcher, track: Track, samples: NDArray[np.float32]) -> None:
        pushed.append(track)
        time.sleep(0.01)
        push(self, track, samples)

    monkeypatch.setattr(Batcher, "push", counted)
    sources = [audio.Source(str(path), path.name) for path in paths]
    results = embed_on_devices(batchers(encoder, 2), sources, workers=0)
    assert next(results).index == 0
    results.close()
    blocks = len(list(audio.iter_blocks(paths[1])))
    assert 0 < len(pushed) < blocks  # of both long files together

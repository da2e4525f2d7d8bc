"""The sound of clips: decoding, excerpts, failures, crops, and vectors that are computed once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from musicpase.audio import load_audio
from musicpase.downstream import sounds as kept
from musicpase.downstream import vectors
from musicpase.downstream.sounds import content_of, keep_sounds, read_sounds
from musicpase.downstream.vectors import Representation, embed_clips
from musicpase.errors import OutputError
from musicpase.labelled import Clip
from musicpase.versions import versions

RATE = 16_000


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """A file, two excerpts of a louder one, two that cannot be used, a short one."""
    rng = np.random.default_rng(0)
    for name, seconds, peak in (("a", 1.0, 0.5), ("loud", 3.0, 1.5), ("short", 0.1, 0.5)):
        samples = rng.uniform(-peak, peak, round(seconds * RATE))
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    places = [("a", 0.0, None), ("loud", 0.5, 1.0), ("bad", 0.0, None), ("loud", 2.0, None), ("short", 0.0, None)]
    places.append(("loud", 3.5, 1.0))
    return [Clip(tmp_path / f"{name}.wav", "", "", name, start, length) for name, start, length in places]


def test_what_is_read_is_the_excerpt(clips: list[Clip]) -> None:
    sounds = list(read_sounds(clips, workers=0))
    loud = load_audio(clips[1].path)[0]
    assert [len(s) if not isinstance(s, str) else 0 for s in sounds] == [16_000, 16_000, 0, 16_000, 1_600, 0]
    np.testing.assert_array_equal(sounds[1], loud[8_000:24_000])
    np.testing.assert_array_equal(sounds[3], loud[32_000:])
    assert isinstance(sounds[2], str) and sounds[2]
    assert isinstance(sounds[5], str) and sounds[5]


def test_sounds_are_kept_on_disk(clips: list[Clip], tmp_path: Path) -> None:
    sounds = keep_sounds(clips, tmp_path / "cache", workers=0)
    assert sorted(sounds.failures) == [2, 5]
    for position, expected in enumerate(read_sounds(clips, workers=0)):
        if not isinstance(expected, str):
            np.testing.assert_allclose(sounds.waveform(position), expected, atol=1.5 / 32_767)
    some = sounds.only(np.array([1, 3, 4]))
    for new, old in enumerate((1, 3, 4)):
        np.testing.assert_array_equal(some.waveform(new), sounds.waveform(old))
    keep_sounds(clips[:2], tmp_path / "good", workers=0)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "good").iterdir()}
    keep_sounds(clips[:2], tmp_path / "good", workers=0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "good").iterdir()} == before


def test_crops(clips: list[Clip], tmp_path: Path) -> None:
    sounds = keep_sounds(clips, tmp_path / "cache", workers=0)
    whole, short = sounds.waveform(0), sounds.waveform(4)
    np.testing.assert_array_equal(sounds.crop(0, 0.0, 4_000), whole[:4_000])
    np.testing.assert_array_equal(sounds.crop(0, 1.0, 4_000), whole[-4_000:])
    np.testing.assert_array_equal(sounds.crop(0, 0.5, 4_000), whole[6_000:10_000])
    np.testing.assert_array_equal(sounds.crop(4, 0.7, 4_000), np.tile(short, 3)[:4_000])


def levels(waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.array([[np.abs(w).mean(), len(w)] for w in waveforms], np.float32)


def test_vectors_are_computed_once(clips: list[Clip], tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        calls.append(len(waveforms))
        return levels(waveforms)

    done: list[int] = []
    cache = tmp_path / "cache"
    made = Representation("level", "level", counted)
    first = embed_clips(clips, made, cache, workers=0, tell=done.append)
    assert sum(calls) == 4 and sum(done) == 6
    assert sorted(first.failures) == [2, 5]
    assert np.isnan(first.rows[[2, 5]]).all()
    good = [s for s in read_sounds(clips, workers=0) if not isinstance(s, str)]
    np.testing.assert_array_equal(first.rows[[0, 1, 3, 4]], levels(good))
    again = embed_clips(clips, made, cache, workers=0, tell=done.append)
    assert sum(calls) == 4 and sum(done) == 12
    np.testing.assert_array_equal(again.rows, first.rows)
    assert again.failures == first.failures
    embed_clips(clips, Representation("level", "another", counted), cache, workers=0)
    assert sum(calls) == 8
    for path in cache.rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    embed_clips(clips, made, cache, workers=0)
    assert sum(calls) == 12
    for path in cache.rglob("*.npz"):  # as if its content were encrypted
        content = bytearray(path.read_bytes())
        content[content.find(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(content)
    embed_clips(clips, made, cache, workers=0)
    assert sum(calls) == 16
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        embed_clips(clips, made, tmp_path / "file", workers=0)
    assert sum(calls) == 16


def test_another_clip_alone_is_computed(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CLIPS", 2)
    calls: list[int] = []

    def counted(waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        calls.append(len(waveforms))
        return levels(waveforms)

    made = Representation("level", "level", counted)
    good = [
        clip for clip, sound in zip(clips, read_sounds(clips, workers=0), strict=True) if not isinstance(sound, str)
    ]
    embed_clips(good[1:], made, tmp_path, workers=0)
    assert sum(calls) == 3 and max(calls) <= 2
    rows = embed_clips(good, made, tmp_path, workers=0).rows  # the new one comes first
    assert sum(calls) == 4
    np.testing.assert_array_equal(rows, levels([s for s in read_sounds(good, workers=0) if not isinstance(s, str)]))


def test_few_long_sounds_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "CHUNK_SECONDS", 3)
    short, long = np.zeros(RATE, np.float32), np.zeros(5 * RATE, np.float32)
    sounds: list[kept.Waveform | str] = [short, short, "no sound", short, long, short, *["no sound"] * 40]
    groups = list(kept.chunks(sounds))
    assert [len(group) for group in groups] == [4, 1, 32, 9]


def unlucky(monkeypatch: pytest.MonkeyPatch, *stems: str) -> None:
    """Decode all clips but these, as if their decoder had crashed."""

    def read(clips: Sequence[Clip], workers: int | None = None) -> Iterator[NDArray[np.float32] | str]:
        for clip, sound in zip(clips, read_sounds(clips, workers), strict=True):
            yield "decoder crashed" if clip.path.stem in stems else sound

    for module in (vectors, kept):
        monkeypatch.setattr(module, "read_sounds", read)


@pytest.mark.parametrize("stems", [("a", "short"), ("a", "short", "loud")], ids=["some", "all"])
def test_vectors_of_clips_that_failed_are_tried_again(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stems: tuple[str, ...]
) -> None:
    made = Representation("level", "level", levels)
    whole = embed_clips(clips, made, tmp_path / "whole", workers=0)
    done: list[int] = []
    with monkeypatch.context() as patch:
        unlucky(patch, *stems)
        first = embed_clips(clips, made, tmp_path / "cache", workers=0)
        assert [first.failures[place] for place in (0, 4)] == ["decoder crashed"] * 2
    again = embed_clips(clips, made, tmp_path / "cache", workers=0, tell=done.append)
    np.testing.assert_array_equal(again.rows, whole.rows)
    assert again.failures == whole.failures and sum(done) == len(clips)
    with monkeypatch.context() as patch:  # those that did not fail are not decoded again
        unlucky(patch, "a", "short", "loud")
        last = embed_clips(clips, made, tmp_path / "cache", workers=0)
    np.testing.assert_array_equal(last.rows, whole.rows)


def test_sounds_of_clips_that_failed_are_tried_again(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        unlucky(patch, "a")
        assert keep_sounds(clips, tmp_path / "cache", workers=0).failures[0] == "decoder crashed"
    again = keep_sounds(clips, tmp_path / "cache", workers=0)
    assert sorted(again.failures) == [2, 5] and len(again.waveform(0)) == RATE


@pytest.mark.parametrize("name", ["torch", "FFmpeg"])
def test_another_version_computes_again(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = Representation("level", "level", levels)
    embed_clips(clips[:1], made, tmp_path, workers=0)
    keep_sounds(clips[:1], tmp_path, workers=0)
    count = len(list(tmp_path.rglob("*.npz")))
    if name == "torch":
        monkeypatch.setattr(torch, "__version__", "1.0")
    else:
        monkeypatch.setattr(kept, "versions", lambda: {**versions(), "FFmpeg": "1.0"})
    embed_clips(clips[:1], made, tmp_path, workers=0)
    keep_sounds(clips[:1], tmp_path, workers=0)
    assert len(list(tmp_path.rglob("*.npz"))) == count + (1 if name == "torch" else 2)


def test_content_is_of_bytes_and_place(clips: list[Clip]) -> None:
    before = content_of(clips)
    assert len(set(before)) == len(clips)
    clips[0].path.write_bytes(clips[0].path.read_bytes() + b"\0")
    after = content_of(clips)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True, True, True, True]
    clips[0].path.unlink()
    assert "No such file" in content_of(clips)[0]

"""Waveforms for the parity tests: real crops from `../shared/data`, and synthetic cases."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.parity.librosa_targets import Array

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SAMPLE_RATE = 16_000
CROP = 3 * SAMPLE_RATE

SOURCES = {
    "real": "real/audio/**/*.opus",
    "ballroom": "mini/extended-ballroom/**/*.mp3",
    "fma": "mini/fma_small/**/*.mp3",
    "openmic": "mini/openmic-2018/audio/**/*.ogg",
    "esc10": "labelled/esc10/**/*.opus",
    "olpc": "labelled/olpc_sources/**/*.opus",
    "mridangam": "labelled/mridangam/**/*.opus",  # strokes of 0.5 to 2.5 s: taken whole
}


def read_crop(path: Path, rng: random.Random, whole: bool) -> Array | None:
    """Three seconds from a random place, or the whole file; mono, 16 kHz, float32. None if it is too short."""
    info = soundfile.info(path)
    if path.suffix == ".mp3":  # decoded from the start: an mp3's frames depend on those before
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono: Array = samples.mean(axis=1)
        if rate != SAMPLE_RATE:
            mono = soxr.resample(mono, rate, SAMPLE_RATE).astype(np.float32)
        start = rng.randrange(len(mono) - CROP + 1)
        return mono[start : start + CROP]
    assert (info.samplerate, info.channels) == (SAMPLE_RATE, 1)
    if info.frames < (2048 if whole else CROP):
        return None
    start, frames = (0, info.frames) if whole else (rng.randrange(info.frames - CROP + 1), CROP)
    crop: Array = soundfile.read(path, frames=frames, start=start, dtype="float32")[0]
    return crop


def real_crops(per_source: int, seed: int = 0) -> list[tuple[str, Array]]:
    """At most `per_source` crops of 3 s of every source, at random places of random files, with their names."""
    if not DATA.is_dir():
        pytest.skip(f"real music is not at {DATA}")
    return [crop for source in SOURCES for crop in _crops_of(source, per_source, random.Random(seed))]


def _crops_of(source: str, count: int, rng: random.Random) -> Iterator[tuple[str, Array]]:
    files = sorted(DATA.glob(SOURCES[source]))
    assert files, f"no file matches {DATA / SOURCES[source]}"
    rng.shuffle(files)
    crops = (
        (path.name, crop) for path in files if (crop := read_crop(path, rng, whole=source == "mridangam")) is not None
    )
    return itertools.islice(crops, count)


def _tone(phase: Array) -> Array:
    """A tone with five harmonics from its phase in cycles."""
    tone: Array = np.sum([np.sin(2 * np.pi * k * phase) / k for k in range(1, 6)], axis=0)
    return tone


def _scale(seconds: float) -> Array:
    """Two octaves of C major from C3, each note struck."""
    steps = np.array([0, 2, 4, 5, 7, 9, 11])
    notes = np.concatenate([steps, steps + 12, [24]])
    length = int(seconds * SAMPLE_RATE / len(notes))
    time = np.arange(length) / SAMPLE_RATE
    return np.concatenate([_tone(130.81 * 2 ** (n / 12) * time) * np.exp(-4 * time) for n in notes])


def synthetic(seconds: float = 2.0) -> dict[str, Array]:
    """Cases that real music does not have."""
    samples = int(seconds * SAMPLE_RATE)
    time = np.arange(samples) / SAMPLE_RATE
    rng = np.random.default_rng(0)
    click = np.zeros(samples)
    click[samples // 3] = 1.0
    cases = {
        "silence": np.zeros(samples),
        "dc": np.full(samples, 0.5),
        "square": np.where((np.arange(samples) // 36) % 2 == 0, 1.0, -1.0),  # 222 Hz, full scale
        "noise": rng.normal(size=samples) * 0.2,
        "click": click,
        "glide": 0.3 * _tone(np.cumsum(110.0 * 2 ** (3 * time / seconds)) / SAMPLE_RATE),
        "scale": 0.3 * _scale(seconds),
    }
    return {name: case.astype(np.float32) for name, case in cases.items()}

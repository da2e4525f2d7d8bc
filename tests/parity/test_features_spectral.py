"""LPS, MFCC, chroma, tempogram, zero crossing rate and energy equal librosa's."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from musicpase.features import FeatureConfig, Features
from musicpase.features.voicing import root_mean_square, zero_crossing_rate
from tests.parity.crops import SAMPLE_RATE, real_crops, synthetic
from tests.parity.librosa_targets import TOLERANCE, Array, spectral_targets


def largest_errors(
    waveforms: Iterable[Array], config: FeatureConfig | None = None, oracle: FeatureConfig | None = None
) -> dict[str, float]:
    """Largest absolute difference to librosa per target, over all clips, frames and rows."""
    config = config or FeatureConfig()
    features = Features(("lps", "mfcc", "chroma", "tempogram"), config)
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for waveform in waveforms:
        batch = torch.from_numpy(waveform)[None]
        frames = len(waveform) // config.hop_length
        ours = features(batch)
        ours["zcr"] = zero_crossing_rate(batch, config)[:, None, :frames]
        ours["rms"] = root_mean_square(batch, config)[:, None, :frames]
        for name, expected in spectral_targets(waveform, oracle or config).items():
            error = np.abs(ours[name][0].numpy() - expected).max()
            worst[name] = max(worst[name], float(error))
    return worst


def assert_within_tolerance(worst: dict[str, float]) -> None:
    assert all(worst[name] <= TOLERANCE[name] for name in TOLERANCE), worst


def test_real_crops() -> None:
    assert_within_tolerance(largest_errors(crop for _, crop in real_crops(4)))


@pytest.mark.slow
def test_many_real_crops() -> None:
    crops = real_crops(40)
    assert sum(len(crop) == 3 * SAMPLE_RATE for _, crop in crops) >= 200
    worst = largest_errors(crop for _, crop in crops)
    print(len(crops), "crops", worst)
    assert_within_tolerance(worst)


@pytest.mark.parametrize("name", synthetic())
def test_synthetic(name: str) -> None:
    assert_within_tolerance(largest_errors([synthetic()[name]]))


@pytest.mark.parametrize("samples", [2048, 16_000, 48_103, 160_000, 480_000])
def test_lengths(samples: int) -> None:
    scale = synthetic(samples / SAMPLE_RATE)["scale"][:samples]
    noise = np.random.default_rng(1).normal(size=samples).astype(np.float32) * np.float32(0.01)
    noise[: len(scale)] += scale
    assert_within_tolerance(largest_errors([noise]))


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"n_fft": 1984}, "lps"),
        ({"n_mels": 120}, "mfcc"),
        ({"n_mels": 120}, "tempogram"),
        ({"n_fft": 1984}, "chroma"),
        ({"tempogram_lags": 383}, "tempogram"),
        ({"n_fft": 1984}, "zcr"),
        ({"n_fft": 1984}, "rms"),
    ],
)
def test_a_changed_constant_is_noticed(change: dict[str, Any], target: str) -> None:
    """The tolerances are tight enough to tell the constants apart, and each constant means librosa's."""
    ((_, crop),) = real_crops(1)[:1]
    changed = replace(FeatureConfig(), **change)
    try:
        error = largest_errors([crop], changed, FeatureConfig())[target]
        assert error > TOLERANCE[target]
    except ValueError:  # another number of rows
        pass
    assert_within_tolerance(largest_errors([crop], changed))

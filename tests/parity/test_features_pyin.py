"""Pitch, voicing and voiced probability equal librosa's pYIN; the Viterbi decoding alone equals librosa's."""

from dataclasses import replace
from functools import cache

import librosa
import numpy as np
import pytest
import torch

from musicpase.features import FeatureConfig, PyinConfig
from musicpase.features.viterbi import BandedViterbi, band_max
from musicpase.features.voicing import Pyin
from musicpase.features.yin import PitchCandidates
from tests.parity.crops import SAMPLE_RATE, real_crops, synthetic
from tests.parity.librosa_targets import Array, PitchAgreement, Tracked, add_up, compare_pitch, pitch


def ours(waveform: Array, config: FeatureConfig | None = None) -> Tracked:
    config = config or FeatureConfig()
    found = Pyin(config)(torch.from_numpy(waveform)[None])
    frames = len(waveform) // config.hop_length
    return Tracked(found.f0[0, :frames].numpy(), found.voiced_probability[0, :frames].numpy())


def agreement(crops: list[Array]) -> PitchAgreement:
    return add_up([compare_pitch(ours(crop), pitch(crop)) for crop in crops])


def test_real_crops() -> None:
    agreement([crop for _, crop in real_crops(2)]).check()


@pytest.mark.slow
def test_many_real_crops() -> None:
    crops = [crop for _, crop in real_crops(40)]
    assert sum(len(crop) == 3 * SAMPLE_RATE for crop in crops) >= 200
    total = agreement(crops)
    print(len(crops), "crops", total)
    total.check()


@pytest.mark.parametrize("name", synthetic())
def test_synthetic(name: str) -> None:
    agreement([synthetic(1.5)[name]]).check()


@pytest.mark.parametrize("samples", [2048, 16_103])
def test_lengths(samples: int) -> None:
    agreement([synthetic(2.0)["scale"][:samples]]).check()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10, 30])
def test_long(seconds: int) -> None:
    agreement([synthetic(seconds)["scale"], synthetic(seconds)["glide"]]).check()


@cache
def struck_scale() -> Array:
    """A scale in a little noise: candidates compete, notes end, pitch leaps."""
    scale = synthetic(1.0)["scale"]
    return scale + np.random.default_rng(2).normal(size=len(scale)).astype(np.float32) * np.float32(0.02)


@pytest.mark.parametrize(
    "change",
    [
        {"fmin": 70.0},
        {"fmax": 1900.0},
        {"frame_length": 1984},
        {"n_thresholds": 90},
        {"beta_parameters": (2.0, 17.0)},
        {"boltzmann_parameter": 1.9},
        {"resolution": 0.2},
        {"max_transition_rate": 9.0},
        {"switch_prob": 0.2},
        {"no_trough_prob": 0.05},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_constant_is_noticed(change: dict[str, float]) -> None:
    """Each constant means what librosa's does, and another value gives another answer."""
    config = FeatureConfig(pyin=replace(PyinConfig(), **change))
    changed = ours(struck_scale(), config)
    compare_pitch(changed, pitch(struck_scale(), config)).check()
    with pytest.raises(AssertionError):
        compare_pitch(changed, pitch(struck_scale())).check()


def dense_transition(config: FeatureConfig, pitch_bins: int) -> Array:
    """The matrix that `librosa.pyin` builds."""
    semitones = round(config.pyin.max_transition_rate * 12 * config.hop_length / config.sample_rate)
    width = semitones * round(1 / config.pyin.resolution) + 1
    within = librosa.sequence.transition_local(pitch_bins, width, window="triangle", wrap=False)
    between = librosa.sequence.transition_loop(2, 1 - config.pyin.switch_prob)
    return np.kron(between, within)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_viterbi_alone(sparse: bool) -> None:
    """Random observations; where most are zero the path must leap over impossible states as librosa's does."""
    rng = np.random.default_rng(3)
    clips, grid, bins = 3, 25, 90
    config = FeatureConfig()
    probability = rng.random((clips, grid, bins)) ** 8
    if sparse:
        probability *= rng.random(probability.shape) < 0.02
    total = probability.sum(2, keepdims=True)
    # two frames of three certainly voiced, so that unvoiced costs as much as a leap
    sure = rng.random((clips, grid, 1)) < 2 / 3
    probability /= np.maximum(total, 1e-300) * np.where(sure, 1.0, 1.5)
    voiced = np.clip(probability.sum(2, keepdims=True), 0, 1)
    states = np.concatenate([probability, np.repeat((1 - voiced) / bins, bins, axis=2)], axis=2)
    expected = librosa.sequence.viterbi(
        states.transpose(0, 2, 1), dense_transition(config, bins), p_init=np.full(2 * bins, 0.5 / bins)
    )
    bin_, is_voiced, _ = BandedViterbi(config, bins)(torch.from_numpy(probability))
    np.testing.assert_array_equal(np.where(is_voiced, bin_, bin_ + bins), expected)


def test_band_max_is_the_same_in_both_forms() -> None:
    """The form for a CPU and the form for a GPU."""
    reach, generator = 5, torch.Generator().manual_seed(0)
    values = torch.randn(30 + 2 * reach, 4, dtype=torch.float64, generator=generator)
    window = torch.randn(reach + 1, dtype=torch.float64, generator=generator)
    both_sides = torch.cat([window.flip(0), window[1:]])
    torch.testing.assert_close(
        band_max(values, window), (values.unfold(0, 2 * reach + 1, 1) + both_sides).amax(-1), rtol=0, atol=0
    )


def test_pitch_bins_are_librosas() -> None:
    candidates = PitchCandidates(FeatureConfig())
    assert (candidates.pitch_bins, candidates.min_period, candidates.max_period) == (601, 7, 245)
    assert FeatureConfig().pyin.fmin == pytest.approx(librosa.note_to_hz("C2"), rel=1e-15)
    assert FeatureConfig().pyin.fmax == pytest.approx(librosa.note_to_hz("C7"), rel=1e-15)

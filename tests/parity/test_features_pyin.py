"""Pitch, voicing and voiced probability equal librosa's pYIN; the Viterbi decoding alone equals librosa's."""

from dataclasses import replace
from functools import cache
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from musicpase.features import FeatureConfig, PyinConfig
from musicpase.features.viterbi import LOG_TINY, BandedViterbi, band_max
from musicpase.features.voicing import Pyin
from musicpase.features.yin import Candidates, PitchCandidates, troughs
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


@pytest.mark.parametrize("name", sorted(synthetic().keys() - {"click"}))
def test_synthetic(name: str) -> None:
    agreement([synthetic(1.5)[name]]).check()


def test_click() -> None:
    """A click in digital silence makes the difference function of its frames flat.

    Whether a flat curve has a trough is rounding noise in librosa (float32) and nothing in ours, so there, and only
    there, the voiced probability may be 0 for `no_trough_prob`. No frame is voiced in either.
    """
    click = synthetic(1.5)["click"]
    found, expected = ours(click), pitch(click)
    np.testing.assert_array_equal(found.f0, expected.f0)
    differs = np.flatnonzero(np.abs(found.probability - expected.probability) > 1e-3)
    hears_click = np.flatnonzero(np.abs(np.arange(len(found.f0)) * 160 - click.argmax()) <= 1024)
    assert set(differs) <= set(hears_click)
    assert found.probability.max() <= 0.0101
    assert expected.probability.max() <= 0.0101


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


def librosas_model(config: FeatureConfig, waveform: Array | None = None) -> tuple[Array, Array]:
    """What `librosa.pyin` hands to its Viterbi decoding: observations `(grid, states)`, transitions."""
    seen: list[Array] = []

    def viterbi(observations: Array, transition: Array, p_init: Array) -> Array:
        seen.extend([observations[0].T, transition])
        return np.zeros((1, observations.shape[-1]), dtype=int)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(librosa.sequence, "viterbi", viterbi)
        pitch(struck_scale() if waveform is None else waveform, config)
    return seen[0], seen[1]


def our_model(config: FeatureConfig, waveform: Array | None = None) -> tuple[Array, Array]:
    """The same from our candidates and band."""
    finder = PitchCandidates(config)
    bins = finder.pitch_bins
    found = finder(torch.from_numpy(struck_scale() if waveform is None else waveform)[None])
    observations = np.zeros((found.grid, 2 * bins))
    observations[found.frame, found.bin] = found.probability
    observations[:, bins:] = (1 - found.voiced_probability()[0].numpy()[:, None]) / bins
    decoder = BandedViterbi(config, bins)
    moves = np.abs(np.arange(bins)[:, None] - np.arange(bins))
    stay, switch = (
        np.where(moves <= decoder.reach, weights.exp().numpy()[np.minimum(moves, decoder.reach)], 0.0)
        * decoder.row_correction.exp().numpy()[:, None]
        for weights in decoder.log_weights
    )
    return observations, np.block([[stay, switch], [switch, stay]])


def equal_models(one: tuple[Array, Array], two: tuple[Array, Array]) -> bool:
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(one, two, strict=True))


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
        {"max_transition_rate": 27.0},
        {"switch_prob": 0.02},
        {"no_trough_prob": 0.02},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_constant_means_librosas(change: dict[str, Any]) -> None:
    """Observations and transitions equal librosa's with the constant changed, and differ from the default's."""
    config = FeatureConfig(pyin=replace(PyinConfig(), **change))
    changed = our_model(config)
    assert equal_models(changed, librosas_model(config))
    assert not equal_models(changed, librosas_model(FeatureConfig()))


def test_of_candidates_in_one_bin_the_longest_period_counts() -> None:
    """Noise, thresholds up to 1 and bins of half a semitone: several candidates fall into one."""
    config = FeatureConfig(pyin=replace(PyinConfig(), beta_parameters=(2.0, 2.0), resolution=0.9))
    noise = synthetic(0.5)["noise"]
    assert equal_models(our_model(config, noise), librosas_model(config, noise))


def dense_transition(config: FeatureConfig, pitch_bins: int) -> Array:
    """The matrix that `librosa.pyin` builds."""
    semitones = round(config.pyin.max_transition_rate * 12 * config.hop_length / config.sample_rate)
    width = semitones * round(1 / config.pyin.resolution) + 1
    within = librosa.sequence.transition_local(pitch_bins, width, window="triangle", wrap=False)
    between = librosa.sequence.transition_loop(2, 1 - config.pyin.switch_prob)
    return np.kron(between, within)


def log_probability(path: Array, observations: Array) -> float:
    """How good a path is in the eyes of `librosa.sequence.viterbi`; observations `(grid, states)`."""
    tiny = np.finfo(float).tiny
    transition = dense_transition(FeatureConfig(), observations.shape[1] // 2)
    seen = np.log(observations[np.arange(len(path)), path] + tiny).sum()
    return float(seen + np.log(transition[path[:-1], path[1:]] + tiny).sum())


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
    clip, frame, bin_ = probability.nonzero()
    candidates = Candidates(clips, grid, *map(torch.from_numpy, (clip, frame, bin_, probability[clip, frame, bin_])))
    bin_, is_voiced, _ = BandedViterbi(config, bins)(candidates)
    path = np.where(is_voiced, bin_, bin_ + bins)
    if not sparse:
        np.testing.assert_array_equal(path, expected)
    for ours_, theirs, seen in zip(path, expected, states, strict=True):
        # Of paths that are equally good on paper, rounding picks one: compare how good they are.
        assert log_probability(ours_, seen) == pytest.approx(log_probability(theirs, seen), rel=1e-12)


def test_a_leap_beyond_the_band() -> None:
    """Certainly voiced on one bin, then on one 70 bins higher: librosa leaps, at the price of one impossibility."""
    bins, grid = 90, 16
    config = FeatureConfig()
    expected = np.where(np.arange(grid) < grid // 2, 10, 80)
    states = np.zeros((2 * bins, grid))
    states[expected, np.arange(grid)] = 1.0
    librosas = librosa.sequence.viterbi(states, dense_transition(config, bins))
    np.testing.assert_array_equal(librosas, expected)
    columns = (torch.zeros(grid, dtype=torch.long), torch.arange(grid), torch.from_numpy(expected))
    candidates = Candidates(1, grid, *columns, torch.ones(grid, dtype=torch.float64))
    bin_, voiced, _ = BandedViterbi(config, bins)(candidates)
    assert voiced.all()
    np.testing.assert_array_equal(bin_[0], expected)


def test_troughs_are_librosas_local_minima() -> None:
    """Small integers, so that flat bottoms and equal ends occur."""
    curves = np.random.default_rng(4).integers(0, 4, (200, 9)).astype(float)
    expected = librosa.util.localmin(curves, axis=1)
    expected[:, 0] = curves[:, 0] < curves[:, 1]  # as pYIN does
    np.testing.assert_array_equal(troughs(torch.from_numpy(curves)), expected)


def test_band_max_by_definition() -> None:
    reach, generator = 5, torch.Generator().manual_seed(0)
    values = torch.randn(30 + 2 * reach, 4, dtype=torch.float64, generator=generator)
    weights = torch.randn(2, reach + 1, dtype=torch.float64, generator=generator)
    both_sides = torch.cat([weights.flip(1), weights[:, 1:]], 1)
    expected = (values.unfold(0, 2 * reach + 1, 1) + both_sides[:, None, None]).amax(-1)
    out, scratch = torch.empty_like(expected), expected.new_empty((2, reach + 1, 30, 4))
    band_max(values, weights, out, scratch)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_pitch_bins_are_librosas() -> None:
    candidates = PitchCandidates(FeatureConfig())
    assert (candidates.pitch_bins, candidates.min_period, candidates.max_period) == (601, 7, 245)
    assert pytest.approx(np.log(librosa.util.tiny(np.zeros(1))), rel=1e-15) == LOG_TINY
    assert FeatureConfig().pyin.fmin == pytest.approx(librosa.note_to_hz("C2"), rel=1e-15)
    assert FeatureConfig().pyin.fmax == pytest.approx(librosa.note_to_hz("C7"), rel=1e-15)

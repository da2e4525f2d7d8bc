"""Augmentation states its physics: decibels, frequencies, decay times; and draws that depend on nothing else."""

import math

import numpy as np
import pytest
import soxr
import torch
from scipy import signal
from torch import Generator, Tensor

from musicpase.errors import ConfigError
from musicpase.pretrain import augment
from musicpase.pretrain.augment import Augmentation, distort, vary
from musicpase.pretrain.biquads import KINDS, biquad, response

RATE, SAMPLES = 16_000, 48_000
ALL = Augmentation(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
NAMES = ("transpose", "gain", "mix", "filter", "reverberation", "level")


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def noise(batch: int, level: float = 0.05, seed: int = 1, samples: int = SAMPLES) -> Tensor:
    return level * torch.randn(batch, samples, generator=seeded(seed))


def tone(hz: float, samples: int = SAMPLES) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * torch.arange(samples) / RATE)[None]


def power_db(waveform: Tensor) -> Tensor:
    return 10 * torch.log10(waveform.square().mean(dim=-1))


def both(waveform: Tensor, settings: Augmentation, seed: int = 0) -> Tensor:
    generator = seeded(seed)
    return distort(vary(waveform, settings, generator), settings, generator)


def test_probability_0_is_the_identity_and_draws_nothing() -> None:
    waveform, generator = noise(4), seeded()
    before = generator.get_state()
    assert torch.equal(both(waveform, Augmentation()), waveform)
    vary(waveform, Augmentation(), generator)
    distort(waveform, Augmentation(), generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_alone_decides(name: str) -> None:
    waveform = noise(6)
    kept = waveform.clone()
    settings = Augmentation(**{name: 1.0})
    torch.manual_seed(1)
    first = both(waveform, settings)
    torch.manual_seed(2)
    assert torch.equal(both(waveform, settings), first)
    assert not torch.isclose(both(waveform, settings, seed=1), first).all(dim=1).any()
    assert torch.equal(waveform, kept)
    assert first.shape == waveform.shape
    assert (first != waveform).any(dim=1).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_share_of_crops_is_the_probability_and_the_others_are_untouched(name: str) -> None:
    waveform = noise(400, samples=1000)
    changed = (both(waveform, Augmentation(**{name: 0.3})) != waveform).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.08)
    again = (both(waveform, Augmentation(**{name: 0.3}), seed=1) != waveform).any(dim=1)
    assert (changed != again).any()


def test_gain_is_in_decibels() -> None:
    waveform = noise(300, samples=500, level=0.02)
    varied = vary(waveform, Augmentation(gain=1.0), seeded())
    gain_db = power_db(varied) - power_db(waveform)
    assert -12 <= gain_db.min() < -11
    assert 5 < gain_db.max() <= 6
    assert gain_db.mean().item() == pytest.approx(-3, abs=1)
    factor = 10 ** (gain_db / 20)
    assert torch.allclose(varied, waveform * factor[:, None], atol=1e-6)


def test_level_changes_what_is_heard_and_not_the_clean_crop() -> None:
    waveform = noise(300, samples=500, level=0.02)
    settings = Augmentation(level=1.0)
    assert torch.equal(vary(waveform, settings, seeded()), waveform)
    heard = distort(waveform, settings, seeded())
    level_db = power_db(heard) - power_db(waveform)
    assert -18 <= level_db.min() < -17
    assert 5 < level_db.max() <= 6
    assert torch.allclose(heard, waveform * (10 ** (level_db / 20))[:, None], atol=1e-6)


@pytest.mark.parametrize("semitones", [-1.0, -0.37, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("hz", [220.0, 3000.0])
def test_transposition_moves_a_tone_by_its_ratio(semitones: float, hz: float) -> None:
    ratio = 2 ** (semitones / 12)
    played = augment.transpose(tone(hz), [ratio])[0]
    window = torch.hann_window(32_768, dtype=torch.float64)
    spectrum = torch.fft.rfft(played[:32_768] * window, 1 << 19).abs()
    assert spectrum.argmax().item() * RATE / (1 << 19) == pytest.approx(hz * ratio, rel=5e-4)
    middle = slice(5000, 40_000)  # the level stays
    assert power_db(played[middle]).item() == pytest.approx(power_db(tone(hz)[0, middle]).item(), abs=0.01)


def test_transpositions_are_drawn_from_a_semitone_down_to_one_up() -> None:
    varied = vary(tone(1000.0, 16_000).repeat(200, 1), Augmentation(transpose=1.0), seeded())
    window = torch.hann_window(13_000)
    hz = torch.fft.rfft(varied[:, 1000:14_000] * window, 1 << 16).abs().argmax(dim=1) * RATE / (1 << 16)
    semitones = 12 * torch.log2(hz / 1000)
    assert -1.01 < semitones.min() < -0.95
    assert 0.95 < semitones.max() < 1.01
    assert abs(semitones.mean()) < 0.15


def test_transposition_folds_nothing_back() -> None:
    """A tone that rises over half the sampling rate is gone, not mirrored to a lower frequency."""
    played = augment.transpose(tone(7_800.0), [2 ** (1 / 12)])[0]
    assert power_db(played[2000:40_000]) < power_db(tone(7_800.0)[0]) - 40


@pytest.mark.parametrize("ratio", [48_000 / 50_176, 1.0, 48_000 / 45_600])
def test_transposition_is_resampling(ratio: float) -> None:
    """Outside oracle: soxr, away from the crop's ends and below its cut."""
    b, a = signal.butter(8, 5000, fs=RATE)
    waveform = signal.lfilter(b, a, noise(1)[0].numpy())
    expected = soxr.resample(waveform, 10_000 * ratio, 10_000, quality="VHQ")[2000:44_000]
    played = augment.transpose(torch.from_numpy(waveform).float()[None], [ratio])[0].numpy()[2000:44_000]
    error = played - expected
    assert np.sqrt(np.mean(error**2)) < 2e-3 * np.sqrt(np.mean(expected**2))


def test_a_missing_end_is_mirrored() -> None:
    played = augment.transpose(noise(1), [1.05])[0]
    end = 32 * round(SAMPLES / 1.05 / 32)
    assert torch.equal(played[end:], played[2 * end - 1 - SAMPLES : end - 1].flip(0))


def test_mixing_has_its_ratio() -> None:
    waveform = noise(5) * torch.tensor([0.1, 1.0, 2.0, 3.0, 0.5])[:, None]
    snr_db = torch.tensor([0.0, 5.0, 12.0, 20.0, 40.0])
    other = waveform.roll(1, 0)
    added = augment.mix(waveform, other, snr_db) - waveform
    assert torch.allclose(power_db(waveform) - power_db(added), snr_db, atol=0.05)
    scale = (added * other).sum(1) / other.square().sum(1)
    assert torch.allclose(added, other * scale[:, None], atol=1e-5)


def test_what_is_mixed_in_is_another_crop_of_the_batch() -> None:
    waveform = noise(8)
    partners = set()
    for seed in range(30):
        added = distort(waveform, Augmentation(mix=1.0), seeded(seed)) - waveform
        snr_db = power_db(waveform) - power_db(added)
        assert (snr_db > 4.9).all()
        assert (snr_db < 20.1).all()
        partner = (added @ waveform.T).argmax(dim=1)
        assert (partner != torch.arange(8)).all()
        partners |= set(enumerate(partner.tolist()))
    assert len(partners) > 50  # of 56 pairs


def test_silence_is_not_mixed_and_one_crop_has_no_partner() -> None:
    waveform = noise(2)
    waveform[1] = 0.0
    assert torch.equal(distort(waveform, Augmentation(mix=1.0), seeded()), waveform)
    assert torch.equal(distort(waveform[:1], Augmentation(mix=1.0), seeded()), waveform[:1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain_db", [-12.0, 9.0])
def test_filters_have_the_gain_they_say(kind: str, gain_db: float) -> None:
    """Bottom of the band, the filter's own frequency, top of the band [dB], from the filters' definitions."""
    b, a = biquad(kind, 1000 / RATE, gain_db, math.sqrt(0.5))
    gains = 20 * np.log10(np.abs(signal.freqz(b, a, [1.0, 1000.0, 7999.9], fs=RATE)[1]) + 1e-12)
    expected = {
        "peaking": (0.0, gain_db, 0.0),
        "low shelf": (gain_db, gain_db / 2, 0.0),
        "high shelf": (0.0, gain_db / 2, gain_db),
        "low-pass": (0.0, -3.01, -math.inf),
        "high-pass": (-math.inf, -3.01, 0.0),
    }[kind]
    for gain, value in zip(gains, expected, strict=True):
        assert gain == pytest.approx(value, abs=0.02) if math.isfinite(value) else gain < -80
    assert (np.abs(np.roots(a)) < 1).all()  # stable
    bins = response(torch.tensor([b]), torch.tensor([a]), 513)[0].numpy()
    assert np.allclose(bins, signal.freqz(b, a, 513, include_nyquist=True)[1], atol=1e-4)


def test_a_tone_is_attenuated_by_its_filter() -> None:
    low_pass = biquad("low-pass", 1000 / RATE, 0.0, math.sqrt(0.5))
    heard = augment.filtered(torch.cat([tone(250.0), tone(4000.0)]), [low_pass, low_pass])[:, 4000:]
    loss = power_db(heard) - power_db(tone(250.0)[:, 4000:])
    assert loss[0].item() == pytest.approx(0.0, abs=0.05)
    octaves_db = 20 * math.log10(math.tan(math.pi * 4 / 16) / math.tan(math.pi * 1 / 16))
    assert loss[1].item() == pytest.approx(-2 * octaves_db, abs=0.1)  # Butterworth's 12 dB per (warped) octave


def test_filtering_is_causal_filtering_from_rest() -> None:
    """Outside oracle: scipy. Nothing of the end comes round to the beginning, at the extremes of the ranges too."""
    waveform = noise(40)
    generator = seeded()
    filters = [augment._draw_filter(generator) for _ in range(38)]
    filters += [biquad("peaking", 100 / RATE, 12.0, 2.0), biquad("high-pass", 50 / RATE, 0.0, math.sqrt(0.5))]
    heard = augment.filtered(waveform, filters).numpy()
    for row, (b, a) in enumerate(filters):
        expected = signal.lfilter(b, a, waveform[row].numpy().astype(np.float64))
        assert np.abs(heard[row] - expected).max() < 2e-3 * np.abs(expected).max()


def test_the_filters_are_drawn_from_all_kinds() -> None:
    generator = seeded()
    shapes = set()
    for _ in range(60):
        b, a = augment._draw_filter(generator)
        low, high = (abs(value) for value in signal.freqz(b, a, [1.0, 7999.9], fs=RATE)[1])
        near = [abs(20 * math.log10(value + 1e-9)) < 0.1 for value in (low, high)]
        shapes.add("stop" if min(low, high) < 0.01 else tuple(near))
    assert shapes == {"stop", (True, True), (False, True), (True, False)}


@pytest.mark.parametrize("decay_s", [0.3, 0.6, 1.0])
def test_reverberation_decays_by_60_db_in_its_time(decay_s: float) -> None:
    """Schroeder's backward integration: the energy still to come falls in a straight line."""
    room = augment.room_response(noise(4, 1.0, samples=RATE), torch.full((4,), decay_s), torch.full((4,), 3.0))
    to_come = 10 * torch.log10(room[:, 1:].square().flip(1).cumsum(1).flip(1).mean(0))
    begin, end = round(0.1 * decay_s * RATE), round(0.5 * decay_s * RATE)
    slope = (to_come[end] - to_come[begin]).item() / (0.4 * decay_s)
    assert slope == pytest.approx(-60 / decay_s, rel=0.05)


def test_the_direct_sound_comes_first_and_stays_in_its_place() -> None:
    direct_db = torch.tensor([0.0, 6.0, 15.0])
    room = augment.room_response(noise(3, 1.0, samples=RATE), torch.tensor([0.2, 0.5, 1.0]), direct_db)
    energy = room.square()
    assert torch.allclose(energy.sum(1), torch.ones(3), atol=1e-4)
    assert torch.allclose(10 * torch.log10(energy[:, 0] / energy[:, 1:].sum(1)), direct_db, atol=0.01)
    waveform = noise(3)
    heard = augment.convolve(waveform, room)
    spectrum = torch.fft.rfft(heard, 2 * SAMPLES) * torch.fft.rfft(waveform, 2 * SAMPLES).conj()
    assert torch.fft.irfft(spectrum).abs().argmax(dim=1).tolist() == [0, 0, 0]


def test_convolution_is_convolution_from_rest() -> None:
    waveform, room = noise(2), noise(2, samples=9000, seed=3)
    heard = augment.convolve(waveform, room).numpy()
    for row in range(2):
        expected = signal.fftconvolve(waveform[row].double().numpy(), room[row].double().numpy())[:SAMPLES]
        assert np.abs(heard[row] - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_room_keeps_the_level() -> None:
    waveform = noise(60)
    change_db = power_db(distort(waveform, Augmentation(reverberation=1.0), seeded())) - power_db(waveform)
    assert change_db.abs().max() < 1.0


def test_nothing_is_louder_than_full_scale_and_nothing_is_clipped() -> None:
    square = torch.sign(noise(32))
    square[0] = 0.0
    square[1] = 1e-20
    for seed in range(3):
        heard = both(square, ALL, seed)
        assert torch.isfinite(heard).all()
        assert heard.abs().max() <= 1.0 + 1e-6
        for samples in heard[2:].abs():  # what is clipped has many samples at its peak
            assert (samples > samples.max() * 0.9999).sum() < 20
    over = 3.0 * square  # louder than full scale to begin with: no louder afterwards
    mixed = both(over, Augmentation(mix=1.0))[2:].abs().amax(dim=1)
    assert torch.allclose(mixed, torch.tensor(3.0))


def test_turning_down_is_the_only_change_of_a_loud_crop() -> None:
    waveform = noise(40, 0.15).clamp(-0.7, 0.7)
    quiet = 0.01 * waveform
    drawn = (vary(quiet, Augmentation(gain=1.0), seeded()) / quiet).median(dim=1).values
    expected = torch.minimum(drawn, 1 / waveform.abs().amax(dim=1))
    assert (expected < drawn).any()
    varied = vary(waveform, Augmentation(gain=1.0), seeded())
    assert torch.allclose(varied, waveform * expected[:, None], atol=1e-5)


def test_only_probabilities() -> None:
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match=f"augmentation mix is {value}"):
            Augmentation(mix=value)


def test_no_global_random_numbers() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    both(noise(4), ALL)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
def test_the_device_changes_nothing_but_rounding() -> None:
    waveform = noise(16)
    generator = seeded()
    on_gpu = distort(vary(waveform.cuda(), ALL, generator), ALL, generator)
    assert on_gpu.is_cuda
    assert torch.allclose(on_gpu.cpu(), both(waveform, ALL), atol=1e-5)

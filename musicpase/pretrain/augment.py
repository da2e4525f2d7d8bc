"""Waveform augmentation, in two steps because the training targets lie between them.

`vary` makes another clean crop (pitch and tempo, gain): targets are computed from its result. `distort` spoils what
the encoder hears (other music, filters, reverberation) and nothing else: the encoder learns to see through it, as
PASE+ does with speech (arXiv 2001.09239, section 2). A stretched input with targets of the original would not even
have the same frames.

Every random number is drawn on the CPU from the generator that is passed, so a result does not depend on the device
or on anything drawn elsewhere; every crop of a batch draws for itself. A kind with probability 0 draws nothing.
Nothing is clipped: a crop that a change would push beyond full scale, or beyond its own peak where that is higher,
is turned down as a whole, because a clean input has no samples there and its distortion should be the one asked for.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from musicpase.config import SAMPLE_RATE
from musicpase.errors import ConfigError
from musicpase.pretrain.biquads import KINDS, biquad, response

__all__ = ["Augmentation", "distort", "vary"]


@dataclass(frozen=True)
class Augmentation:
    """Probability that a crop is changed in each way, independently; all off by default.

    Attributes:
        transpose: Played faster or slower: pitch and tempo change together.
        gain: Made louder or softer.
        mix: Mixed with another crop of the batch.
        filter: Filtered: peak, shelf, low-pass or high-pass.
        reverberation: Put into a room.
        level: Heard louder or softer than it is.

    Raises:
        ConfigError: A probability is not one.
    """

    transpose: float = 0.0
    gain: float = 0.0
    mix: float = 0.0
    filter: float = 0.0
    reverberation: float = 0.0
    level: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise ConfigError(f"augmentation {field.name} is {value}: it is a probability, from 0 to 1")


# Ranges; all values are drawn uniformly in them, frequencies on a logarithmic scale.
SEMITONES = (-1.0, 1.0)
"""Transposition [semitones]. Upwards the end of a crop is missing and is mirrored: 5.6 % of it at most."""

GAIN_DB = (-12.0, 6.0)
"""Gain [dB]; upwards as far as full scale allows."""

LEVEL_DB = (-18.0, 6.0)
"""Gain of what the encoder hears [dB]; upwards as far as full scale allows."""

MIX_SNR_DB = (5.0, 20.0)
"""Power of a crop over that of the crop mixed to it [dB]: the crop always stays in front."""

FILTER_GAIN_DB = (-12.0, 12.0)
"""Gain of peaks and shelves [dB]."""

FILTER_HZ = {
    "peaking": (100.0, 6000.0),
    "low shelf": (100.0, 1000.0),
    "high shelf": (1000.0, 6000.0),
    "low-pass": (2000.0, 7000.0),  # from a telephone's bandwidth on
    "high-pass": (50.0, 500.0),  # down from a small loudspeaker's
}
"""Centres of peaks, corners of all else [Hz]."""

PEAK_Q = (0.5, 2.0)
"""Quality of peaks: between three octaves and three quarters of one; shelves and passes have 0.707."""

REVERBERATION_S = (0.2, 1.0)
"""Time in which the reverberation falls by 60 dB [s]: from a living room to a concert hall."""

DIRECT_DB = (0.0, 15.0)
"""Energy of the direct sound over that of the reverberation [dB]."""

SILENCE = 1e-12
"""Power that counts as none: -120 dB of full scale, below the noise of 16 bits."""

_FILTER_TAIL = 4800  # samples, 0.3 s: the slowest of these filters has decayed by more than 60 dB after them
_ROOM_TAIL = round(REVERBERATION_S[1] * SAMPLE_RATE)


def vary(waveform: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Make other clean crops: transposition, then gain.

    Args:
        waveform: `(batch, samples)` float32.
        settings: How often.
        generator: On the CPU.

    Returns:
        `(batch, samples)`; crops that nothing happens to are returned bit for bit.
    """
    if rows := _draw_rows(len(waveform), settings.transpose, generator):
        semitones = _uniform(len(rows), SEMITONES, generator).tolist()
        waveform = _replace(waveform, rows, transpose(waveform[rows], [2 ** (s / 12) for s in semitones]))
    if rows := _draw_rows(len(waveform), settings.gain, generator):
        waveform = _amplify(waveform, rows, _uniform(len(rows), GAIN_DB, generator))
    return waveform


def distort(waveform: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Spoil what the encoder hears: other music, a filter, a room, then its level; all else as for `vary`."""
    count = len(waveform)
    if count > 1 and (rows := _draw_rows(count, settings.mix, generator)):
        steps = torch.randint(1, count, (len(rows),), generator=generator)
        others = [(row + step) % count for row, step in zip(rows, steps.tolist(), strict=True)]
        snr_db = _uniform(len(rows), MIX_SNR_DB, generator)
        waveform = _replace(waveform, rows, mix(waveform[rows], waveform[others], snr_db))
    if rows := _draw_rows(count, settings.filter, generator):
        filters = [_draw_filter(generator) for _ in rows]
        waveform = _replace(waveform, rows, filtered(waveform[rows], filters))
    if rows := _draw_rows(count, settings.reverberation, generator):
        decay_s = _uniform(len(rows), REVERBERATION_S, generator)
        direct_db = _uniform(len(rows), DIRECT_DB, generator)
        noise = torch.randn(len(rows), _ROOM_TAIL, generator=generator)
        room = room_response(noise, decay_s, direct_db).to(waveform.device)
        waveform = _replace(waveform, rows, convolve(waveform[rows], room))
    if rows := _draw_rows(count, settings.level, generator):
        waveform = _amplify(waveform, rows, _uniform(len(rows), LEVEL_DB, generator))
    return waveform


def transpose(waveform: Tensor, ratios: list[float]) -> Tensor:
    """Play each crop `ratio` times as fast, resampled without aliasing.

    The crop's spectrum is cut or filled up to that of a crop of `samples / ratio`; what then is missing at the end
    is mirrored, what is too much is cut off.

    Args:
        waveform: `(batch, samples)`.
        ratios: Of the frequencies, below 2; met to half a cent (0.03 %) in crops of 3 s.

    Returns:
        `(batch, samples)`.
    """
    samples = waveform.shape[1]
    spectrum = torch.fft.rfft(waveform)
    result = torch.empty_like(waveform)
    for row, ratio in enumerate(ratios):
        length = 32 * round(samples / ratio / 32)  # other numbers transform more slowly
        kept = spectrum[row, : length // 2 + 1].clone()
        if length <= samples:
            kept[-1].imag.zero_()  # a real signal has none in its highest bin, and cuFFT wants none
        played = torch.fft.irfft(kept, length)[:samples] * (length / samples)
        missing = samples - len(played)
        result[row] = torch.cat([played, played.flip(0)[1 : 1 + missing]])
    return result


def mix(waveform: Tensor, other: Tensor, snr_db: Tensor) -> Tensor:
    """Add `other` so much softer that the ratio of the powers is `snr_db`; silence is neither added nor added to.

    Args:
        waveform: `(batch, samples)`.
        other: Likewise.
        snr_db: `(batch,)` [dB].

    Returns:
        `(batch, samples)`.
    """
    power, other_power = (x.square().mean(dim=1) for x in (waveform, other))
    factor = (power / other_power).sqrt() * 10 ** (-snr_db.to(waveform) / 20)
    return waveform + other * torch.where(other_power > SILENCE, factor, 0.0)[:, None]


def filtered(waveform: Tensor, filters: list[tuple[list[float], list[float]]]) -> Tensor:
    """Run each crop through its filter from rest, as `scipy.signal.lfilter` does.

    Args:
        waveform: `(batch, samples)`.
        filters: Coefficients `b`, `a` for each.

    Returns:
        `(batch, samples)`.
    """
    samples = waveform.shape[1]
    length = _smooth(samples + _FILTER_TAIL)  # room for the tail, which else would come in at the start
    b, a = (torch.tensor([f[i] for f in filters], dtype=torch.float64).to(waveform.device) for i in (0, 1))
    spectrum = torch.fft.rfft(waveform, length).mul_(response(b, a, length // 2 + 1))
    passed: Tensor = torch.fft.irfft(spectrum, length)[:, :samples]
    return passed


def room_response(noise: Tensor, decay_s: Tensor, direct_db: Tensor) -> Tensor:
    """The response of a room: the direct sound at sample 0, then noise that decays exponentially.

    Args:
        noise: White, `(batch, samples)`.
        decay_s: Time in which the noise falls by 60 dB, `(batch,)` [s].
        direct_db: Energy of the direct sound over that of the rest, `(batch,)` [dB].

    Returns:
        `(batch, samples)` with an energy of 1, so that on average a room changes no level.
    """
    time_s = torch.arange(noise.shape[1]) / SAMPLE_RATE
    tail = noise * torch.exp(-math.log(1000) * time_s / decay_s[:, None])  # 60 dB are a factor of 1000
    tail[:, 0] = 0.0
    direct = 10 ** (direct_db / 20)
    tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt()
    tail[:, 0] = direct
    return tail / (1 + direct.square()).sqrt()[:, None]


def convolve(waveform: Tensor, impulse_response: Tensor) -> Tensor:
    """Convolve each crop with its own response, from rest; `(batch, samples)`, cut where the crop ends."""
    samples = waveform.shape[1]
    length = _smooth(samples + impulse_response.shape[1])
    spectrum = torch.fft.rfft(waveform, length).mul_(torch.fft.rfft(impulse_response, length))
    heard: Tensor = torch.fft.irfft(spectrum, length)[:, :samples]
    return heard


def _draw_rows(count: int, probability: float, generator: Generator) -> list[int]:
    """The crops that something happens to."""
    if probability == 0:
        return []
    return torch.nonzero(torch.rand(count, generator=generator) < probability)[:, 0].tolist()


def _uniform(count: int, limits: tuple[float, float], generator: Generator) -> Tensor:
    return torch.empty(count).uniform_(*limits, generator=generator)


def _draw_filter(generator: Generator) -> tuple[list[float], list[float]]:
    kind = KINDS[int(torch.randint(len(KINDS), (), generator=generator))]
    low, high = FILTER_HZ[kind]
    place, gain_db, q = torch.rand(3, generator=generator).tolist()
    gain_db = FILTER_GAIN_DB[0] + gain_db * (FILTER_GAIN_DB[1] - FILTER_GAIN_DB[0])
    q = PEAK_Q[0] * (PEAK_Q[1] / PEAK_Q[0]) ** q if kind == "peaking" else math.sqrt(0.5)
    return biquad(kind, low * (high / low) ** place / SAMPLE_RATE, gain_db, q)


def _amplify(waveform: Tensor, rows: list[int], gain_db: Tensor) -> Tensor:
    return _replace(waveform, rows, waveform[rows] * (10 ** (gain_db / 20)).to(waveform)[:, None])


def _replace(waveform: Tensor, rows: list[int], changed: Tensor) -> Tensor:
    """A copy with other rows, turned down where they would be louder than full scale and than they were."""
    peak = changed.abs().amax(dim=1)
    allowed = waveform[rows].abs().amax(dim=1).clamp(min=1.0)
    result = waveform.clone()
    result[rows] = changed * (allowed / peak.clamp(min=1e-9)).clamp(max=1.0)[:, None]
    return result


def _smooth(length: int) -> int:
    """The smallest even number from `length` on with no prime factor above 7: others transform slowly."""
    while True:
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and length % 2 == 0:
            return length
        length += 1

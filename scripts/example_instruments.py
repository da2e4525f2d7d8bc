"""The instruments and the recording desk behind `make_examples.py`: numpy only.

An instrument is a function of a frequency [Hz] and a length [s] that returns `(samples,)`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]
Instrument = Callable[[float, float], Signal]

RATE = 44_100  # [Hz]
RANDOM = np.random.RandomState(1904)  # RandomState: its streams are frozen, unlike a Generator's


def hz(midi: float) -> float:
    """Frequency of a MIDI note number; 69 is the a' of 440 Hz."""
    return 440.0 * 2.0 ** ((midi - 69) / 12)


def seconds(length: float) -> Signal:
    """The time axis of a sound [s]."""
    return np.arange(round(length * RATE)) / RATE


def fade(signal: Signal, attack: float, release: float) -> Signal:
    """Linear ramps at both ends [s], so that no note clicks."""
    samples = np.arange(len(signal))
    ramp = np.minimum(samples / max(attack * RATE, 1), (len(signal) - samples) / max(release * RATE, 1))
    return signal * np.clip(ramp, 0, 1)


class Canvas:
    """A stereo recording that notes are laid on.

    Args:
        length: of the piece [s]; what rings on is faded out.
        tempo: beats per minute; positions are given in beats.
    """

    def __init__(self, length: float, tempo: float) -> None:
        self.beat = 60 / tempo
        self.sound = np.zeros((round(length * RATE), 2))

    def put(self, signal: Signal, beat: float, gain: float, pan: float = 0.0) -> None:
        """Lay a sound at a beat; `pan` from -1 (left) to 1 (right) at constant power."""
        start = round(beat * self.beat * RATE)
        part = signal[: max(0, len(self.sound) - start)]
        angle = (pan + 1) * np.pi / 4
        self.sound[start : start + len(part)] += gain * part[:, None] * (np.cos(angle), np.sin(angle))

    def room(self, length: float, amount: float) -> None:
        """A room: convolution with decaying noise of `length` [s], darker the later."""
        time = seconds(length)
        noise = RANDOM.normal(size=(len(time), 2)) * np.exp(-6.9 * time / length)[:, None]
        size = len(self.sound) + len(noise)
        shape = 1 / (1 + (np.fft.rfftfreq(size, 1 / RATE) / 3500) ** 2)  # walls swallow the treble
        wet = np.fft.irfft(
            np.fft.rfft(self.sound, size, axis=0) * np.fft.rfft(noise, size, axis=0) * shape[:, None], size, axis=0
        )[: len(self.sound)]
        self.sound += amount * np.abs(self.sound).max() / np.abs(wet).max() * wet

    def echo(self, beats: float, gain: float) -> None:
        """Echoes that change sides, each `gain` of the one before."""
        step = round(beats * self.beat * RATE)
        for start in range(step, len(self.sound), step):
            stop = min(start + step, len(self.sound))
            self.sound[start:stop] += gain * self.sound[start - step : stop - step, ::-1]

    def finished(self) -> Signal:
        """The piece at a peak of 0.8, its end faded."""
        release = np.minimum(1, np.arange(len(self.sound))[::-1] / (0.25 * RATE))[:, None]
        return 0.8 * self.sound / np.abs(self.sound).max() * release


# --- instruments ---------------------------------------------------------------------------------------------------


def plucked(frequency: float, length: float) -> Signal:
    """A string (Karplus and Strong 1983): a burst of noise goes round a delay line that smooths it.

    Evaluated a period at a time: each period is the one before, smoothed and a little weaker. The line has a whole
    number of samples at four times the rate, which keeps the pitch within four cents; the burst holds nothing above
    the final rate's Nyquist frequency, so that taking every fourth sample adds no noise.
    """
    rate = 4 * RATE
    period = round(rate / frequency)
    harmonic = np.fft.rfftfreq(period, 1 / rate)
    finger = 1 / (1 + (harmonic / 2200) ** 2) * (harmonic > 0) * (harmonic < 15_000)  # soft, and no constant part
    bridge = np.abs(np.sin(np.pi * 0.21 * harmonic / frequency))  # plucked at a fifth of the string
    line = np.fft.irfft(finger * bridge * np.exp(2j * np.pi * RANDOM.uniform(size=len(harmonic))), period)
    decay = 0.5 ** (1 / (frequency * 1.1))  # halves in 1.1 s, the overtones much sooner
    periods = [line]
    for _ in range(int(length * rate / period)):
        last = periods[-1]
        periods.append(decay * (0.6 * last + 0.2 * (np.roll(last, 3) + np.roll(last, -3))))
    string = np.concatenate(periods)[: round(length * rate) : 4]
    return fade(string / np.abs(string).max(), 0.001, 0.05)


def electric_piano(frequency: float, length: float) -> Signal:
    """Frequency modulation (Chowning 1973): a bell-like strike on a warm tone, as in the pianos of the 1980s."""
    time = seconds(length)
    strike = 0.25 * np.exp(-time * 9) * np.sin(2 * np.pi * 14 * frequency * time)
    warmth = 1.1 * np.exp(-time * 2.2) * np.sin(2 * np.pi * frequency * time)
    tone = np.sin(2 * np.pi * frequency * time + warmth) + 0.35 * np.sin(2 * np.pi * frequency * time + strike)
    tremolo = 1 + 0.12 * np.sin(2 * np.pi * 5 * time)
    return fade(tone * np.exp(-time * 1.3) * tremolo, 0.003, 0.08)


def finger_bass(frequency: float, length: float) -> Signal:
    """An electric bass: harmonics that die the faster the higher they are."""
    time = seconds(length)
    overtones = [np.sin(2 * np.pi * n * frequency * time) * np.exp(-time * (1 + 1.4 * n)) / n for n in range(1, 9)]
    return fade(np.tanh(1.5 * np.sum(overtones, axis=0)), 0.004, 0.03)


def warm_pad(frequency: float, length: float) -> Signal:
    """Strings from a machine: three detuned saws of few harmonics that open and close slowly."""
    time = seconds(length)
    voices = np.zeros_like(time)
    for detune in (-0.0035, 0.0, 0.0041):
        phase = 2 * np.pi * frequency * (1 + detune) * time + RANDOM.uniform(0, 2 * np.pi)
        for n in range(1, 13):
            brightness = np.exp(-n / (3 + 2 * np.sin(np.pi * time / length)))
            voices += brightness * np.sin(n * phase) / n
    return fade(voices / 3, 0.5, 0.7)


def glass(frequency: float, length: float) -> Signal:
    """A soft bell for arpeggios: partials of a struck bar (1 : 2.76 : 5.40)."""
    time = seconds(length)
    partials = ((1.0, 1.0, 3.0), (2.76, 0.25, 7.0), (5.40, 0.08, 14.0))
    tone = sum(a * np.exp(-d * time) * np.sin(2 * np.pi * r * frequency * time) for r, a, d in partials)
    return fade(np.asarray(tone), 0.002, 0.05)


def pulse(width: float) -> Instrument:
    """The square voice of a games console: a band-limited pulse wave of a duty cycle."""

    def voice(frequency: float, length: float) -> Signal:
        time = seconds(length)
        vibrato = 0.15 * np.sin(2 * np.pi * 6 * time) * np.clip(4 * (time - 0.15), 0, 1)  # [rad]
        phase = 2 * np.pi * frequency * time + vibrato
        orders = range(1, min(40, int(9000 / frequency)) + 1)
        wave = sum(np.sin(np.pi * n * width) / n * np.cos(n * (phase - np.pi * width)) for n in orders)
        return fade(np.asarray(wave) * np.exp(-time * 1.5), 0.002, 0.01)

    return voice


def triangle(frequency: float, length: float) -> Signal:
    """The bass voice of the same console, in its 16 coarse steps."""
    phase = frequency * seconds(length) % 1
    return fade(np.round(7.5 * (4 * np.abs(phase - 0.5) - 1)) / 7.5, 0.002, 0.01)


# --- drums ---------------------------------------------------------------------------------------------------------


def filtered_noise(length: float, low: float, high: float) -> Signal:
    """White noise between two frequencies [Hz], with soft edges."""
    samples = round(length * RATE)
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    shape = 1 / np.sqrt((1 + (low / np.maximum(frequency, 1)) ** 6) * (1 + (frequency / high) ** 6))
    noise = np.fft.irfft(np.fft.rfft(RANDOM.normal(size=samples)) * shape, samples)
    return noise / np.abs(noise).max()


def kick() -> Signal:
    """A falling sine with the click of a beater."""
    time = seconds(0.35)
    body = np.sin(2 * np.pi * (48 * time + 110 / 28 * (1 - np.exp(-28 * time)))) * np.exp(-9 * time)
    click = filtered_noise(0.35, 1500, 5000) * np.exp(-250 * time)
    return fade(np.tanh(1.6 * body) + 0.25 * click, 0.0005, 0.05)


def snare() -> Signal:
    """Two modes of a drum head and the rattle of its wires."""
    time = seconds(0.28)
    head = (np.sin(2 * np.pi * 186 * time) + 0.6 * np.sin(2 * np.pi * 332 * time)) * np.exp(-26 * time)
    return fade(0.6 * head + 0.7 * filtered_noise(0.28, 1200, 9000) * np.exp(-17 * time), 0.0005, 0.05)


def hat(length: float) -> Signal:
    """A hi-hat, closed or open by its length [s]."""
    return fade(filtered_noise(length, 7000, 15_000) * np.exp(-4.5 * seconds(length) / length), 0.0005, 0.02)

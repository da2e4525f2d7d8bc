"""Render the clips in `examples/`: five short pieces by nobody but this script, in five formats.

    python scripts/make_examples.py [FOLDER]

Only numpy and libsndfile (through soundfile) take part. Every note, and every stroke of noise, comes from the code
below and a seeded generator, so a second run gives the same samples. (The bytes of the ogg file differ all the same,
libsndfile draws a serial number for its stream; and other versions of libsndfile may encode ogg and mp3 otherwise.)
Dedicated to the public domain (CC0 1.0).

A piece is a function that puts notes on a stereo `Canvas`; the instruments are in `example_instruments.py`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from example_instruments import (
    RANDOM,
    RATE,
    Canvas,
    Signal,
    electric_piano,
    finger_bass,
    glass,
    hat,
    hz,
    kick,
    plucked,
    pulse,
    snare,
    triangle,
    warm_pad,
)


def waltz() -> Signal:
    """A guitar waltz in A minor: bass, chord, chord, and a tune above them."""
    canvas = Canvas(length=7.0, tempo=156)
    harmony = (((45, 40), (60, 64, 69)), ((50, 45), (62, 65, 69)), ((52, 47), (62, 64, 68)), ((45, 52), (60, 64, 69)))
    for bar, (bass, chord) in enumerate(harmony):
        canvas.put(plucked(hz(bass[0]), 1.6), 3 * bar, 0.9, -0.2)
        for beat in (1, 2):
            for strum, note in enumerate(chord):
                canvas.put(plucked(hz(note), 0.9), 3 * bar + beat + 0.03 * strum, 0.35, 0.35)
    tune = ((76, 0, 2), (74, 2, 1), (77, 3, 1.5), (76, 4.5, 0.5), (74, 5, 1), (71, 6, 2), (68, 8, 1), (69, 9, 3))
    for index, (note, beat, length) in enumerate((*tune, (72, 12, 1), (76, 13, 1), (81, 14, 3))):
        late = RANDOM.uniform(0, 0.03)
        canvas.put(plucked(hz(note), 0.4 * length + 1.0), beat + late, 0.7 + 0.1 * (index % 2), 0.1)
    for strum, note in enumerate((45, 52, 57, 60, 64)):  # the last bar rings
        canvas.put(plucked(hz(note), 2.0), 12 + 0.08 * strum, 0.5, -0.1)
    canvas.room(0.9, 0.25)
    return canvas.finished()


def jazz() -> Signal:
    """An electric piano trio: ii-V-I-VI in C with swung eighths, walking bass and brushes on the hi-hat."""
    canvas = Canvas(length=7.5, tempo=132)
    swing = 2 / 3  # an eighth off the beat comes this late
    chords = ((53, 57, 60, 64), (53, 57, 59, 64), (52, 55, 59, 62), (49, 55, 58, 61))  # Dm9 G13 Cmaj9 A7b9
    walk = ((38, 41, 45, 44), (43, 47, 50, 49), (36, 40, 43, 46), (45, 43, 40, 37))
    for bar in range(4):
        for beat, note in enumerate(walk[bar]):
            canvas.put(finger_bass(hz(note), 0.46), 4 * bar + beat, 0.8)
            canvas.put(hat(0.09 if beat % 2 else 0.05), 4 * bar + beat, 0.16 if beat % 2 else 0.07, 0.4)
        for beat in (1 + swing, 3 + swing):
            canvas.put(hat(0.05), 4 * bar + beat, 0.06, 0.4)
        for beat, length in ((0, 0.5), (1 + swing, 0.9)) if bar % 2 else ((swing, 0.7), (3, 0.4)):
            for voice, note in enumerate(chords[bar]):
                canvas.put(electric_piano(hz(note), length), 4 * bar + beat, 0.24, -0.5 + 0.15 * voice)
    solo = (74, 77, 81, 84, 83, 79, 76, 74, 72, 76, 79, 83, 82, 79, 76, 73)
    for step, note in enumerate(solo):
        beat = 1 + step // 2 + swing * (step % 2) + 4 * (step // 8)
        canvas.put(electric_piano(hz(note), 0.55), beat, 0.36 + 0.1 * (step % 2), 0.3)
    canvas.room(0.6, 0.15)
    return canvas.finished()


def groove() -> Signal:
    """Drums and bass in E: a sixteenth-note groove with ghost notes, and a fill at the end."""
    canvas = Canvas(length=6.0, tempo=104)
    for bar in range(2):
        for beat in (0, 1.75, 2.5):
            canvas.put(kick(), 4 * bar + beat, 1.0)
        for beat, gain in ((1, 0.8), (3, 0.8), (1.75, 0.13), (2.25, 0.16), (3.75, 0.12)):
            canvas.put(snare(), 4 * bar + beat, gain, 0.05)
        for step in range(16):
            open_hat = step == 14
            canvas.put(hat(0.3 if open_hat else 0.06), 4 * bar + step / 4, (0.3, 0.12, 0.22, 0.12)[step % 4], 0.35)
        line = (
            (28, 0, 0.7),
            (28, 0.75, 0.2),
            (40, 1.5, 0.2),
            (38, 1.75, 0.4),
            (35, 2.5, 0.3),
            (31, 3, 0.4),
            (33, 3.5, 0.4),
        )
        for note, beat, length in line:
            canvas.put(finger_bass(hz(note), length * canvas.beat * 1.1), 4 * bar + beat, 0.75, -0.05)
    for step, gain in enumerate((0.5, 0.3, 0.6, 0.4, 0.7, 0.8)):
        canvas.put(snare(), 6.5 + step / 4, gain, -0.3 + 0.12 * step)
    canvas.put(kick(), 8, 1.0)
    canvas.put(hat(1.2), 8, 0.45, -0.3)
    canvas.put(finger_bass(hz(28), 1.2), 8, 0.8)
    canvas.room(0.4, 0.12)
    return canvas.finished()


def ambient() -> Signal:
    """A slow pad over two chords (F major seventh, D minor ninth) with a bell arpeggio and echoes."""
    canvas = Canvas(length=8.0, tempo=96)
    for start, chord in ((0, (41, 53, 57, 60, 64)), (6, (38, 50, 57, 60, 65, 64))):
        for voice, note in enumerate(chord):
            canvas.put(warm_pad(hz(note), 4.6), start, 0.34 if voice else 0.5, 0.5 * (-1) ** voice if voice else 0.0)
    for start, pattern in ((1, (65, 69, 72, 76, 79, 76, 72, 69)), (7, (62, 65, 69, 72, 76, 72, 69, 65))):
        for step, note in enumerate(pattern):
            canvas.put(glass(hz(note + 12), 0.8), start + step / 2, 0.2, 0.6 * np.sin(step))
    canvas.echo(0.75, 0.35)
    canvas.room(2.2, 0.4)
    return canvas.finished()


def chiptune() -> Signal:
    """A tune for a games console of 1985: two pulse voices, a stepped triangle and a noise channel."""
    canvas = Canvas(length=5.5, tempo=150)
    lead = (76, 79, 84, 83, 79, 76, 74, 76, 77, 81, 86, 84, 81, 77, 79, 83)
    lengths = (0.5, 0.5, 1, 0.5, 0.5, 0.5, 0.5, 1) * 2
    beat = 0.0
    for note, length in zip(lead, lengths, strict=True):
        canvas.put(pulse(0.25)(hz(note), 0.9 * length * canvas.beat), beat, 0.5, 0.15)
        beat += length
    canvas.put(pulse(0.25)(hz(84), 1.2), beat, 0.5, 0.15)
    for bar, chord in enumerate(((60, 64, 67), (57, 60, 64), (53, 57, 60), (55, 59, 62))):
        start = 2.5 * bar
        for step in range(10):
            canvas.put(pulse(0.125)(hz(chord[step % 3]), 0.085), start + step / 4, 0.22, -0.4)
            if step % 2 == 0:
                canvas.put(triangle(hz(chord[0] - 24 + 12 * (step % 4 // 2)), 0.17), start + step / 4, 0.5)
                canvas.put(hat(0.04 if step % 4 else 0.1), start + step / 4, 0.3)
    canvas.put(triangle(hz(36), 1.0), 10, 0.5)
    return canvas.finished()


# Name, piece, rate [Hz], and how libsndfile writes it. Different rates on purpose: users' files differ too.
CLIPS: tuple[tuple[str, Callable[[], Signal], int, dict[str, object]], ...] = (
    ("guitar_waltz.ogg", waltz, 44_100, {"format": "OGG", "subtype": "VORBIS"}),
    ("piano_jazz.mp3", jazz, 44_100, {"format": "MP3", "subtype": "MPEG_LAYER_III"}),
    ("drum_groove.flac", groove, 22_050, {"format": "FLAC", "subtype": "PCM_16"}),
    ("ambient_pad.mp3", ambient, 44_100, {"format": "MP3", "subtype": "MPEG_LAYER_III"}),
    ("chiptune.wav", chiptune, 22_050, {"format": "WAV", "subtype": "PCM_16"}),
)


def halved(sound: Signal) -> Signal:
    """At half the rate, through a brick wall at the new Nyquist frequency."""
    samples = len(sound) // 2 * 2
    spectrum = np.fft.rfft(sound[:samples], axis=0)[: samples // 4 + 1]
    return np.fft.irfft(spectrum, samples // 2, axis=0) / 2


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, piece, rate, options in CLIPS:
        RANDOM.seed(1904)  # so that no clip depends on the others
        sound = piece()
        if rate == RATE // 2:
            sound = 0.8 * halved(sound) / np.abs(halved(sound)).max()
        if name.endswith(".wav"):
            sound = sound.mean(1)  # as the console: mono
        soundfile.write(folder / name, sound, rate, **options)
        print(f"{name}: {len(sound) / rate:.1f} s, {(folder / name).stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples"))

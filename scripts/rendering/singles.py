"""Instruments, drums and noises one at a time, with rests: what a single source sounds like."""

import numpy as np

from .instruments import KITS, draw_instrument, fit_range
from .score import Note, Part, Score

__all__ = ["arrange_singles"]

LASTS, RESTS = (2.5, 6.0), (0.1, 1.0)  # seconds, of one source and of the silence after it
SOURCES = 15  # pitched ones in a clip: as many as MIDI has channels for
STROKES = range(35, 82)  # what General MIDI's drum kits have
STEPS = (0.25, 0.25, 0.5, 0.5, 1.0, 1.5)  # quarters between two notes


def arrange_singles(rng: np.random.Generator, quarters: float, tempo: float) -> Score:
    """Sources drawn from all of General MIDI, its noises too, from a kit, or made up; no two are played together."""
    kit = Part([], int(rng.choice(KITS)), drums=True, level=float(rng.uniform(0.6, 1.0)))
    score, start, beat = Score([kit], tempo), 0.0, tempo / 60
    while start < quarters and len(score.parts) <= SOURCES:
        length = float(rng.uniform(*LASTS)) * beat
        if rng.random() < 0.3:
            kit.notes += strokes(rng, start, length)
        else:
            part = draw_instrument(rng, "every", 0.15)
            part.notes = phrase(rng, start, length)
            score.parts.append(fit_range(part))
        start += length + float(rng.uniform(*RESTS)) * beat
    return score


def strokes(rng: np.random.Generator, start: float, length: float) -> list[Note]:
    """One drum or two in a steady or uneven pulse, from soft to loud."""
    pitches = rng.choice(STROKES, int(rng.choice([1, 1, 2])))
    return [
        Note(onset, min(0.5, start + length - onset), int(rng.choice(pitches)), int(rng.integers(40, 128)))
        for onset in onsets(rng, start, length)
    ]


def phrase(rng: np.random.Generator, start: float, length: float) -> list[Note]:
    """A held note, a held chord, one note again and again, or steps up and down."""
    style = str(rng.choice(["held", "chord", "repeated", "walk", "walk"]))
    pitch, velocity = int(rng.integers(48, 84)), int(rng.integers(50, 120))
    if style in ("held", "chord"):
        above = (0, int(rng.choice([3, 4])), 7) if style == "chord" else (0,)
        return [Note(start, length * float(rng.uniform(0.4, 1.0)), pitch + step, velocity) for step in above]
    places, gate = onsets(rng, start, length), float(rng.uniform(0.2, 1.0))
    moves = rng.choice([-4, -2, -1, 1, 2, 3], len(places)) if style == "walk" else np.zeros(len(places), int)
    ends = [*places[1:], start + length]
    return [
        Note(onset, (end - onset) * gate, int(pitch + step), velocity)
        for onset, end, step in zip(places, ends, moves.cumsum(), strict=True)
    ]


def onsets(rng: np.random.Generator, start: float, length: float) -> list[float]:
    """Where notes begin [quarters]: always the same distance, or a new one each time."""
    even, step = rng.random() < 0.6, float(rng.choice(STEPS))
    places = [start]
    while (following := places[-1] + (step if even else float(rng.choice(STEPS)))) < start + length:
        places.append(following)
    return places

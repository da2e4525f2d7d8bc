"""One clip of the corpus: everything about it follows from the seed, its number and the files given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrange import arrange_loop, arrange_score, arrange_synth, arrange_tune, perform
from .effects import RATE, finish
from .score import Score
from .tunes import read_score

__all__ = ["KINDS", "Clip", "Library", "duration_of", "render_clip"]

# fmt: off
KINDS = {  # kind of clip: how often it is drawn, and the collections its piece is drawn from
    "tune":     (0.36, ("cre",)),
    "composed": (0.22, ("openscore_lieder", "openscore_lieder", "openscore_quartets")),
    "game":     (0.12, ("freedoom",)),
    "groove":   (0.06, ("groove",)),
    "loop":     (0.16, ()),
    "synth":    (0.08, ()),
}
# fmt: on
SHORTEST, LONGEST = 20.0, 40.0  # seconds
CONCERT_PITCH = 15.0  # cents, standard deviation
EDGE = 80  # samples (5 ms) of fading at both ends: excerpts begin and end amid sounds
ATTEMPTS = 8  # drawings of a clip until one is not half silent
SILENT, FRAME = 1e-3, 1600  # -60 dBFS; samples (0.1 s)

Play = Callable[[str, Score, float, float], np.ndarray]


@dataclass(frozen=True)
class Library:
    """The files that clips may be made from.

    Attributes:
        folder: where the paths begin.
        paths: by collection, in an order that is part of what a seed means.
        soundfonts: their names, in such an order.
    """

    folder: Path
    paths: Mapping[str, tuple[str, ...]]
    soundfonts: tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """A finished clip: `(samples,)` at 16 kHz, what kind it is, the paths of the pieces in it, and the sound font."""

    samples: np.ndarray
    kind: str
    pieces: tuple[str, ...]
    soundfont: str
    tempo: float


def generator(*key: int) -> np.random.Generator:
    """Random numbers that depend on the key alone, other ones for every key (but zeros at its end do not count)."""
    return np.random.Generator(np.random.PCG64(key))


def duration_of(seed: int, number: int) -> float:
    """Length of a clip [s], in hundredths: a whole number of samples."""
    return round(float(generator(seed, number).uniform(SHORTEST, LONGEST)), 2)


def render_clip(library: Library, seed: int, number: int, play: Play) -> Clip:
    """Compose, play and finish clip `number`; one that comes out half silent is drawn again.

    Args:
        library: the files to choose from.
        seed: of the whole corpus.
        number: of the clip, from 0.
        play: (sound font, score, seconds, cents) to a waveform at `synth.SYNTH_RATE`.

    Raises:
        ValueError: a piece cannot be read, or every attempt was silent; the message names it.
    """
    seconds = duration_of(seed, number)
    for attempt in range(1, ATTEMPTS + 1):
        rng = generator(seed, number, attempt)
        kind = str(rng.choice(list(KINDS), p=[share for share, _ in KINDS.values()]))
        score, pieces = compose(library, kind, seconds, rng)
        soundfont = library.soundfonts[rng.integers(len(library.soundfonts))]
        sound = play(soundfont, perform(rng, score), seconds, float(rng.normal(0, CONCERT_PITCH)))
        if np.abs(sound).max() < SILENT:
            continue  # effects would make a clip of their own noise
        samples = faded(finish(sound, rng)[: round(seconds * RATE)])
        frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        if np.mean(np.sqrt(np.mean(frames**2, axis=1)) > SILENT) > 0.5:
            return Clip(samples, kind, pieces, soundfont, score.tempo)
    raise ValueError(f"clip {number} of seed {seed}: silent in {ATTEMPTS} attempts, the last from {pieces or kind}")


def faded(samples: np.ndarray) -> np.ndarray:
    """Both ends brought to zero within `EDGE` samples."""
    ramp = np.ones(len(samples))
    ramp[:EDGE] = np.linspace(0, 1, EDGE)
    ramp[-EDGE:] = np.linspace(1, 0, EDGE)
    return samples * ramp


def compose(library: Library, kind: str, seconds: float, rng: np.random.Generator) -> tuple[Score, tuple[str, ...]]:
    """A score of one kind, long enough, and the paths of the pieces in it."""
    if kind == "synth":
        tempo = float(rng.uniform(60, 170))
        return arrange_synth(rng, seconds * tempo / 60 + 4, tempo), ()
    pieces = []
    collections = KINDS[kind][1]
    if collections:
        paths = library.paths[str(rng.choice(collections))]
        pieces.append(paths[rng.integers(len(paths))])
    with_groove = kind in ("tune", "loop") and rng.random() < 0.6
    if with_groove:
        pieces.append(library.paths["groove"][rng.integers(len(library.paths["groove"]))])
    scores = [read_score(library.folder / path) for path in pieces]
    tempo = draw_tempo(rng, kind, scores)
    quarters = seconds * tempo / 60 + 1
    groove = scores[-1] if with_groove else None
    if kind == "tune":
        score = arrange_tune(rng, scores[0], quarters, tempo, groove)
    elif kind == "loop":
        score = arrange_loop(rng, quarters, tempo, groove)
    else:
        recast = {"composed": 0.45, "game": 0.6, "groove": 0.0}[kind]
        score = arrange_score(rng, scores[0], quarters, tempo, recast)
    used = pieces if groove is None or has_drums(score) else pieces[:-1]
    return score, tuple(used)


def draw_tempo(rng: np.random.Generator, kind: str, scores: list[Score]) -> float:
    """Quarters per minute: that of the piece, more or less, or any."""
    if kind == "tune":
        return float(np.exp(rng.uniform(np.log(70), np.log(220))))
    if scores:
        return float(np.clip(scores[-1].tempo * np.exp(rng.normal(0, 0.15)), 30, 260))
    return float(np.exp(rng.uniform(np.log(65), np.log(180))))


def has_drums(score: Score) -> bool:
    return any(part.drums for part in score.parts)

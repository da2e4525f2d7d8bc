"""Many clips to FLAC files, in processes of their own; what is finished stays, and says what it was made from."""

import json
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soundfile

from musicpase.atomic import atomic, explained
from musicpase.errors import OutputError

from .clip import Clip, Library, duration_of, render_clip
from .effects import RATE
from .score import Score

if TYPE_CHECKING:
    from .synth import Player

__all__ = ["Contents", "Outcome", "Production", "clip_count", "contents", "produce"]

VERSION = 1  # of what a seed and a number give; in every file's name, so that no corpus mixes two


@dataclass(frozen=True)
class Production:
    """What all clips share: the library, the files of its sound fonts, the seed, and the folder they go to."""

    library: Library
    fonts: tuple[Path, ...]
    seed: int
    folder: Path

    def path(self, number: int) -> Path:
        """The file of a clip."""
        return self.folder / f"v{VERSION}-seed{self.seed}-{number:05}.flac"


class Outcome(NamedTuple):
    """A clip's number, and why it failed; None when its file exists."""

    number: int
    failure: str | None


class Contents(NamedTuple):
    """What a clip was made from: `pieces` are paths in the library's folder, `tempo` in quarters per minute."""

    kind: str
    pieces: list[str]
    soundfont: str
    tempo: float


def clip_count(seed: int, hours: float) -> int:
    """How many clips it takes until so many hours are full."""
    number, seconds = 0, 0.0
    while seconds < hours * 3600:
        seconds += duration_of(seed, number)
        number += 1
    return number


def produce(production: Production, numbers: list[int], processes: int) -> Iterator[Outcome]:
    """Render the clips that do not exist yet; one outcome for each of `numbers`.

    Raises:
        OutputError: the folder cannot be made, or a process was killed from outside.
    """
    with explained(production.folder):
        production.folder.mkdir(parents=True, exist_ok=True)
    finished = [number for number in numbers if production.path(number).exists()]
    yield from (Outcome(number, None) for number in finished)
    missing = sorted(set(numbers) - set(finished))
    if not missing:
        return
    pool = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is the parent's business
    )
    try:
        yield from pool.map(partial(produce_one, production), missing)
    except BrokenProcessPool as error:
        raise OutputError(
            f"{production.folder}: a rendering process was killed, for lack of memory perhaps; "
            "start again with fewer --processes, finished clips stay"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def produce_one(production: Production, number: int) -> Outcome:
    """Render one clip into its file; a failure is returned, not raised, so that the others go on."""
    fonts = {path.name: path for path in production.fonts}

    def play(name: str, score: Score, seconds: float, cents: float) -> np.ndarray:
        return player(fonts[name]).play(score, seconds, cents)

    try:
        clip = render_clip(production.library, production.seed, number, play)
        write_clip(production.path(number), clip, f"{clip.kind} {number:05}")
    except Exception as error:  # whatever is wrong with one clip
        return Outcome(number, f"{type(error).__name__}: {error}")
    return Outcome(number, None)


@cache
def player(font: Path) -> "Player":
    """The sound font, loaded once per process; what it plays depends on nothing played before."""
    from .synth import Player

    return Player(font)


def write_clip(path: Path, clip: Clip, title: str) -> None:
    """A clip as 16 bit FLAC; its comment says what it was made from."""
    samples = np.round(np.clip(clip.samples, -1, 1) * 32767).astype(np.int16)
    made_from = Contents(clip.kind, list(clip.pieces), clip.soundfont, clip.tempo)
    with atomic(path) as file, soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format="FLAC") as flac:
        flac.title = title
        flac.comment = json.dumps(made_from._asdict())
        flac.write(samples)


def contents(path: Path) -> Contents:
    """What a clip's file says it was made from.

    Raises:
        OutputError: it is no clip that `write_clip` wrote.
    """
    try:
        with soundfile.SoundFile(path) as flac:
            return Contents(**json.loads(flac.comment))
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise OutputError(f"{path}: not a clip of this script ({error}); remove it and start again") from error

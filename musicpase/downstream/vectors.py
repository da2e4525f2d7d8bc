"""Frozen vectors of a task's clips, computed once and kept by the content of audio and weights."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from musicpase.atomic import atomic, explained
from musicpase.baselines import mfcc_statistics, random_encoder
from musicpase.config import SAMPLE_RATE, EncoderConfig
from musicpase.downstream.sounds import Waveform, chunks, content_of, decoders, read_sounds
from musicpase.features import FeatureConfig
from musicpase.hub import ModelRecord
from musicpase.inference.devices import pick_precision
from musicpase.inference.encoder import STRIP_SECONDS, Encoder
from musicpase.labelled import Clip

__all__ = ["Representation", "Vectors", "default_cache", "embed_clips", "mean_embedding", "mfcc", "untrained"]

BLOCK_CLIPS = 256  # clips per file of the cache: what a stopped run has to compute again
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile)  # what reading such a file may raise

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Representation:
    """What makes one vector of a clip.

    Attributes:
        name: as reports show it.
        identity: everything the vectors depend on beside the audio: the cache's key.
        embed: waveforms `(samples,)` at 16 kHz to `(clips, dim)`.
    """

    name: str
    identity: str
    embed: Callable[[Sequence[Waveform]], Rows]


def mean_embedding(encoder: Encoder, name: str = "") -> Representation:
    """The mean over time of an encoder's embeddings."""
    identity = f"mean of {encoder.record.sha256} in {encoder.precision} on {encoder.device.type}"
    return Representation(
        name or encoder.record.name, identity, lambda waveforms: encoder.embed(list(waveforms), SAMPLE_RATE)
    )


def untrained(like: Encoder, seed: int) -> Representation:
    """The same encoder with random weights: what the architecture alone is worth."""
    return mean_embedding(random_like(like.config, like, seed), f"untrained, seed {seed}")


def random_like(config: EncoderConfig, like: Encoder, seed: int) -> Encoder:
    """An untrained encoder on the device and in the precision of another."""
    record = ModelRecord(name=f"untrained, seed {seed}", trained=False, sha256=f"seed {seed} of {config}")
    precision = pick_precision(like.precision, like.device)
    return Encoder(random_encoder(seed, config), record, like.device, precision, STRIP_SECONDS[like.device.type])


def mfcc() -> Representation:
    """Means, deviations and deviations of the changes of 20 MFCCs: 60 numbers."""
    return Representation("MFCC statistics", f"mfcc statistics of {FeatureConfig()}", mfcc_statistics)


@dataclass(frozen=True)
class Vectors:
    """One vector per clip.

    Attributes:
        rows: `(clips, dim)` float32; NaN for a clip that failed.
        failures: position of a clip to why it has no vector.
    """

    rows: Rows
    failures: dict[int, str]


def default_cache() -> Path:
    """Where vectors are kept: `$XDG_CACHE_HOME/musicpase`, or `~/.cache/musicpase`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "musicpase"


def embed_clips(
    clips: Sequence[Clip],
    representation: Representation,
    cache: Path,
    *,
    workers: int | None = None,
    tell: Callable[[int], None] = lambda clips: None,
) -> Vectors:
    """The vector of each clip, from the cache where it is there; clips that failed are tried again.

    Args:
        clips: of a task.
        representation: what makes the vectors.
        cache: folder of the vectors; 2 kB for each clip and encoder. Deleting it loses nothing but time.
        workers: decoding processes; None for one per core, at most 8.
        tell: called with a number of further clips that are done.

    Raises:
        OutputError: the cache cannot be written.
    """
    content = content_of(clips)
    store = Store(cache, [representation.identity, torch.__version__, decoders()])
    found = store.load(set(content))
    missing = [position for position, key in enumerate(content) if key not in found]
    if missing:
        store.make()
    tell(len(clips) - len(missing))
    failures: dict[int, str] = {}
    for begin in range(0, len(missing), BLOCK_CLIPS):
        block = missing[begin : begin + BLOCK_CLIPS]
        rows, failed = _compute([clips[position] for position in block], representation, workers, tell)
        failures |= {block[place]: reason for place, reason in failed.items()}
        added = {content[block[place]]: row for place, row in rows.items()}
        store.add(added)
        found |= added
    width = len(next(iter(found.values()))) if found else 0
    empty = np.full(width, np.nan, np.float32)
    kept = [empty if position in failures else found[key] for position, key in enumerate(content)]
    return Vectors(np.array(kept, np.float32).reshape(len(clips), width), failures)


class Store:
    """Vectors of one representation by their clips' content: a folder to which files are added and none changed."""

    def __init__(self, cache: Path, made_by: list[object]) -> None:
        self.folder = cache / sha256(json.dumps(made_by).encode()).hexdigest()[:40]

    def make(self) -> None:
        """Make the folder; better an error now than after hours."""
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, wanted: set[str]) -> dict[str, Rows]:
        """Vectors, `(dim,)`, by the digests of clips, as far as they are there. A damaged file is as good as none."""
        found: dict[str, Rows] = {}
        for path in sorted(self.folder.glob("*.npz")):
            with suppress(*DAMAGED), path.open("rb") as file, np.load(file) as arrays:
                pairs = zip(arrays["clips"].tolist(), arrays["rows"], strict=True)
                found |= {clip: row.copy() for clip, row in pairs if clip in wanted}
        return found

    def add(self, rows: dict[str, Rows]) -> None:
        """Keep further vectors."""
        if not rows:
            return
        name = sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()[:40]
        with atomic(self.folder / f"{name}.npz") as file:
            np.savez(file, clips=np.array(list(rows)), rows=np.array(list(rows.values()), np.float32))


def _compute(
    clips: Sequence[Clip], representation: Representation, workers: int | None, tell: Callable[[int], None]
) -> tuple[dict[int, Rows], dict[int, str]]:
    """Vectors `(dim,)`, and why there is none, by the places of the clips."""
    failures: dict[int, str] = {}
    rows: dict[int, Rows] = {}
    begin = 0
    for chunk in chunks(read_sounds(clips, workers)):
        good: dict[int, Waveform] = {}
        for place, sound in enumerate(chunk, begin):
            if isinstance(sound, str):
                failures[place] = sound
            else:
                good[place] = sound
        if good:
            rows |= zip(good, representation.embed(list(good.values())), strict=True)
        begin += len(chunk)
        tell(len(chunk))
    return rows, failures

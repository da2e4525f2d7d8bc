"""The sound of a task's clips: decoded ahead in worker processes, one bad clip is one reason."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from musicpase import audio
from musicpase.atomic import atomic, explained
from musicpase.config import HOP_LENGTH, SAMPLE_RATE
from musicpase.labelled import Clip
from musicpase.versions import versions

__all__ = ["Sounds", "Waveform", "chunks", "content_of", "decoders", "keep_sounds", "read_sounds"]

Waveform = NDArray[np.float32]
Sound = TypeVar("Sound", Waveform, Waveform | str)

CHUNK_CLIPS, CHUNK_SECONDS = 32, 960  # in memory at once: 61 MB, and the last of them whole
DECODERS = ("musicpase", "PyAV", "FFmpeg", "soxr", "soundfile", "libsndfile")  # what makes samples of a file


def read_sounds(clips: Sequence[Clip], workers: int | None = None) -> Iterator[Waveform | str]:
    """Decode clips.

    Args:
        clips: files, or excerpts of files.
        workers: decoding processes; None for one per core, at most 8.

    Yields:
        For each clip, in order, its waveform `(samples,)`, mono float32 at 16 kHz; or why it has none.
    """
    workers = min(audio.default_workers(), len(clips)) if workers is None else workers
    blocks: list[Waveform] = []
    with closing(audio.decode_files([_source(clip) for clip in clips], workers=workers)) as events:
        for event in events:
            if isinstance(event, audio.Block):
                blocks.append(event.samples)
                continue
            waveform = np.concatenate([np.empty(0, np.float32), *blocks])
            blocks.clear()
            if isinstance(event, audio.Failure):
                yield event.reason
            elif len(waveform) < HOP_LENGTH:
                yield f"shorter than 10 ms from {clips[event.index].start_s:g} s on"
            else:
                yield waveform


def chunks(sounds: Iterable[Sound]) -> Iterator[list[Sound]]:
    """Sounds in groups to hold in memory at once: some, fewer if they are long."""
    chunk: list[Sound] = []
    samples = 0
    for sound in sounds:
        chunk.append(sound)
        samples += 0 if isinstance(sound, str) else len(sound)
        if len(chunk) == CHUNK_CLIPS or samples >= CHUNK_SECONDS * SAMPLE_RATE:
            yield chunk
            chunk, samples = [], 0
    if chunk:
        yield chunk


def _source(clip: Clip) -> audio.Source:
    name = os.fspath(clip.path)
    if not clip.start_s and clip.duration_s is None:
        return audio.Source(name, name)
    begin = round(clip.start_s * SAMPLE_RATE)
    end = None if clip.duration_s is None else begin + round(clip.duration_s * SAMPLE_RATE)
    return audio.Source(name, name, (begin, end))


def decoders() -> dict[str, str]:
    """Versions of what samples depend on beside the files."""
    found = versions()
    return {name: found[name] for name in DECODERS}


def content_of(clips: Sequence[Clip]) -> list[str]:
    """For each clip a digest of its file's bytes and of the excerpt; of its path where the file cannot be read."""
    digests: dict[str, str] = {}
    for clip in clips:
        path = os.fspath(clip.path)
        if path not in digests:
            try:
                digests[path] = sha256(clip.path.read_bytes()).hexdigest()
            except OSError as error:
                digests[path] = f"{path}: {error.strerror}"
    return [f"{digests[os.fspath(clip.path)]} {clip.start_s} {clip.duration_s}" for clip in clips]


@dataclass(frozen=True)
class Sounds:
    """Decoded clips on disk, for many passes over them in random order.

    Attributes:
        samples: all clips one after another, `(samples,)` int16, memory-mapped.
        begins: `(clips,)`, where each begins.
        lengths: `(clips,)`, of each [samples]; 0 for one that failed.
        scales: `(clips,)`, what a step of 1 stands for: 1 / 32767, more for a clip beyond full scale.
        failures: position of a clip to why it has no sound.
    """

    samples: NDArray[np.int16]
    begins: NDArray[np.int64]
    lengths: NDArray[np.int64]
    scales: NDArray[np.float32]
    failures: dict[int, str]

    def only(self, positions: NDArray[np.intp]) -> "Sounds":
        """Some of the clips, none of which failed."""
        return Sounds(self.samples, self.begins[positions], self.lengths[positions], self.scales[positions], {})

    def waveform(self, position: int) -> Waveform:
        """A whole clip, `(samples,)` float32."""
        begin = self.begins[position]
        found: Waveform = self.samples[begin : begin + self.lengths[position]] * self.scales[position]
        return found

    def crop(self, position: int, place: float, length: int) -> Waveform:
        """`length` samples from a place between 0, at the clip's begin, and 1, up to its end.

        A clip that is shorter is repeated.
        """
        room = int(self.lengths[position]) - length
        if room < 0:
            return np.resize(self.waveform(position), length)
        start = self.begins[position] + round(place * room)
        found: Waveform = self.samples[start : start + length] * self.scales[position]
        return found


def keep_sounds(
    clips: Sequence[Clip],
    cache: Path,
    *,
    workers: int | None = None,
    tell: Callable[[int], None] = lambda clips: None,
) -> Sounds:
    """Decode clips to disk, once: 32 kB for each second. A set in which clips failed is decoded anew.

    Args:
        clips: of a task.
        cache: folder of the sounds; deleting it loses nothing but time.
        workers: decoding processes; None for one per core, at most 8.
        tell: called with a number of further clips that are done.

    Raises:
        OutputError: the cache cannot be written.
    """
    key = sha256(json.dumps([decoders(), content_of(clips)]).encode()).hexdigest()[:40]
    with explained(cache):
        cache.mkdir(parents=True, exist_ok=True)
    audio_path, index_path = cache / f"{key}.int16", cache / f"{key}.index.npz"
    if not index_path.exists() or _index(index_path)[2]:  # the index is written last; a failure may be a passing one
        _decode_all(clips, audio_path, index_path, workers, tell)
    lengths, scales, failures = _index(index_path)
    samples: NDArray[np.int16] = (
        np.memmap(audio_path, "<i2", "r") if lengths.any() else np.empty(0, np.int16)  # an empty file has no map
    )
    return Sounds(samples, np.cumsum(lengths) - lengths, lengths, scales, failures)


def _index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
    with np.load(path) as arrays:
        failures = dict(zip(arrays["failed"].tolist(), arrays["reasons"].tolist(), strict=True))
        return arrays["lengths"], arrays["scales"], failures


def _decode_all(
    clips: Sequence[Clip], audio_path: Path, index_path: Path, workers: int | None, tell: Callable[[int], None]
) -> None:
    lengths, scales, failures = [], [], {}
    with atomic(audio_path) as file:
        for position, sound in enumerate(read_sounds(clips, workers)):
            if isinstance(sound, str):
                failures[position] = sound
                sound = np.empty(0, np.float32)
            scale = max(1.0, float(np.abs(sound).max(initial=0.0))) / 32_767
            file.write(np.rint(sound / scale).astype("<i2").tobytes())
            lengths.append(len(sound))
            scales.append(scale)
            tell(1)
    with atomic(index_path) as file:
        np.savez(
            file,
            lengths=np.array(lengths, np.int64),
            scales=np.array(scales, np.float32),
            failed=np.array(list(failures), np.int64),
            reasons=np.array(list(failures.values()), dtype=str),
        )

"""What the cosine of two embeddings says; rewrites its sections of docs/benchmarks.md.

    python scripts/measure_retrieval.py similar ../shared/data/labelled/*/labels.csv
    python scripts/measure_retrieval.py duplicates ../shared/data/real/audio --matrix emb.npy

`similar`: how many of a clip's nearest clips have its label, by the cosine of the embeddings as they are, and less
their mean. `duplicates`: cosines between versions of one recording, beside those of all pairs of different tracks;
`--matrix` is what `musicpase embed` made of the folder, of whole files or of segments.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from benchmark_page import table, write_section
from numpy.typing import NDArray

from musicpase.audio import find_audio, load_audio
from musicpase.config import SAMPLE_RATE
from musicpase.downstream.vectors import Representation, default_cache, embed_clips, mean_embedding, mfcc
from musicpase.inference.encoder import Encoder, load_encoder
from musicpase.labelled import Clip, read_table
from musicpase.retrieval.duplicates import DIFFERENCE_S
from musicpase.retrieval.matrix import open_matrix
from musicpase.retrieval.search import unit_rows
from musicpase.retrieval.tracks import track_blocks

Rows = NDArray[np.float32]
RANKS = (1, 5, 10)
THRESHOLDS = (0.98, 0.985, 0.99, 0.995)
RATE = 44_100
# Name, FFmpeg's encoder, container, bits per second
CODECS = (
    ("mp3, 128 kb/s", "libmp3lame", "mp3", 128_000),
    ("mp3, 48 kb/s", "libmp3lame", "mp3", 48_000),
    ("AAC, 64 kb/s", "aac", "mp4", 64_000),
    ("Opus, 24 kb/s", "libopus", "ogg", 24_000),
)


def similar(files: list[Path], cache: Path) -> None:
    """Precision at 1, 5 and 10, the mean over labels."""
    encoder = load_encoder(device="cpu")
    lines = []
    for file in files:
        clips = read_table(file)
        labels = np.unique([clip.label for clip in clips], return_inverse=True)[1]
        rows = embedded(clips, mean_embedding(encoder), cache)
        statistics = embedded(clips, mfcc(), cache)
        cosines = (unit_rows(rows) @ unit_rows(rows).T)[np.triu_indices(len(rows), 1)]
        ways = {
            "as they are": rows,
            "less their mean": rows - rows.mean(0),
            "MFCC statistics, standardised": (statistics - statistics.mean(0)) / statistics.std(0),
        }
        median, high = np.percentile(cosines, [50, 99])
        for number, (way, vectors) in enumerate(ways.items()):
            found = precision(vectors, labels, [clip.group for clip in clips])
            about = [file.parent.name, str(len(clips)), str(labels.max() + 1), f"{median:.2f}, {high:.2f}"]
            lines.append([*(about if not number else [""] * 4), way, *(f"{p:.3f}" for p in found)])
            print(lines[-1])
    header = ["set", "clips", "labels", "cosines: median, 99 %", "vectors", *(f"precision@{k}" for k in RANKS)]
    write_section(
        "similar",
        "Nearest clips",
        table(header, lines)
        + "\nShare of a clip's nearest clips that have its label, the mean over labels; clips of its own recording "
        "are left out.\n",
    )


def embedded(clips: tuple[Clip, ...], representation: Representation, cache: Path) -> Rows:
    """A vector per clip."""
    vectors = embed_clips(clips, representation, cache)
    if vectors.failures:
        raise SystemExit(f"{len(vectors.failures)} clips have no vector: {vectors.failures}")
    return vectors.rows


def precision(vectors: Rows, labels: NDArray[np.intp], groups: list[str]) -> list[float]:
    """At each of RANKS."""
    units = unit_rows(vectors.astype(np.float32))
    cosines = units @ units.T
    same = np.array(groups)[:, None] == np.array(groups)
    cosines[same] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : max(RANKS)]
    right = labels[order] == labels[:, None]
    return [float(np.mean([right[labels == c, :k].mean() for c in np.unique(labels)])) for k in RANKS]


def duplicates(folder: Path, matrix: Path, tracks: int, seconds: float) -> None:
    """Versions of one recording, and different tracks."""
    encoder = load_encoder(device="cpu")
    sources = find_audio([folder]).sources
    chosen = [sources[int(n)].path for n in np.linspace(0, len(sources) - 1, tracks)]
    found: dict[str, list[float]] = {}
    for path in chosen:
        waveform = load_audio(path)[0][: round(seconds * SAMPLE_RATE)]
        original = encoder.embed(waveform, SAMPLE_RATE)
        for name, vector in versions(encoder, waveform):
            cosine = float(unit_rows(original[None])[0] @ unit_rows(vector[None])[0])
            found.setdefault(name, []).append(cosine)
        print(path, {name: round(each[-1], 4) for name, each in found.items()}, flush=True)
    lines = []
    for name, each in found.items():
        low, median = np.percentile(each, [5, 50])
        shares = [f"{100 * np.mean(np.array(each) >= t):.0f} %" for t in THRESHOLDS]
        lines.append([name, f"{min(each):.4f}", f"{low:.4f}", f"{median:.4f}", *shares])
    header = ["version", "least cosine", "5 %", "median", *(f"≥ {t}" for t in THRESHOLDS)]
    body = table(header, lines) + (
        f"\nThe first {seconds:g} s of {len(chosen)} tracks, each beside a version of itself.\n" + between(matrix)
    )
    print(body)
    write_section("duplicates", "Duplicates", body)


def versions(encoder: Encoder, waveform: Rows) -> Iterator[tuple[str, Rows]]:
    """Name and embedding of a sound as others might have it, `(samples,)` at 16 kHz."""
    wide = np.clip(soxr.resample(waveform, SAMPLE_RATE, RATE), -1, 1).astype(np.float32)
    yield "at 44.1 kHz", encoder.embed(wide, RATE)
    with tempfile.TemporaryDirectory() as scratch:
        for name, codec, container, bits in CODECS:
            path = Path(scratch, f"sound.{container}")
            encode(path, wide, codec, container, bits)
            yield name, encoder.embed(load_audio(path)[0], SAMPLE_RATE)
        path = Path(scratch, "sound.flac")
        soundfile.write(path, wide, RATE, subtype="PCM_16")
        yield "FLAC, 16 bit", encoder.embed(load_audio(path)[0], SAMPLE_RATE)
    yield "0.5 s less at the start", encoder.embed(waveform[SAMPLE_RATE // 2 :], SAMPLE_RATE)
    yield "3 s less at the end", encoder.embed(waveform[: -3 * SAMPLE_RATE], SAMPLE_RATE)
    for decibels in (-1, -3, -6, -12):
        yield f"{decibels} dB".replace("-", "−"), encoder.embed(waveform * 10 ** (decibels / 20), SAMPLE_RATE)


def encode(path: Path, waveform: Rows, codec: str, container: str, bits: int) -> None:
    """Write `(samples,)` at 44.1 kHz with one of FFmpeg's encoders; Opus at 48 kHz, the rate it has."""
    import av

    rate = 48_000 if codec == "libopus" else RATE
    samples = waveform if rate == RATE else np.clip(soxr.resample(waveform, RATE, rate), -1, 1).astype(np.float32)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bits
        stream.codec_context.open(strict=False)
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = rate
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            out.mux(stream.encode(piece))


def between(path: Path) -> str:
    """A table of the pairs of different tracks; the nearest of them are printed, to be listened to."""
    matrix = open_matrix([path])
    blocks = list(track_blocks(matrix))
    firsts = [first for rows, _ in blocks for first in rows]
    units = unit_rows(np.concatenate([block for _, block in blocks]))
    index = matrix.rows(firsts)
    durations = np.array([index[first].duration_s for first in firsts])
    ones, twos = np.triu_indices(len(units), 1)
    cosines = (units @ units.T)[ones, twos]
    alike = np.abs(durations[ones] - durations[twos]) <= DIFFERENCE_S
    for pair in np.argsort(-cosines)[:20]:
        paths = [index[firsts[n]].path for n in (ones[pair], twos[pair])]
        print(f"{cosines[pair]:.4f}", *paths)
    lines = []
    for name, some in (("all", cosines), (f"within {DIFFERENCE_S:g} s of duration", cosines[alike])):
        counts = [str(np.sum(some >= t)) for t in THRESHOLDS]
        lines.append([name, f"{len(some):,}", f"{np.median(some):.2f}", f"{some.max():.4f}", *counts])
    header = ["pairs", "how many", "median cosine", "greatest", *(f"≥ {t}" for t in THRESHOLDS)]
    return f"\nPairs of {len(units)} different tracks:\n\n" + table(header, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("similar")
    one.add_argument("labels", type=Path, nargs="+", metavar="LABELS.csv")
    one.add_argument("--cache", type=Path, default=default_cache(), metavar="FOLDER")
    two = commands.add_parser("duplicates")
    two.add_argument("folder", type=Path)
    two.add_argument("--matrix", type=Path, required=True, help="the folder's embeddings")
    two.add_argument("--tracks", type=int, default=40)
    two.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    if options.command == "similar":
        similar(options.labels, options.cache)
    else:
        duplicates(options.folder, options.matrix, options.tracks, options.seconds)


if __name__ == "__main__":
    main()

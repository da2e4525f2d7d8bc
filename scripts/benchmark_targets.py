"""Measure the targets beside librosa's on the same cores, and rewrite docs/benchmarks_targets.md.

    python scripts/benchmark_targets.py [FOLDER_WITH_MUSIC]

Needs the extra `train`. Rounds of librosa and of ours alternate, so that a neighbour on the machine slows both.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from torch import Tensor

from musicpase.audio import find_audio, load_audio
from musicpase.features import FeatureConfig, Features
from musicpase.features.voicing import Pyin, root_mean_square, zero_crossing_rate

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks_targets.md"
CONFIG = FeatureConfig()
RATE, HOP = CONFIG.sample_rate, CONFIG.hop_length
SECONDS = 3
CROPS = 32
GPU_BATCHES = (32, 256, 1024)


GRID = {"sr": RATE, "hop_length": HOP}
LIBROSA: dict[str, Callable[[np.ndarray], object]] = {
    "LPS": lambda y: librosa.power_to_db(np.abs(librosa.stft(y, n_fft=CONFIG.n_fft, hop_length=HOP)) ** 2),
    "MFCC": lambda y: librosa.feature.mfcc(y=y, **GRID),
    "chroma": lambda y: librosa.feature.chroma_stft(y=y, **GRID),
    "tempogram": lambda y: librosa.feature.tempogram(y=y, **GRID),
    "ZCR": lambda y: librosa.feature.zero_crossing_rate(y, hop_length=HOP),
    "RMS": lambda y: librosa.feature.rms(y=y, hop_length=HOP),
    "pYIN": lambda y: librosa.pyin(y, fmin=CONFIG.pyin.fmin, fmax=CONFIG.pyin.fmax, frame_length=2048, **GRID),
    "all six together": lambda y: [LIBROSA[target](y) for target in SINGLES],
}
SINGLES = ("LPS", "MFCC", "chroma", "tempogram", "ZCR", "RMS", "pYIN")
TARGETS = (*SINGLES, "all six together")  # the sixth is the waveform itself, which costs nothing


def with_librosa(target: str, waveform: np.ndarray) -> None:
    """One target of one crop, by librosa, in a process of its own."""
    warnings.simplefilter("ignore")
    LIBROSA[target](waveform)


def ours(device: str) -> dict[str, Callable[[Tensor], Any]]:
    """Each target of a batch, by musicpase; built once, as in training."""
    features = {
        label: Features(names).to(device)
        for label, names in {
            "LPS": ("lps",),
            "MFCC": ("mfcc",),
            "chroma": ("chroma",),
            "tempogram": ("tempogram",),
            "all six together": ("lps", "mfcc", "chroma", "tempogram", "prosody"),
        }.items()
    }
    return {
        **features,
        "ZCR": lambda batch: zero_crossing_rate(batch, CONFIG),
        "RMS": lambda batch: root_mean_square(batch, CONFIG),
        "pYIN": Pyin(CONFIG).to(device),
    }


BOUND = {
    "LPS": "memory: 1025 bins per frame are written three times; the float64 transform is half of it",
    "MFCC": "the float64 transform; the mel product is a tenth of it",
    "chroma": "the float64 transform, then the search for spectral peaks",
    "tempogram": "the float64 transform, then a transform of 768 per frame",
    "ZCR": "memory: a running count per sample",
    "RMS": "memory: one pass over the samples",
    "pYIN": "the forward pass of the decoding: 100 passes over 1202 states per clip and frame, in cache, float64",
    "all six together": "pYIN",
}


@dataclass
class Row:
    """Seconds of work per second of audio, from alternating rounds."""

    target: str
    librosa: list[float]
    ours: list[float]

    @property
    def ratio(self) -> float:
        """By how much ours is faster; the median of the rounds' ratios."""
        return statistics.median(theirs / mine for theirs, mine in zip(self.librosa, self.ours, strict=True))


def crops_of(folder: Path | None) -> np.ndarray:
    """32 crops of 3 s: from the middle of the folder's first files, or synthetic chords in noise."""
    length = SECONDS * RATE
    if folder is not None:
        found = []
        for source in find_audio([folder]).sources:
            waveform, _ = load_audio(source.path)
            if len(waveform) >= length:
                middle = (len(waveform) - length) // 2
                found.append(waveform[middle : middle + length])
            if len(found) == CROPS:
                return np.stack(found)
        raise SystemExit(f"{folder} has only {len(found)} files of {SECONDS} s or more; {CROPS} are needed")
    rng = np.random.default_rng(0)
    moment = np.arange(length) / RATE
    pitches = 110 * 2 ** (rng.integers(0, 36, (CROPS, 3, 1)) / 12)
    chords = np.sin(2 * np.pi * pitches * moment).sum(1) * np.exp(-3 * (moment % 0.4))
    return (0.2 * chords + 0.01 * rng.normal(size=chords.shape)).astype(np.float32)


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_cpu(crops: np.ndarray, rounds: int, cores: int) -> list[Row]:
    """Both, round by round, each on all cores: librosa in one process per core, ours in one with as many threads."""
    torch.set_num_threads(cores)
    batch = torch.from_numpy(crops)
    functions = ours("cpu")
    audio = CROPS * SECONDS
    rows = []
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes, which take one core each
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        for target in TARGETS:

            def theirs(target: str = target) -> None:
                list(pool.map(with_librosa, [target] * CROPS, crops))

            def mine(target: str = target) -> None:
                functions[target](batch)

            list(pool.map(with_librosa, [target] * cores * 2, crops[: cores * 2]))  # compiles
            mine()
            timed = [(seconds(theirs) / audio, seconds(mine) / audio) for _ in range(rounds)]
            rows.append(Row(target, [t for t, _ in timed], [m for _, m in timed]))
            print(f"{target:18}{rows[-1].ratio:8.1f} x librosa", flush=True)
    return rows


def measure_gpu(crops: np.ndarray) -> list[tuple[str, dict[int, float]]]:
    """× real time of ours on the GPU, for several batch sizes."""
    functions = ours("cuda")
    found = []
    for target in TARGETS:
        speed = {}
        for size in GPU_BATCHES:
            batch = torch.from_numpy(crops).cuda().repeat(-(-size // CROPS), 1)[:size]

            def run(target: str = target, batch: Tensor = batch) -> None:
                functions[target](batch)
                torch.cuda.synchronize()

            run()
            speed[size] = size * SECONDS / min(seconds(run) for _ in range(5))
        found.append((target, speed))
    return found


def cpu_table(rows: list[Row]) -> str:
    """The CPU's rows as Markdown."""
    lines = ["| target | librosa, × real time | ours, × real time | ratio | rounds' ratios | what bounds ours |"]
    lines.append("|---|---:|---:|---:|---|---|")
    for row in rows:
        theirs, mine = 1 / statistics.median(row.librosa), 1 / statistics.median(row.ours)
        spread = ", ".join(f"{a / b:.0f}" for a, b in zip(row.librosa, row.ours, strict=True))
        lines.append(
            f"| {row.target} | {theirs:,.1f} | {mine:,.0f} | **{row.ratio:.1f}** | {spread} | {BOUND[row.target]} |"
        )
    return "\n".join(lines)


def gpu_section(crops: np.ndarray) -> str:
    """The GPU's rows as Markdown, or that there was none."""
    if not torch.cuda.is_available():
        return "Not measured: this machine has no GPU. The script adds the table where there is one."
    lines = [f"{torch.cuda.get_device_name()}; × real time by crops in a batch.\n"]
    lines.append("| target | " + " | ".join(map(str, GPU_BATCHES)) + " |")
    lines.append("|---|" + "---:|" * len(GPU_BATCHES))
    for target, speed in measure_gpu(crops):
        lines.append(f"| {target} | " + " | ".join(f"{speed[size]:,.0f}" for size in GPU_BATCHES) + " |")
    return "\n".join(lines)


PAGE_TEXT = """# Targets: cost beside librosa

Written by `python scripts/benchmark_targets.py{argument}`; do not edit.

Batches of {crops} crops of {seconds} s ({source}), {cores} cores: librosa {librosa} in {cores} processes, ours in one
process with {cores} threads (torch {torch}, {machine}). Medians of {rounds} rounds, librosa's and ours alternating.
librosa computes the short-time spectrum anew for each target, as its functions do when called one by one; ours
shares it.

To reach: all six together 15 × librosa (here {all_ratio:.1f}: {all_verdict}), pYIN alone 20 × (here
{pyin_ratio:.1f}: {pyin_verdict}).

{table}

## GPU

To reach on a current data-centre GPU: 10,000 × real time for all six together.

{gpu}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, help="music to cut the crops from [default: synthetic]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    crops = crops_of(arguments.folder)
    rows = measure_cpu(crops, arguments.rounds, arguments.cores)
    ratios = {row.target: row.ratio for row in rows}
    PAGE.write_text(
        PAGE_TEXT.format(
            argument=" FOLDER" if arguments.folder else "",
            crops=CROPS,
            seconds=SECONDS,
            source="real music" if arguments.folder else "synthetic chords in noise",
            cores=arguments.cores,
            librosa=librosa.__version__,
            torch=torch.__version__,
            machine=platform.machine(),
            rounds=arguments.rounds,
            all_ratio=ratios["all six together"],
            all_verdict="reached" if ratios["all six together"] >= 15 else "missed",
            pyin_ratio=ratios["pYIN"],
            pyin_verdict="reached" if ratios["pYIN"] >= 20 else "missed",
            table=cpu_table(rows),
            gpu=gpu_section(crops),
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()

"""Measure the targets beside librosa's on the same cores, and rewrite its section of docs/benchmarks.md.

    python scripts/benchmark_targets.py [FOLDER_WITH_MUSIC]

Needs the extra `train`. Rounds of librosa and of ours alternate, so that a neighbour on the machine slows both.
"""

import argparse
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import librosa
import numpy as np
import torch
from benchmark_page import write_section
from torch import Tensor

from musicpase.audio import find_audio, load_audio
from musicpase.features import FeatureConfig, Features
from musicpase.features.voicing import Pyin, root_mean_square, zero_crossing_rate

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


def with_librosa(target: str, waveform: np.ndarray) -> float:
    """One target of one crop, by librosa, in a process of its own; returns the CPU time it took [s]."""
    warnings.simplefilter("ignore")
    start = time.process_time()
    LIBROSA[target](waveform)
    return time.process_time() - start


def with_ours(target: str, crops: np.ndarray) -> float:
    """One target of a batch, by musicpase, in a process of its own; returns the CPU time it took [s]."""
    batch = torch.from_numpy(crops)
    call = on_this_core()[target]
    start = time.process_time()
    call(batch)
    return time.process_time() - start


@cache
def on_this_core() -> dict[str, Callable[[Tensor], Any]]:
    """Built once per process, as in training."""
    torch.set_num_threads(1)
    return ours("cpu")


def ours(device: str) -> dict[str, Callable[[Tensor], Any]]:
    """Each target of a batch, by musicpase."""
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
    "LPS": "the float64 transform, as librosa's; half of the rest is writing 1025 bins per frame",
    "MFCC": "the float64 transform, as librosa's; then the mel product",
    "chroma": "the float64 transform, then the search for spectral peaks",
    "tempogram": "the float64 transform, then transforms of 768 per frame",
    "ZCR": "memory: a running count per sample",
    "RMS": "memory: one pass over the samples",
    "pYIN": "two thirds the decoding: 150,000 float64 maxima per frame, in cache; one third transforms of 2304",
    "all six together": "pYIN",
}


class Time(NamedTuple):
    """Of one pass over the batch [s]."""

    wall: float
    cpu: float


@dataclass
class Row:
    """Alternating passes over the batch."""

    target: str
    librosa: list[Time]
    ours: list[Time]

    @property
    def ratio(self) -> float:
        """By how much ours is faster on the wall clock; the median of the rounds' ratios."""
        return statistics.median(
            theirs.wall / mine.wall for theirs, mine in zip(self.librosa, self.ours, strict=True)
        )

    @property
    def cpu_ratio(self) -> float:
        """By how much less ours keeps the cores busy; the median of the rounds' ratios."""
        return statistics.median(a.cpu / b.cpu for a, b in zip(self.librosa, self.ours, strict=True))


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


def timed(call: Callable[[], float]) -> Time:
    """Time a call that returns the CPU time of the processes that work for it."""
    start = time.perf_counter()
    cpu = call()
    return Time(time.perf_counter() - start, cpu)


def measure_cpu(crops: np.ndarray, rounds: int, cores: int) -> list[Row]:
    """Both, round by round, each in the same processes: one per core, with one thread."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes
    rows = []
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        for target in TARGETS:

            def theirs(crops: np.ndarray = crops, target: str = target) -> float:
                return sum(pool.map(with_librosa, [target] * len(crops), crops))

            def mine(target: str = target) -> float:
                return sum(pool.map(with_ours, [target] * cores, np.array_split(crops, cores)))

            theirs(crops[: 2 * cores])  # compiles
            mine()
            passes = [(timed(theirs), timed(mine)) for _ in range(rounds)]
            rows.append(Row(target, [t for t, _ in passes], [m for _, m in passes]))
            print(f"{target:18}{rows[-1].ratio:8.1f} x librosa, CPU time {rows[-1].cpu_ratio:.1f} x", flush=True)
    return rows


def measure_gpu(crops: np.ndarray) -> list[tuple[str, dict[int, float]]]:
    """× real time of ours on the GPU, for several batch sizes."""
    functions = ours("cuda")
    found = []
    for target in TARGETS:
        speed = {}
        for size in GPU_BATCHES:
            batch = torch.from_numpy(crops).cuda().repeat(-(-size // CROPS), 1)[:size]

            def run(target: str = target, batch: Tensor = batch) -> float:
                functions[target](batch)
                torch.cuda.synchronize()
                return 0.0

            run()
            speed[size] = size * SECONDS / min(timed(run).wall for _ in range(5))
        found.append((target, speed))
    return found


def cpu_table(rows: list[Row]) -> str:
    """The CPU's rows as Markdown."""
    head = (
        "target",
        "librosa, × real time",
        "ours, × real time",
        "ratio",
        "rounds",
        "ratio of CPU times",
        "bound by",
    )
    lines = ["| " + " | ".join(head) + " |", "|---|---:|---:|---:|---|---:|---|"]
    for row in rows:
        theirs, mine = (
            CROPS * SECONDS / statistics.median(one.wall for one in times) for times in (row.librosa, row.ours)
        )
        rounds = ", ".join(f"{a.wall / b.wall:.1f}" for a, b in zip(row.librosa, row.ours, strict=True))
        lines.append(
            f"| {row.target} | {theirs:,.1f} | {mine:,.0f} | **{row.ratio:.1f}** | {rounds} | {row.cpu_ratio:.1f} "
            f"| {BOUND[row.target]} |"
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


SECTION = """{crops} crops of {seconds} s ({source}) on {cores} cores, librosa {librosa} and ours alike in one
process per core with one thread; ours gets its share of the crops as one batch. Medians of {rounds} rounds,
librosa's and ours alternating. librosa computes the short-time spectrum anew for each target, as its functions do
when called one by one; ours shares it. The ratio of CPU times suffers less from neighbours on the machine than the
ratio on the wall clock; load while measuring: {load}. (One process with two threads is slower than two
processes: most operations are too small to share, and on a busy machine its threads wait for each other.)

To reach: all six together 15 × librosa (here {all_ratio:.1f}: {all_verdict}), pYIN alone 20 × (here
{pyin_ratio:.1f}: {pyin_verdict}).

{table}

### GPU

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
    write_section(
        "targets",
        "Targets of the workers, beside librosa",
        SECTION.format(
            crops=CROPS,
            seconds=SECONDS,
            source="real music" if arguments.folder else "synthetic chords in noise",
            cores=arguments.cores,
            librosa=librosa.__version__,
            rounds=arguments.rounds,
            load=f"{os.getloadavg()[1]:.1f} (5 minutes, {arguments.cores} of it this script)",
            all_ratio=ratios["all six together"],
            all_verdict="reached" if ratios["all six together"] >= 15 else "missed",
            pyin_ratio=ratios["pYIN"],
            pyin_verdict="reached" if ratios["pYIN"] >= 20 else "missed",
            table=cpu_table(rows),
            gpu=gpu_section(crops),
        ),
    )


if __name__ == "__main__":
    main()

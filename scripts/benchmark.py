"""How fast musicpase embeds, beside what the machine could do; rewrites its sections of docs/benchmarks.md.

    python scripts/benchmark.py encode                     plain module, engine, share of the matrix limit
    python scripts/benchmark.py profile                    where the engine's time goes
    python scripts/benchmark.py files --audio FOLDER       folder to matrix, beside decoding and encoding alone
    python scripts/benchmark.py memory                     peak memory of 1 minute to 10 hours; cold start

Everything that is compared is timed in turn within one run, several rounds; tables hold medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from benchmark_page import table, write_section
from torch import Tensor

from musicpase import audio
from musicpase.config import HOP_LENGTH, SAMPLE_RATE
from musicpase.errors import AudioError
from musicpase.inference.batching import Batcher, Track
from musicpase.inference.encoder import Encoder, load_encoder
from musicpase.inference.pipeline import Result, embed_sources
from musicpase.inference.pooling import MeanPool
from musicpase.nn import PASEPlus

GFLOP_PER_SECOND = 3.6  # of audio, skips projected after pooling (ARCHITECTURE.md counts them)
HOURS = {"1 min": 1 / 60, "5 min": 5 / 60, "1 h": 1.0, "10 h": 10.0}


class Original(PASEPlus):
    """PASE+ in the form of the original code: every skip is projected at full rate, then averaged."""

    def forward(self, waveform: Tensor) -> Tensor:
        """`(batch, samples)` in, `(batch, embedding_dim, frames)` out."""
        x = waveform[:, None]
        frames, projected = x.shape[-1] // HOP_LENGTH, []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index < len(self.denseskips):
                skip = self.denseskips[index](x)
                steps = skip.shape[-1] // frames
                projected.append(skip[..., : frames * steps].unflatten(-1, (frames, steps)).mean(-1))
        return self.norm_out(sum(projected, start=self.W(self.rnn(x[..., :frames]))))


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def in_turn(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each function in each round, one after the other so that all meet the same noise."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return times


def median_ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def product(dtype: torch.dtype) -> tuple[Callable[[], Tensor], float]:
    """A large matrix product and its GFLOP: what this machine can do."""
    size = 2048
    a, b = torch.randn(2, size, size).to(dtype)
    return lambda: a @ b, 2 * size**3 / 1e9


def encode_once(encoder: Encoder, samples: np.ndarray) -> np.ndarray:
    batcher, pool = Batcher(encoder._engine), MeanPool(encoder.head)
    track = Track(pool)
    batcher.push(track, samples)
    batcher.close(track)
    batcher.flush()
    return pool.rows()


def encode(rounds: int) -> None:
    length = 20.0  # s: four strips
    samples = np.random.default_rng(0).normal(0, 0.1, int(length * SAMPLE_RATE)).astype(np.float32)
    waveform = torch.from_numpy(samples)[None]
    encoders = {name: load_encoder(device="cpu", precision=name) for name in ("fp32", "bf16")}
    original = Original()
    original.load_state_dict(encoders["fp32"]._module.state_dict())
    original.eval()
    sgemm, gflop = product(torch.float32)
    bgemm, _ = product(torch.bfloat16)
    with torch.inference_mode():
        times = in_turn(
            {
                "original": lambda: original(waveform),
                "module": lambda: encoders["fp32"]._module(waveform),
                "fp32": lambda: encode_once(encoders["fp32"], samples),
                "bf16": lambda: encode_once(encoders["bf16"], samples),
                "sgemm": sgemm,
                "bgemm": bgemm,
            },
            rounds,
        )
    work = GFLOP_PER_SECOND * length
    rows = []
    for name, text, limit in (
        ("original", "plain module, eager, as the original computes it", "sgemm"),
        ("module", "plain module (`musicpase.nn`), eager", "sgemm"),
        ("fp32", "engine, fp32", "sgemm"),
        ("bf16", "engine, bf16", "bgemm"),
    ):
        share = statistics.median(
            (work / mine) / (gflop / best) for mine, best in zip(times[name], times[limit], strict=True)
        )
        rows.append(
            [
                text,
                f"{length / statistics.median(times[name]):.1f}",
                f"{median_ratio(times['original'], times[name]):.2f}",
                f"{100 * share:.0f} % of {'bf16' if limit == 'bgemm' else 'sgemm'}",
            ]
        )
    peak = {name: gflop / statistics.median(times[name]) for name in ("sgemm", "bgemm")}
    body = (
        table(["form", "x real time", "x the original", "share of the measured limit"], rows)
        + f"\n{length:g} s of noise, mean-pooled, {rounds} rounds in turn. Limit: a 2048 x 2048 x 2048 product, "
        f"{peak['sgemm']:.0f} GFLOP/s in fp32 and {peak['bgemm']:.0f} in bf16, over {GFLOP_PER_SECOND} GFLOP per "
        "second of audio.\n"
    )
    print(body)
    write_section("encode", "Encoding", body)


PARTS = {
    "aten::mkldnn_convolution": "convolutions of blocks 1-7",
    "aten::addmm": "matrix products: sinc layer, QRNN gates, top",
    "aten::_prelu_kernel": "PReLU",
    "aten::bmm": "averages for the skips",
    "aten::sum": "averages for the skips",
    "aten::copy_": "copies and conversions",
    "aten::addcmul_": "scan of the QRNN",
    "aten::select": "scan of the QRNN",
    "aten::as_strided": "scan of the QRNN",
    "aten::unbind": "scan of the QRNN",
}


def profile() -> None:
    """Where the engine's time goes, by operation."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    samples = np.random.default_rng(0).normal(0, 0.1, 60 * SAMPLE_RATE).astype(np.float32)
    shares: dict[str, dict[str, float]] = {}
    for precision in ("fp32", "bf16"):
        encoder = load_encoder(device="cpu", precision=precision)
        encode_once(encoder, samples)
        with profiler(activities=[ProfilerActivity.CPU]) as run:
            encode_once(encoder, samples)
        events = run.key_averages()
        total = sum(event.self_cpu_time_total for event in events)
        for event in events:
            part = shares.setdefault(PARTS.get(event.key, "everything else"), {"fp32": 0.0, "bf16": 0.0})
            part[precision] += 100 * event.self_cpu_time_total / total
    rows = [[name, *(f"{part[p]:.1f} %" for p in ("fp32", "bf16"))] for name, part in shares.items()]
    rows.sort(key=lambda row: -float(row[1].split()[0]))
    body = table(["part", "of the engine's time, fp32", "bf16"], rows) + (
        "\nFrom torch.profiler over 60 s of audio; its own cost weighs on the many small operations of the scan. The "
        "convolutions and products run at the rate of the library behind them; everything else together is what "
        "fusing could still win.\n"
    )
    print(body)
    write_section("profile", "Where the time goes", body)


def write_formats(folder: Path, target: Path, hours: float) -> dict[str, list[str]]:
    """Music from `folder` as mp3, flac and wav at 44.1 kHz stereo, the shape that records have."""
    import soxr

    made: dict[str, list[str]] = {"mp3": [], "flac": [], "wav": []}
    left = hours * 3600
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        if left <= 0:
            break
        try:
            mono, _ = audio.load_audio(file)
        except AudioError:
            continue
        left -= min(len(mono) / SAMPLE_RATE, 300)
        channel = soxr.resample(np.clip(mono[: 300 * SAMPLE_RATE], -1, 1), SAMPLE_RATE, 44100)
        stereo = np.stack([channel, 0.9 * channel], axis=1)
        for suffix, files in made.items():
            path = target / suffix / f"{len(files):04d}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, stereo, 44100)
            files.append(str(path))
    if not made["wav"]:
        sys.exit(f"no audio in {folder}: name a folder with music")
    return made


def files(folder: Path, hours: float, rounds: int, precision: str, device: str = "cpu") -> None:
    encoder = load_encoder(device=device, precision=precision)
    workers = os.cpu_count() or 1
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for suffix, paths in write_formats(folder, Path(scratch), hours).items():
            sources = [audio.Source(path, path) for path in paths]
            waveforms = [audio.load_audio(path)[0] for path in paths]
            length = sum(map(len, waveforms)) / SAMPLE_RATE

            def decode_all(sources: list[audio.Source] = sources) -> None:
                for event in audio.decode_files(sources, workers=workers):
                    assert not isinstance(event, audio.Failure), event

            def encode_all(waveforms: list[np.ndarray] = waveforms) -> None:
                encoder.embed(waveforms, SAMPLE_RATE)

            def embed_all(sources: list[audio.Source] = sources) -> None:
                for result in embed_sources(encoder.new_batcher(), sources, workers=workers):
                    assert isinstance(result, Result), result

            times = in_turn({"decode": decode_all, "encode": encode_all, "both": embed_all}, rounds)
            slower = [max(pair) for pair in zip(times["decode"], times["encode"], strict=True)]
            rows.append(
                [
                    suffix,
                    *(f"{length / statistics.median(times[name]):.0f}" for name in ("decode", "encode", "both")),
                    f"{100 * median_ratio(slower, times['both']):.0f} %",
                ]
            )
    body = table(
        ["format", "decoding alone, x real time", "encoding alone", "end to end", "of the slower stage"], rows
    ) + (
        f"\n{len(paths)} pieces, {length / 3600:.2f} h, at 44.1 kHz in stereo (16 kHz mono music resampled, "
        f"the right channel 0.9 of the left), {encoder.precision}, {workers} decoding processes, "
        f"{rounds} rounds in turn. Decoding includes the mix and resampling to 16 kHz mono and the start of the "
        "processes.\n"
    )
    print(body)
    kind = encoder.device.type
    write_section("files" if kind == "cpu" else f"files-{kind}", f"Folder to matrix ({kind})", body)


def tree_memory(pid: int) -> int:
    """Resident memory of a process and its children, shared pages counted once [bytes]."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        for child in children.read_text().split():
            total += tree_memory(int(child))
    except (OSError, ValueError):
        pass
    return total


def peak_memory(command: list[str]) -> tuple[int, float, float]:
    """Peak memory of a command with its children [bytes], its wall time, its CPU time [s]."""
    before = os.times()
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_memory(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    wall, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return peak, wall, cpu


def long_file(path: Path, hours: float) -> None:
    """Noise that comes and goes, as FLAC."""
    random = np.random.default_rng(0)
    minute = (random.normal(0, 0.1, 60 * SAMPLE_RATE) * np.sin(np.linspace(0, 60, 60 * SAMPLE_RATE))).astype(
        "float32"
    )
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for _ in range(round(hours * 60)):
            file.write(minute)


def memory() -> None:
    rows = []
    command = [sys.executable, "-m", "musicpase"]
    peaks = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, hours in HOURS.items():
            path = Path(scratch, "long.flac")
            long_file(path, hours)
            peaks[name], wall, _ = peak_memory([*command, "embed", str(path), "-o", f"{scratch}/emb.npy"])
            rows.append([name, f"{peaks[name] / 1e6:.0f} MB", f"{wall:.1f} s"])
            print(rows[-1])
        one = Path(scratch, "one.flac")
        long_file(one, 1 / 60)
        _, _, help_cpu = peak_memory([*command, "--help"])
    body = table(["length of one FLAC file", "peak memory, all processes", "wall time, start included"], rows)
    body += (
        f"\n10 hours take {100 * (peaks['10 h'] / peaks['5 min'] - 1):+.1f} % memory against 5 minutes. "
        f"`musicpase --help` takes {help_cpu:.2f} s of CPU time. Memory: sum of proportional set sizes, sampled "
        "every 50 ms.\n"
    )
    print(body)
    write_section("memory", "Memory and cold start", body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["encode", "profile", "files", "memory"])
    parser.add_argument("--audio", type=Path, help="folder with music (for files)")
    parser.add_argument("--hours", type=float, default=0.5, help="of music (for files)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"], help="(for files)")
    options = parser.parse_args()
    if options.what == "encode":
        encode(options.rounds)
    elif options.what == "profile":
        profile()
    elif options.what == "files":
        if options.audio is None:
            parser.error("files needs --audio FOLDER")
        files(options.audio, options.hours, options.rounds, options.precision)
    else:
        memory()


if __name__ == "__main__":
    main()

"""The cost model of docs/scale.md: measure the stages here, predict whole runs from them, and extrapolate.

    python scripts/simulate_scale.py measure                 stages alone, then whole runs beside their predictions
    python scripts/simulate_scale.py predict                 hours and node-hours of 10^4, 10^6 and 10^8 tracks

`measure` makes noise files of several lengths, measures what one decoding core and one encoding thread alone do
with them, and then runs `musicpase embed` on mixes that were not measured: bound by encoding, by decoding (a tiny
encoder), and by the number of files. It rewrites its section of docs/scale.md. `predict` takes rates for other
hardware as options, and writes the table; its defaults are said in the table's caption.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from benchmark_page import PAGE, table, write_section
from scale_model import Node, Rates, Track, bound, computed_seconds, simulate

from musicpase import audio
from musicpase.config import SAMPLE_RATE, EncoderConfig
from musicpase.inference.encoder import STRIP_SECONDS, load_encoder
from musicpase.nn import PASEPlus

SCALE = PAGE.with_name("scale.md")
RATE = 44_100
MIXES = {  # seconds of each file
    "long": [60.0] * 12,
    "short": [2.0] * 300,
    "mixed": [float(s) for s in np.random.default_rng(0).lognormal(2.0, 1.0, 60).clip(1, 90)],
}
CALIBRATION = ([30.0] * 4, [1.0] * 120)  # few long ones tell rates, many short ones overheads
STRIP_S = STRIP_SECONDS["cpu"]
TRACK = Track(240.0, 7_700_000)  # four minutes of mp3 at 256 kbit/s
LIBRARIES = (1e4, 1e6, 1e8)


def main() -> None:
    options = parse()
    if options.command == "measure":
        measure(options.rounds)
    else:
        predict(options)


def measure(rounds: int) -> None:
    """Measure stages alone and then whole runs, one thread and one process for each stage, and write the section."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny = folder / "tiny"
        narrow = EncoderConfig(embedding_dim=32, channels=(4, 4, 4, 4, 8, 8, 8, 8), qrnn_dim=16)
        PASEPlus(narrow).save_pretrained(tiny)
        sets = [make_files(folder / f"calibration{n}", lengths) for n, lengths in enumerate(CALIBRATION)]
        decode, decode_overhead = solve(CALIBRATION, [decode_seconds(paths, rounds) for paths in sets])
        stages, runs = [], []
        for label, model in (("paseplus-music", "paseplus-music"), ("tiny", str(tiny))):
            encode = sum(CALIBRATION[0]) / encode_seconds(model, CALIBRATION[0], rounds)
            start = statistics.median(embed_seconds(sets[1][:1], model) for _ in range(rounds))
            many = statistics.median(embed_seconds(sets[1], model) for _ in range(rounds))
            strips = sum(computed_seconds([Track(seconds, 0) for seconds in CALIBRATION[1]], STRIP_S)) / encode
            overhead = max(0.0, many - start - strips) / len(CALIBRATION[1])
            rates = Rates(decode, decode_overhead, encode, overhead, start, strip_s=STRIP_S)
            stages.append([f"encoding, {label}", f"{encode:.0f}", f"{1000 * overhead:.1f}", f"{start:.1f}"])
            for mix, lengths in MIXES.items():
                paths = make_files(folder / mix, lengths)
                tracks = [Track(seconds, path.stat().st_size) for seconds, path in zip(lengths, paths, strict=True)]
                predicted = simulate(tracks, Node(1, 1), rates).seconds
                found = statistics.median(embed_seconds(paths, model) for _ in range(rounds))
                deviation = f"{100 * (predicted / found - 1):+.0f} %"
                runs.append([label, mix, f"{sum(lengths):.0f}", f"{found:.1f}", f"{predicted:.1f}", deviation])
    stages.insert(0, ["decoding FLAC", f"{decode:.0f}", f"{1000 * decode_overhead:.1f}", ""])
    text = (
        f"{table(['stage, one thread', 'x real time', 'and per file [ms]', 'start of a run [s]'], stages)}\n"
        f"{table(['encoder', 'files', 'audio [s]', 'measured [s]', 'predicted [s]', 'deviation'], runs)}\n"
        "A run has one decoding process and one encoding thread. Its prediction uses nothing but the upper table, "
        f"which was measured on other files: rates on {len(CALIBRATION[0])} of {CALIBRATION[0][0]:g} s, what a file "
        f"costs on {len(CALIBRATION[1])} of {CALIBRATION[1][0]:g} s (for encoding: what a run with these takes "
        f"beyond the start and its strips). Medians of {rounds} rounds."
    )
    write_section("simulation", "Predicted and measured", text, SCALE)


def make_files(folder: Path, lengths: list[float]) -> list[Path]:
    """Stereo FLAC files of these lengths [s]."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, (round(max(lengths) * RATE), 2)).astype(np.float32)
    paths = [folder / f"{number:04d}.flac" for number in range(len(lengths))]
    for path, seconds in zip(paths, lengths, strict=True):
        if not path.exists():
            soundfile.write(path, noise[: round(seconds * RATE)], RATE)
    return paths


def decode_seconds(paths: list[Path], rounds: int) -> float:
    """One core decodes all, without the start of its process."""

    def once() -> float:
        begin = time.perf_counter()
        for event in audio.decode_files([str(path) for path in paths], workers=0):
            assert not isinstance(event, audio.Failure)
        return time.perf_counter() - begin

    return statistics.median(once() for _ in range(rounds))


def embed_seconds(paths: list[Path], model: str) -> float:
    """The command as a user runs it."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names.txt"
        names.write_text("\n".join(map(str, paths)) + "\n")
        command = ["-m", "musicpase", "embed", "--files-from", str(names), "-o", f"{folder}/emb.npy"]
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-W", "ignore", *command, "--model", model, "--workers", "1", "--quiet"], check=True
        )
        return time.perf_counter() - begin


def encode_seconds(model: str, lengths: list[float], rounds: int) -> float:
    """The encoder alone, on sound that is in memory."""
    encoder = load_encoder(model)
    noise = np.random.default_rng(1).normal(0, 0.1, round(max(lengths) * SAMPLE_RATE)).astype(np.float32)
    waveforms = [noise[: round(seconds * SAMPLE_RATE)] for seconds in lengths]
    encoder.embed(waveforms[:1], SAMPLE_RATE)

    def once() -> float:
        begin = time.perf_counter()
        encoder.embed(waveforms, SAMPLE_RATE)
        return time.perf_counter() - begin

    return statistics.median(once() for _ in range(rounds))


def solve(sets: tuple[list[float], list[float]], seconds: list[float]) -> tuple[float, float]:
    """Factor of real time and seconds per file, from the times of two sets: t = audio / rate + files * overhead."""
    matrix = np.array([[sum(lengths), len(lengths)] for lengths in sets])
    per_second, per_file = np.linalg.solve(matrix, np.array(seconds))
    if per_second <= 0:
        raise SystemExit(
            f"simulate_scale.py: {seconds} s for {matrix.tolist()}: too noisy; measure on an idle machine"
        )
    return 1 / per_second, max(0.0, per_file)


def predict(options: argparse.Namespace) -> None:
    """Write the table of libraries."""
    rates = Rates(options.decode, options.decode_overhead, options.encode, options.encode_overhead, options.start)
    node = Node(options.cores, options.devices, options.link * 1e6)
    lines = []
    for count in LIBRARIES:
        for nodes in (1, 10, 100):
            binding, seconds = bound(count, TRACK, node, rates, nodes)
            store = count * TRACK.size / seconds / 1e9
            lines.append(
                [
                    *(f"10^{round(np.log10(count))}", str(nodes), binding, f"{seconds / 3600:,.2f}"),
                    *(f"{nodes * seconds / 3600:,.1f}", f"{store:,.2f}"),
                ]
            )
    head = ["tracks", "nodes", "bound by", "hours", "node-hours", "the store delivers [GB/s]"]
    caption = (
        f"Tracks of {TRACK.duration_s:.0f} s and {TRACK.size / 1e6:.1f} MB. A node: {options.cores} cores at "
        f"{options.decode:g} x real time and {1000 * options.decode_overhead:g} ms a file, {options.devices} "
        f"device(s) at {options.encode:g} x, a link of {options.link:g} MB/s, {options.start:g} s to start."
    )
    write_section(options.section, options.title, f"{table(head, lines)}\n{caption}", SCALE)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--rounds", type=int, default=3)
    predicting = commands.add_parser("predict")
    predicting.add_argument("--cores", type=int, default=2)
    predicting.add_argument("--devices", type=int, default=1)
    predicting.add_argument("--decode", type=float, default=550.0, help="x real time of one core")
    predicting.add_argument("--decode-overhead", type=float, default=0.005, help="of a file [s]")
    predicting.add_argument("--encode", type=float, default=92.0, help="x real time of one device")
    predicting.add_argument("--encode-overhead", type=float, default=0.001, help="of a file [s]")
    predicting.add_argument("--link", type=float, default=100.0, help="to the files [MB/s]")
    predicting.add_argument("--start", type=float, default=4.0, help="of a node [s]")
    predicting.add_argument("--section", default="laptop")
    predicting.add_argument("--title", default="A laptop")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""How fast a GPU embeds, beside what it could do; rewrites its sections of docs/benchmarks.md.

    python scripts/benchmark_gpu.py encode                   strips of several lengths, share of the matrix limit
    python scripts/benchmark_gpu.py files --audio FOLDER     folder to matrix, beside decoding on all cores alone

`--device cpu` rehearses both where there is no GPU. Everything that is compared is timed in turn within one run;
tables hold medians.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from benchmark import GFLOP_PER_SECOND, encode_once, files, in_turn
from benchmark_page import table, write_section

from musicpase.config import SAMPLE_RATE
from musicpase.inference.devices import DTYPES
from musicpase.inference.encoder import load_encoder

PRECISIONS = {"cuda": ("bf16", "fp16", "fp32"), "mps": ("fp16", "fp32"), "cpu": ("bf16", "fp32")}
STRIPS = {"cuda": (30, 120, 600, 1800), "mps": (10, 30, 120), "cpu": (5, 10)}  # seconds
STRIPS_EACH = 4  # in one timing


def encode(device: str, rounds: int) -> None:
    """The encoder alone, on sound that is in memory."""
    kind = torch.device(device).type
    functions: dict[str, Callable[[], object]] = {}
    lengths = {}
    for precision in PRECISIONS[kind]:
        functions[f"product {precision}"] = synchronized(product(device, DTYPES[precision]), device)
        for strip in STRIPS[kind]:
            encoder = load_encoder(device=device, precision=precision, batch_seconds=strip)
            noise = np.random.default_rng(0).normal(0, 0.1, STRIPS_EACH * strip * SAMPLE_RATE).astype(np.float32)
            name = f"{precision} {strip}"
            lengths[name] = STRIPS_EACH * strip
            functions[name] = synchronized(lambda e=encoder, samples=noise: encode_once(e, samples), device)
    times = {name: statistics.median(found) for name, found in in_turn(functions, rounds).items()}
    rows = []
    for precision in PRECISIONS[kind]:
        peak = product_gflop(kind) / times[f"product {precision}"]
        for strip in STRIPS[kind]:
            rate = lengths[f"{precision} {strip}"] / times[f"{precision} {strip}"]
            share = f"{100 * rate * GFLOP_PER_SECOND / peak:.0f} % of {peak / 1000:.1f} TFLOP/s"
            rows.append([precision, str(strip), f"{rate:,.0f}", share])
    body = table(["precision", "strip [s]", "x real time", "share of the limit"], rows) + (
        f"\nNoise in main memory to means in main memory, {STRIPS_EACH} strips each (`--batch-seconds`), {rounds} "
        f"rounds in turn. Limit: a large matrix product in the same precision, over {GFLOP_PER_SECOND} GFLOP per "
        "second of audio.\n"
    )
    print(body)
    write_section(f"encode-{kind}", f"Encoding ({kind})", body)


def product_size(kind: str) -> int:
    """Of a matrix product that fills the device."""
    return 8192 if kind == "cuda" else 2048


def product_gflop(kind: str) -> float:
    """Of that product."""
    return 2 * product_size(kind) ** 3 / 1e9


def product(device: str, dtype: torch.dtype) -> Callable[[], object]:
    """A large matrix product: what the device can do. In fp32 as musicpase computes, without TF32."""
    size = product_size(torch.device(device).type)
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    return lambda: a @ b


def synchronized(function: Callable[[], object], device: str) -> Callable[[], object]:
    """Wait until the device has done it."""
    kind = torch.device(device).type

    def run() -> None:
        function()
        if kind == "cuda":
            torch.cuda.synchronize(device)
        elif kind == "mps":
            torch.mps.synchronize()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["encode", "files"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--audio", type=Path, metavar="FOLDER", help="music for `files`")
    parser.add_argument("--hours", type=float, default=2.0, help="of it")
    parser.add_argument("--precision", default="auto", help="for `files`")
    options = parser.parse_args()
    if options.what == "encode":
        encode(options.device, options.rounds)
    elif options.audio is None:
        parser.error("files needs --audio FOLDER")
    else:
        files(options.audio, options.hours, options.rounds, options.precision, options.device)


if __name__ == "__main__":
    main()

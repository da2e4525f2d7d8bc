"""The whole way, from real music in a folder to a matrix, against decoding and encoding by the plain parts."""

from pathlib import Path

import numpy as np
import pytest
import torch

import musicpase
from musicpase.audio import load_audio
from tests.cli.conftest import start

MUSIC = Path(__file__).parents[2] / ".." / "shared" / "data" / "real" / "audio"
needs_music = pytest.mark.skipif(not MUSIC.is_dir(), reason=f"no real music at {MUSIC}")


def pieces(count: int) -> list[Path]:
    """The shortest pieces, each from another source."""
    folders = [folder for folder in MUSIC.iterdir() if folder.is_dir()]
    shortest = [min(folder.rglob("*.*"), key=lambda p: p.stat().st_size) for folder in folders]
    return [file.resolve() for file in sorted(shortest, key=lambda p: p.stat().st_size)[:count]]


@needs_music
def test_rows_equal_the_plain_module_on_real_music(tmp_path: Path) -> None:
    process = start(tmp_path, "embed", *pieces(3), "-o", "emb.npy", "--precision", "fp32")
    _, err = process.communicate()
    assert process.returncode == 0, err
    matrix = np.load(tmp_path / "emb.npy")
    rows = [line.split(",") for line in (tmp_path / "emb.csv").read_text().splitlines()[1:]]
    assert len(rows) == len(matrix) == 3
    module, _ = musicpase.load_module()
    for row, line in zip(matrix, rows, strict=True):
        samples, _ = load_audio(line[2])  # tests/unit/test_decode.py compares it with other decoders
        with torch.no_grad():
            frames = module(torch.from_numpy(samples)[None])[0]
        assert np.abs(row - frames.mean(1).numpy()).max() < 1e-4 * float(frames.square().mean().sqrt()), line


@needs_music
def test_different_music_gives_different_rows(tmp_path: Path) -> None:
    encoder = musicpase.load_encoder(device="cpu", precision="fp32")
    rows = np.stack([r.rows[0] for r in encoder.embed_files(pieces(3)) if isinstance(r, musicpase.Result)])
    assert len(rows) == 3
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert (distance[~np.eye(3, dtype=bool)] > 0.01 * np.linalg.norm(rows, axis=1).mean()).all()

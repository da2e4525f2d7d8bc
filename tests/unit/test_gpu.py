"""Laws that need a GPU: it gives what the CPU gives. Run with `pytest -m gpu`."""

import numpy as np
import pytest
import torch

import musicpase
from musicpase.precision import exact_float32
from tests.parity.original import LENGTHS, REFERENCE, module, waveform

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def sounds() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.uniform(-0.5, 0.5, n).astype(np.float32) for n in (160, 1600, 16000 * 7 + 33, 16000 * 130, 4000)]


def test_fp32_agrees_with_the_cpu() -> None:
    rows = [
        musicpase.load_encoder(device=device, precision="fp32").embed(sounds(), 16000) for device in ("cpu", "cuda")
    ]
    assert np.abs(rows[0] - rows[1]).max() < 1e-4 * np.sqrt(np.mean(rows[0] ** 2))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_points_the_same_way(precision: str) -> None:
    exact = musicpase.load_encoder(device="cpu", precision="fp32").embed(sounds(), 16000)
    rows = musicpase.load_encoder(device="cuda", precision=precision).embed(sounds(), 16000)
    cosine = (exact * rows).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rows, axis=1)
    assert cosine.min() > 0.999


def test_module_equals_the_original() -> None:
    with torch.no_grad(), exact_float32:
        for samples in LENGTHS:
            output = module("paseplus_512").cuda()(waveform(samples)[None].cuda())[0].mean(1).cpu().numpy()
            theirs = REFERENCE[f"paseplus_512/mean_{samples}"]
            assert np.linalg.norm(output - theirs) < 1e-5 * np.linalg.norm(theirs)

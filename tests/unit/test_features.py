"""What the targets promise besides librosa's numbers: shapes, errors, independence, gradients, devices."""

import builtins
from typing import Any

import pytest
import torch
from torch import Tensor

from musicpase.errors import AudioError, ConfigError, MissingExtraError
from musicpase.features import FEATURES, FeatureConfig, Features, chroma, lps, mfcc, prosody, spectrum, tempogram
from musicpase.features.viterbi import BandedViterbi
from musicpase.features.yin import Candidates

ROWS = {"lps": 1025, "prosody": 4, "mfcc": 20, "chroma": 12, "tempogram": 384}


@pytest.fixture(scope="module")
def features() -> Features:
    return Features()


def music(batch: int, samples: int, seed: int = 0) -> Tensor:
    """Chords that fade, in a little noise."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16_000
    pitches = 110 * 2 ** (torch.randint(0, 36, (batch, 3, 1), generator=generator) / 12)
    chord = torch.sin(2 * torch.pi * pitches * time).sum(1) * torch.exp(-3 * (time % 0.4))
    return 0.2 * chord + 0.01 * torch.randn(batch, samples, generator=generator)


def test_long_clips_are_transformed_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = music(2, 50_000)
    whole = Features(("lps", "mfcc"))(clip)
    frames: list[int] = []
    transform = torch.fft.rfft

    def noted(pieces: Tensor) -> Tensor:
        frames.append(pieces.shape[1])
        found: Tensor = transform(pieces)
        return found

    monkeypatch.setattr(spectrum, "PIECE", 100)
    monkeypatch.setattr(torch.fft, "rfft", noted)
    found = Features(("lps", "mfcc"))(clip)
    assert frames == [100, 100, 100, 13] * 2
    assert all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.parametrize("samples", [2048, 4000, 16_000, 16_159])
def test_one_frame_per_frame_of_the_encoder(features: Features, samples: int) -> None:
    found = features(music(2, samples))
    assert {name: tuple(target.shape) for name, target in found.items()} == {
        name: (2, rows, samples // 160) for name, rows in ROWS.items()
    }
    assert all(t.dtype == torch.float32 and t.isfinite().all() and t.is_contiguous() for t in found.values())


def test_a_clip_does_not_depend_on_its_batch(features: Features) -> None:
    batch = music(3, 8000)
    whole = features(batch)
    for index in range(3):
        alone = features(batch[index : index + 1])
        for name in FEATURES:
            torch.testing.assert_close(alone[name][0], whole[name][index], rtol=1e-5, atol=1e-5)


def test_decoding_in_blocks_changes_nothing(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = music(5, 8000)
    whole = features(batch)["prosody"]
    monkeypatch.setattr("musicpase.features.viterbi.CPU_BLOCK_BYTES", 2 * 51 * 2 * 601 * 8)  # two clips
    assert torch.equal(features(batch)["prosody"], whole)


@pytest.mark.parametrize("name", FEATURES)
def test_a_subset_is_the_same(features: Features, name: str) -> None:
    batch = music(1, 8000)
    only = Features((name,))(batch)
    assert list(only) == [name]
    assert torch.equal(only[name], features(batch)[name])


def test_functions_are_the_module(features: Features) -> None:
    batch = music(1, 4000)
    found = features(batch)
    for function in (lps, prosody, mfcc, chroma, tempogram):
        assert torch.equal(function(batch), found[function.__name__])


def test_reduced_precision_outside_changes_nothing(features: Features) -> None:
    batch = music(1, 8000)
    expected = features(batch)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = features(batch)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    for name in FEATURES:
        assert torch.equal(found[name], expected[name])


def test_nothing_is_learned_or_stored(features: Features) -> None:
    assert not list(features.parameters())
    assert not features.state_dict()


def test_the_input_is_left_alone(features: Features) -> None:
    batch = music(1, 4000)
    copy = batch.clone()
    features(batch)
    assert torch.equal(batch, copy)


@pytest.mark.parametrize("name", ["lps", "mfcc", "chroma", "tempogram"])
def test_differentiable(name: str) -> None:
    waveform = music(1, 4800).requires_grad_()
    target = Features((name,))(waveform)[name]
    target.square().sum().backward()
    gradient = waveform.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_energy_is_differentiable_also_in_silence(features: Features) -> None:
    waveform = torch.cat([torch.zeros(1, 4800), music(1, 4800)], 1).requires_grad_()
    features(waveform)["prosody"][:, 1].sum().backward()
    gradient = waveform.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_unvoiced_is_zero_hertz(features: Features) -> None:
    time = torch.arange(16_000) / 16_000
    tone = torch.sin(2 * torch.pi * 220 * time) * (time > 0.5)
    f0 = features(tone[None])["prosody"][0, 3]
    assert (f0[:40] == 0).all()
    assert (1200 * torch.log2(f0[60:95] / 220)).abs().max() <= 5  # half a pitch bin of 10 cents


@pytest.mark.parametrize(
    ("waveform", "sample_rate", "message"),
    [
        (torch.zeros(1, 2047), 16_000, "2047"),
        (torch.zeros(1, 0), 16_000, "0 samples"),
        (torch.zeros(1, 4000), 22_050, "22050"),
        (torch.zeros(4000), 16_000, r"\(4000,\)"),
        (torch.zeros(0, 4000), 16_000, r"\(0, 4000\)"),
        (torch.zeros(1, 1, 4000), 16_000, r"\(1, 1, 4000\)"),
        (torch.zeros(1, 4000, dtype=torch.float64), 16_000, "float64"),
        (torch.zeros(1, 4000, dtype=torch.int16), 16_000, "int16"),
        (torch.zeros(2, 4000).index_fill_(1, torch.tensor([7]), torch.nan), 16_000, "nan at sample 7"),
        (torch.zeros(2, 4000).index_fill_(1, torch.tensor([9]), -torch.inf), 16_000, "-inf at sample 9"),
    ],
)
def test_bad_input_is_refused_with_its_value(
    features: Features, waveform: Tensor, sample_rate: int, message: str
) -> None:
    with pytest.raises(AudioError, match=message):
        features(waveform, sample_rate=sample_rate)


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="mfc"):
        Features(("mfc",))


@pytest.mark.parametrize("name", ["mfcc", "chroma", "prosody"])
def test_without_librosa_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_librosa(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.startswith("librosa"):
            raise ImportError(module)
        return real_import(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_librosa)
    with pytest.raises(MissingExtraError, match=r"musicpase\[train\]"):
        Features((name,))


def test_silence_has_no_pitch_and_no_candidates_decode() -> None:
    none = torch.empty(0, dtype=torch.long)
    bins, voiced, probability = BandedViterbi(FeatureConfig(), 601)(
        Candidates(2, 5, none, none, none, torch.empty(0, dtype=torch.float64))
    )
    assert bins.shape == voiced.shape == probability.shape == (2, 5)
    assert not voiced.any()
    assert (probability == 0).all()


@pytest.mark.gpu
def test_gpu_equals_cpu(features: Features) -> None:
    batch = torch.cat([music(4, 48_000), torch.zeros(1, 48_000)])
    on_cpu = features(batch)
    on_gpu = Features().to("cuda")(batch.cuda())
    for name, tolerance in {"lps": 1e-3, "mfcc": 2e-3, "chroma": 1e-3, "tempogram": 1e-3}.items():
        torch.testing.assert_close(on_gpu[name].cpu(), on_cpu[name], rtol=0, atol=tolerance)
    ours, theirs = on_gpu["prosody"].cpu(), on_cpu["prosody"]
    torch.testing.assert_close(ours[:, :3], theirs[:, :3], rtol=0, atol=1e-6)
    assert (ours[:, 3] != theirs[:, 3]).float().mean() <= 0.001

"""The Python interface: shapes, equivalences between its doors, errors that name the value."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import musicpase
from musicpase.errors import AudioError, ConfigError, ModelError
from musicpase.inference.devices import pick_device, pick_precision


@pytest.fixture(scope="module")
def encoder() -> musicpase.Encoder:
    return musicpase.load_encoder(device="cpu", precision="fp32", batch_seconds=1)


def sound(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def test_embed_is_the_mean_of_frames(encoder: musicpase.Encoder) -> None:
    waveform = sound(2.345)
    vector, frames = encoder.embed(waveform, 16000), encoder.frames(waveform, 16000)
    assert vector.shape == (512,)
    assert frames.embedding.shape == (234, 512)
    assert frames.timestamps.tolist() == [(160 * i + 150.5) / 16000 for i in range(234)]
    assert np.abs(vector - frames.embedding.mean(0)).max() < 1e-5 * rms(frames.embedding)


def test_every_form_of_the_same_sound_gives_the_same_row(encoder: musicpase.Encoder) -> None:
    mono = sound(1.5)
    expected = encoder.embed(mono, 16000)
    assert np.array_equal(encoder.embed(torch.from_numpy(mono), 16000), expected)
    assert np.array_equal(encoder.embed(np.stack([mono, mono]), 16000), expected)
    assert np.array_equal(encoder.embed(mono.astype(np.float64), 16000), expected)
    batch = encoder.embed(np.stack([mono, sound(1.5, seed=1)])[:, None], 16000)
    assert batch.shape == (2, 512)
    assert np.array_equal(batch[0], expected)
    lengths = encoder.embed([sound(0.2, seed=2), mono, np.stack([mono, mono])], 16000)
    assert np.array_equal(lengths[1], expected)
    assert np.array_equal(lengths[2], expected)


def test_channels_are_averaged(encoder: musicpase.Encoder) -> None:
    left, right = sound(1, seed=3), sound(1, seed=4)
    mixed = encoder.embed(np.stack([left, right]), 16000)
    assert np.abs(mixed - encoder.embed((left + right) / 2, 16000)).max() < 1e-4 * rms(mixed)


def test_rates_are_resampled_as_files_are(encoder: musicpase.Encoder, tmp_path: Path) -> None:
    waveform = sound(1.3, 44100)
    soundfile.write(tmp_path / "x.wav", waveform, 44100, subtype="FLOAT")
    assert np.array_equal(encoder.embed(waveform, 44100), encoder.embed_file(tmp_path / "x.wav"))
    assert len(encoder.frames(waveform, 44100).embedding) == 130


def test_a_stream_equals_the_whole(encoder: musicpase.Encoder) -> None:
    waveform = sound(3.21)
    whole = encoder.frames(waveform, 16000)
    stream = encoder.stream(block_seconds=0.25)
    parts = [stream.push(waveform[i : i + 1000]) for i in range(0, len(waveform), 1000)]
    # Frames come long before the end: all but those that still look at samples to come.
    given = sum(len(part.embedding) for part in parts)
    assert 321 - 25 - 18 <= given < 321
    parts.append(stream.close())
    embedding = np.concatenate([part.embedding for part in parts])
    assert embedding.shape == whole.embedding.shape
    assert np.abs(embedding - whole.embedding).max() < 1e-4 * rms(whole.embedding)
    assert np.array_equal(np.concatenate([part.timestamps for part in parts]), whole.timestamps)


def test_a_stream_may_be_fed_from_one_buffer(encoder: musicpase.Encoder) -> None:
    """As recording libraries do, which fill it anew before each call."""
    recorded = sound(2.0)
    stream, buffer = encoder.stream(), np.empty(1600, np.float32)
    parts = []
    for begin in range(0, len(recorded), len(buffer)):
        buffer[:] = recorded[begin : begin + len(buffer)]
        parts.append(stream.push(buffer).embedding)
    buffer[:] = 0
    parts.append(stream.close().embedding)
    expected = encoder.frames(recorded, 16_000).embedding
    assert np.abs(np.concatenate(parts) - expected).max() < 1e-4 * rms(expected)


def test_a_stream_refuses_integers_and_ends_once(encoder: musicpase.Encoder) -> None:
    stream = encoder.stream()
    with pytest.raises(AudioError, match="int16"):
        stream.push(np.zeros(1000, np.int16))
    stream.push(sound(0.5))
    assert len(stream.close().embedding) == 50
    assert len(stream.close().embedding) == 0
    with pytest.raises(ConfigError, match="closed"):
        stream.push(sound(0.1))


def test_an_encoder_that_looks_too_far_is_refused() -> None:
    from musicpase.config import EncoderConfig
    from musicpase.inference.engine import Engine

    config = EncoderConfig(kernel_sizes=(251, 20, 11, 11, 11, 11, 31, 31))
    with pytest.raises(ModelError, match="samples around itself"):
        Engine(musicpase.PASEPlus(config), 100, torch.device("cpu"), torch.float32)


def test_files_come_in_order_and_failures_are_values(encoder: musicpase.Encoder, tmp_path: Path) -> None:
    for name in ("b", "a"):
        soundfile.write(tmp_path / f"{name}.wav", sound(0.5, seed=ord(name)), 16000)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    paths = [tmp_path / "b.wav", tmp_path / "bad.wav", tmp_path / "a.wav", tmp_path / "missing.wav"]
    results = list(encoder.embed_files(paths))
    assert [r.path for r in results] == [str(p) for p in paths]
    assert [isinstance(r, musicpase.Failure) for r in results] == [False, True, False, True]
    first = results[0]
    assert isinstance(first, musicpase.Result)
    assert (first.frames, first.duration_s) == (50, 0.5)
    assert np.array_equal(first.rows[0], encoder.embed_file(paths[0]))
    with pytest.raises(AudioError, match=r"bad\.wav: "):
        encoder.embed_file(paths[1])


def test_trainable_is_a_module_that_learns() -> None:
    module = musicpase.load_encoder(device="cpu", trainable=True)
    assert isinstance(module, musicpase.PASEPlus)
    assert module.training
    module(torch.from_numpy(sound(0.4))[None].repeat(2, 1)).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_bad_waveforms_are_named(encoder: musicpase.Encoder) -> None:
    with pytest.raises(AudioError, match="159 samples"):
        encoder.embed(sound(1)[:159], 16000)
    with pytest.raises(AudioError, match="non-finite"):
        encoder.embed(np.full(1600, np.nan, np.float32), 16000)
    with pytest.raises(AudioError, match=r"\(64, 16000\)"):
        encoder.embed(np.zeros((64, 16000), np.float32), 16000)
    with pytest.raises(AudioError, match="mono blocks"):
        encoder.stream().push(np.zeros((2, 100), np.float32))
    with pytest.raises(AudioError, match="non-finite"):
        encoder.stream().push(np.full(100, np.inf, np.float32))
    assert encoder.embed([], 16000).shape == (0, 512)


def test_choices_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigError, match="device is 'abacus'"):
        pick_device("abacus")
    with pytest.raises(ConfigError, match="precision is 'int3'"):
        pick_precision("int3", torch.device("cpu"))
    with pytest.raises(ConfigError, match="batch-seconds is 0"):
        musicpase.load_encoder(batch_seconds=0.1)
    assert pick_precision("auto", torch.device("mps")) == "fp32"


def test_silence_and_extremes_are_finite(encoder: musicpase.Encoder) -> None:
    for value in (0.0, 1.0, 1e-40, 1e3):
        assert np.isfinite(encoder.embed(np.full(4000, value, np.float32), 16000)).all(), value
    with pytest.warns(UserWarning, match="clipped"):
        assert np.isfinite(encoder.embed(np.full(4000, 1e30, np.float32), 16000)).all()
    with pytest.warns(UserWarning, match="mono mix is silent"):
        assert np.isfinite(encoder.embed(np.stack([sound(1), -sound(1)]), 16000)).all()


def test_provenance_says_what_was_used(encoder: musicpase.Encoder) -> None:
    provenance = encoder.provenance()
    assert provenance["weights_sha256"] == encoder.record.sha256
    assert (provenance["precision"], provenance["sample_rate"], provenance["hop_length"]) == ("fp32", 16000, 160)

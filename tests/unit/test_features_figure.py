"""The picture of a clip, and the command that draws it."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from musicpase.cli.features import features
from musicpase.config import EncoderConfig
from musicpase.errors import AudioError, ConfigError, MissingExtraError, ModelError, OutputError
from musicpase.features import Features
from musicpase.features.figure import draw_features, render
from musicpase.nn import PASE
from musicpase.weights import save_folder
from musicpase.workers import Workers, save_workers, select_workers

TARGETS = Features()


def clip(seconds: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    time = torch.arange(int(seconds * 16_000)) / 16_000
    waveform = 0.5 * torch.sin(2 * torch.pi * 330 * time)
    return waveform, {name: target[0] for name, target in TARGETS(waveform[None]).items()}


def song(folder: Path, seconds: float = 1.0) -> Path:
    path = folder / "song.wav"
    soundfile.write(path, clip(seconds)[0].numpy(), 16_000)
    return path


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(features, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_every_target_has_a_panel_on_one_time_axis() -> None:
    figure = draw_features(*clip(), start=20.0, title="$1 曲 song_")
    assert render(figure, "png")
    labels = " ".join(axes.get_ylabel() for axes in figure.axes)
    for word in ("waveform", "spectrum", "MFCC", "chroma", "tempo", "F0", "RMS", "voiced"):
        assert word in labels
    assert {axes.get_xlim() for axes in figure.axes} == {(20.0, 21.0)}


def test_values_are_where_they_belong() -> None:
    """The tone's melody is at 330 Hz, E, and the bright line of its spectrum at 330 Hz."""
    waveform, targets = clip()
    by_label = {axes.get_ylabel().split("\n")[0]: axes for axes in draw_features(waveform, targets).axes}
    x, y = by_label["melody"].lines[0].get_data()
    middle = np.abs(np.asarray(x) - 0.5).argmin()
    assert np.asarray(y)[middle] == pytest.approx(330, rel=0.006)
    spectrum = by_label["spectrum"].images[0].get_array()
    assert spectrum is not None
    assert spectrum[:, 50].argmax() == round(330 * 2048 / 16_000)
    chroma = by_label["pitch class"].images[0].get_array()
    assert chroma is not None
    assert by_label["pitch class"].get_yticklabels()[int(chroma[:, 50].argmax())].get_text() == "E"


def test_predictions_are_drawn_below_or_over() -> None:
    waveform, targets = clip()
    alone = draw_features(waveform, targets)
    both = draw_features(waveform, targets, {**targets, "waveform": waveform[None]})
    assert len(both.axes) == len(alone.axes) + 4  # spectrum, timbre, chroma, tempo
    assert sum(len(axes.lines) for axes in both.axes) == 2 * sum(len(axes.lines) for axes in alone.axes)


@pytest.mark.parametrize(("name", "magic"), [("f.png", b"\x89PNG"), ("f.PDF", b"%PDF"), ("f.svg", b"<?xml")])
def test_the_command_writes_a_figure(name: str, magic: bytes, tmp_path: Path) -> None:
    result = run(song(tmp_path), "-o", tmp_path / name)
    assert result.exit_code == 0
    assert result.output == ""
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_the_command_says_that_the_file_goes_on(tmp_path: Path) -> None:
    result = run(song(tmp_path, 2.0), "-o", tmp_path / "f.png", "--start", "0.5", "--duration", "1")
    assert "0.5 to 1.5 s" in result.output


def test_the_command_draws_what_workers_predict(tmp_path: Path) -> None:
    config = EncoderConfig(embedding_dim=16, channels=(4,) * 8, qrnn=False, skips=False)
    torch.manual_seed(0)
    save_folder(config, PASE(config).state_dict(), tmp_path)
    with pytest.raises(ModelError, match=r"no workers\.safetensors"):
        run(song(tmp_path), "-o", tmp_path / "f.png", "--model", tmp_path)
    save_workers(Workers(select_workers("WLPMCT"), config, torch.Generator()), tmp_path)
    run(song(tmp_path), "-o", tmp_path / "alone.png")
    run(song(tmp_path), "-o", tmp_path / "both.png", "--model", tmp_path)
    assert (tmp_path / "both.png").read_bytes() != (tmp_path / "alone.png").read_bytes()


def test_the_command_refuses_what_it_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"f\.jpg"):
        run(song(tmp_path), "-o", tmp_path / "f.jpg")
    with pytest.raises(AudioError, match=r"ends at 1\.00 s"):
        run(song(tmp_path), "-o", tmp_path / "f.png", "--start", "5")
    with pytest.raises(AudioError, match="1600 samples"):
        run(song(tmp_path, 0.1), "-o", tmp_path / "f.png")
    with pytest.raises(AudioError, match="missing"):
        run(tmp_path / "missing.wav", "-o", tmp_path / "f.png")
    with pytest.raises(OutputError, match="nowhere"):
        run(song(tmp_path), "-o", tmp_path / "nowhere" / "f.png")
    assert not list(tmp_path.glob("f.*"))


def test_other_types_are_refused() -> None:
    with pytest.raises(ConfigError, match="'jpg'"):
        render(draw_features(*clip()), "jpg")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_matplotlib(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.startswith("matplotlib"):
            raise ImportError(module)
        return real_import(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(MissingExtraError, match=r"musicpase\[train\]"):
        draw_features(*clip())

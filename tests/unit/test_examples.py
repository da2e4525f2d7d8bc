"""Laws of the bundled clips: small, sound, of several formats, and what the script renders."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
CLIPS = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix != ".md")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("make_examples")


def test_clips_are_small_and_of_several_formats() -> None:
    assert sum(path.stat().st_size for path in CLIPS) < 1_000_000
    assert {path.suffix for path in CLIPS} == {".wav", ".flac", ".ogg", ".mp3"}


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.name)
def test_clips_are_sound(path: Path) -> None:
    samples, rate = soundfile.read(path, always_2d=True)
    assert 3 <= len(samples) / rate <= 10
    assert 0.7 < np.abs(samples).max() < 0.9, "neither silent nor clipped"
    assert np.abs(samples.mean(0)).max() < 0.005, "no constant part"
    assert np.sqrt(np.square(samples.mean(1)).mean()) > 0.05, "the mono mix does not cancel"


@pytest.mark.parametrize("name", ["drum_groove.flac", "chiptune.wav"])
def test_script_renders_the_lossless_clips(
    scripts: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "CLIPS", tuple(clip for clip in scripts.CLIPS if clip[0] == name))
    scripts.main(tmp_path)
    ours, _ = soundfile.read(tmp_path / name)
    theirs, _ = soundfile.read(ROOT / "examples" / name)
    assert np.abs(ours - theirs).max() <= 2 / 32768, "more than a rounding apart"


def test_strings_are_in_tune(scripts: ModuleType) -> None:
    for note in range(40, 82):
        string = scripts.plucked(scripts.hz(note), 1.0)
        size = 1 << 20
        spectrum = np.abs(np.fft.rfft(string * np.hanning(len(string)), size))
        frequency = np.arange(len(spectrum)) * scripts.RATE / size
        near = np.abs(frequency / scripts.hz(note) - 1) < 0.05
        peak = frequency[near][spectrum[near].argmax()]
        assert abs(1200 * np.log2(peak / scripts.hz(note))) < 5, "cents"

"""Small MIDI and MusicXML files, and a library of them, for tests of the renderer."""

import importlib
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mido  # type: ignore[import-untyped]
import pytest

ROOT = Path(__file__).parents[2]
TICKS = 480
MODULES = (
    *("accompany", "arrange", "attribution", "clip", "download", "effects", "harmony", "instruments", "musicxml"),
    *("oscillators", "production", "score", "soundfonts", "sources", "tunes"),
)


def rendering(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of `scripts/rendering`, as attributes; skips where its synthesiser is missing."""
    pytest.importorskip("tinysoundfont", reason="the renderer needs: pip install --no-deps tinysoundfont")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return SimpleNamespace(**{name: importlib.import_module(f"rendering.{name}") for name in MODULES})


def write_midi(
    path: Path,
    notes: list[tuple[float, float, int]],
    *,
    channel: int = 0,
    program: int = 0,
    metre: tuple[int, int] = (4, 4),
    tempi: tuple[tuple[float, float], ...] = ((0.0, 120.0),),
) -> Path:
    """A file with one part: notes as (start, length, pitch) in quarters; tempi as (start, quarters per minute)."""
    timed = [(0.0, mido.MetaMessage("time_signature", numerator=metre[0], denominator=metre[1]))]
    timed += [(start, mido.MetaMessage("set_tempo", tempo=round(60e6 / tempo))) for start, tempo in tempi]
    timed.append((0.0, mido.Message("program_change", channel=channel, program=program)))
    for start, length, pitch in notes:
        timed.append((start, mido.Message("note_on", channel=channel, note=pitch, velocity=80)))
        timed.append((start + length, mido.Message("note_off", channel=channel, note=pitch)))
    timed.sort(key=lambda pair: (pair[0], pair[1].type != "note_off"))
    track, last = mido.MidiTrack(), 0
    for start, message in timed:
        track.append(message.copy(time=round(start * TICKS) - last))
        last = round(start * TICKS)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = mido.MidiFile(ticks_per_beat=TICKS)
    file.tracks.append(track)
    file.save(path)
    return path


def scale(quarters: int, low: int = 60) -> list[tuple[float, float, int]]:
    """Eighths up and down C major."""
    steps = (0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2, 0, 0)
    return [(i / 2, 0.5, low + steps[i % 16]) for i in range(2 * quarters)]


def make_library(folder: Path) -> dict[str, tuple[str, ...]]:
    """One file for each collection that clips are made from."""
    write_midi(folder / "cre/jig.mid", scale(48), metre=(6, 8))
    write_midi(folder / "openscore_lieder/song.mid", scale(64), program=52)
    write_midi(folder / "openscore_quartets/quartet.mid", scale(64), program=40)
    write_midi(folder / "freedoom/game.mid", scale(64, 48), program=30)
    write_midi(folder / "groove/rock.mid", [(i / 2, 0.1, (36, 42, 38, 42)[i % 4]) for i in range(128)], channel=9)
    return {path.parent.name: (path.relative_to(folder).as_posix(),) for path in sorted(folder.rglob("*.mid"))}


def write_musicxml(path: Path, measures: str) -> Path:
    """A compressed MusicXML file with one part, a clarinet in B flat."""
    parts = '<part-list><score-part id="P1"><midi-instrument id="i"><midi-program>72</midi-program></midi-instrument>'
    text = f'<score-partwise>{parts}</score-part></part-list><part id="P1">{measures}</part></score-partwise>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr("score.xml", text)
    return path

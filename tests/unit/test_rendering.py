"""Laws of the renderer: files are read as they sound, arrangements fit, effects do what they say, seeds decide."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mido", reason="the renderer of the release corpus reads MIDI with mido")

from tests.unit.scores import make_library, rendering, scale, write_midi, write_musicxml


@pytest.fixture
def renderer(monkeypatch: pytest.MonkeyPatch) -> Any:
    return rendering(monkeypatch)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_midi_is_read(renderer: Any, tmp_path: Path) -> None:
    notes = [(0.0, 1.0, 60), (1.0, 0.5, 64), (1.0, 2.0, 67)]
    path = write_midi(tmp_path / "a.mid", notes, program=40, metre=(6, 8), tempi=((0.0, 90.0),))
    score = renderer.tunes.read_score(path)
    assert score.bar == 3 and score.tempo == pytest.approx(90, abs=1e-3)
    (part,) = score.parts
    assert (part.program, part.drums) == (40, False)
    assert [(n.start, n.length, n.pitch, n.velocity) for n in part.notes] == [
        (0.0, 1.0, 60, 80),
        (1.0, 0.5, 64, 80),
        (1.0, 2.0, 67, 80),
    ]


def test_a_change_of_tempo_stretches_quarters(renderer: Any, tmp_path: Path) -> None:
    notes = [(i, 1.0, 60 + int(i)) for i in np.arange(4.0)]
    path = write_midi(tmp_path / "a.mid", notes, tempi=((0.0, 120.0), (2.0, 60.0)))
    starts = [note.start for note in renderer.tunes.read_score(path).parts[0].notes]
    assert starts == pytest.approx([0, 1, 2, 4])


def test_drums_are_drums_and_have_length(renderer: Any, tmp_path: Path) -> None:
    score = renderer.tunes.read_score(write_midi(tmp_path / "a.mid", [(0.0, 0.01, 36), (1.0, 0.01, 38)], channel=9))
    assert score.parts[0].drums and [note.length for note in score.parts[0].notes] == [0.05, 0.05]


@pytest.mark.parametrize("data", [b"", b"MThd", b"<html>", bytes(range(256))], ids=["empty", "head", "html", "noise"])
@pytest.mark.parametrize("suffix", [".mid", ".mxl"])
def test_damaged_files_are_named(renderer: Any, tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="broken"):
        renderer.tunes.read_score(path)


def test_musicxml_is_read(renderer: Any, tmp_path: Path) -> None:
    def note(step: str, length: int, inside: str = "") -> str:
        pitch = f"<pitch><step>{step}</step><octave>4</octave></pitch>"
        return f"<note>{inside}{pitch}<duration>{length}</duration></note>"

    tied, untied = '<tie type="start"/>', '<tie type="stop"/>'
    first = (
        "<measure><attributes><divisions>2</divisions><time><beats>3</beats><beat-type>4</beat-type></time>"
        "<transpose><chromatic>-2</chromatic></transpose></attributes><sound tempo='72'/>"
        f"{note('D', 2)}{note('F', 2, '<chord/>')}<note><rest/><duration>2</duration></note>"
        f"{note('E', 2, tied)}<backup><duration>6</duration></backup>{note('A', 6)}"
        f"{note('G', 0, '<grace/>')}</measure>"
    )
    second = f"<measure>{note('E', 4, untied)}{note('C', 2)}</measure>"
    score = renderer.tunes.read_score(write_musicxml(tmp_path / "a.mxl", first + second))
    assert (score.bar, score.tempo, score.parts[0].program) == (3, 72, 71)
    assert [(n.start, n.length, n.pitch) for n in score.parts[0].notes] == [
        (0, 1, 60),
        (0, 1, 63),
        (0, 3, 67),
        (2, 3, 62),
        (5, 1, 58),
    ]


@pytest.mark.parametrize("upbeat", [0.0, 0.5, 1.0])
def test_upbeat_is_found(renderer: Any, upbeat: float) -> None:
    note = renderer.score.Note
    pickup = [note(0.0, upbeat, 67)] if upbeat else []
    tune = [note(upbeat + 4 * bar + place, size, 60) for bar in range(8) for place, size in ((0, 2.0), (2.5, 0.5))]
    assert renderer.tunes.downbeat(pickup + tune, 4.0) == upbeat


def test_excerpts(renderer: Any) -> None:
    note = renderer.score.Note
    tune = [note(float(i), 1.0, 60 + i) for i in range(4)]
    assert [n.pitch for n in renderer.tunes.cut(tune, 1.0, 2.0)] == [61, 62]
    assert [(n.start, n.pitch) for n in renderer.tunes.looped(tune, 4.0, 6.0)][4:] == [(4.0, 60), (5.0, 61)]


def test_key_and_chords_of_a_scale(renderer: Any) -> None:
    tune = [renderer.score.Note(*values) for values in scale(32)]
    tonic, steps = renderer.harmony.find_key(tune)
    assert (tonic, steps) == (0, renderer.harmony.SCALES["major"])
    chords = renderer.harmony.harmonise(tune, 4.0, rng())
    assert {pitch for chord in chords for pitch in chord.classes} <= set(steps)
    assert [chord.start for chord in chords] == [0, 4, 8, 12, 16, 20, 24, 28]


def test_voicings_lie_around_their_centre(renderer: Any) -> None:
    for centre in range(48, 72):
        pitches = renderer.accompany.voicing((0, 4, 7, 10), centre)
        assert {pitch % 12 for pitch in pitches} == {0, 4, 7, 10} and max(abs(p - centre) for p in pitches) <= 6


@pytest.mark.parametrize("bar", [2.0, 3.0, 4.0, 4.5, 6.0])
def test_accompaniments_stay_in_time_and_harmony(renderer: Any, bar: float) -> None:
    accompany, chord = renderer.accompany, renderer.harmony.Chord
    chords = [chord(i * bar, bar, ((0, 4, 7), (5, 9, 0), (7, 11, 2))[i % 3]) for i in range(6)]
    for seed in range(30):
        bass = accompany.bass_line(rng(seed), chords, bar)
        comping = accompany.chord_part(rng(seed), chords, bar)
        drums = accompany.drum_pattern(rng(seed), bar, 6 * bar)
        assert bass and comping and drums
        assert all(0 <= n.start < 6 * bar + 0.2 and n.length > 0 for n in bass + comping)
        assert {n.pitch for n in bass if n.start % bar == 0} <= {p for p in range(28, 60) if p % 12 in (0, 5, 7)}
        for note in comping:  # a strum of up to 0.2 quarters may reach into the next chord
            around = (chords[int(max(time, 0.0) // bar) % 6].classes for time in (note.start, note.start - 0.21))
            assert note.pitch % 12 in {pitch for classes in around for pitch in classes}


def test_parts_fit_their_instruments(renderer: Any) -> None:
    for program in range(112):
        part = renderer.score.Part([renderer.score.Note(0.0, 1.0, pitch) for pitch in range(20, 110, 3)], program)
        classes = [note.pitch % 12 for note in part.notes]
        low, high = renderer.instruments.range_of(part)
        fitted = renderer.instruments.fit_range(part)
        assert [note.pitch % 12 for note in fitted.notes] == classes
        assert all(low - 6 <= note.pitch <= high + 6 for note in fitted.notes)


def test_oscillators_are_in_tune_and_do_not_alias(renderer: Any) -> None:
    patch = renderer.score.Patch((0.5,) * 32, (0.5,) * 32, 1.0, 0.01, 1.0, 1.0, 0.1, 0.0, 0.0)
    for pitch in (45, 69, 93):
        sound = renderer.oscillators.play_note(patch, renderer.score.Note(0.0, 1.0, pitch), 2.0, 32_000)[:64_000]
        spectrum = np.abs(np.fft.rfft(sound * np.blackman(len(sound))))  # bins of 0.5 Hz
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        harmonics = np.arange(1, int(16_000 / frequency) + 1) * frequency
        bins = np.arange(len(spectrum)) / 2
        far = np.abs(bins[:, None] - harmonics).min(1) > 20
        assert spectrum[far].max() < 0.02 * spectrum.max()
        assert abs(bins[np.argmax(spectrum * (bins < 1.5 * frequency))] - frequency) < 0.6


def test_finished_clips_have_level_and_no_constant_part(renderer: Any) -> None:
    sound = 0.1 * rng().standard_normal(32_000 * 4) + 0.3
    for seed in range(40):
        clip = renderer.effects.finish(sound, rng(seed))
        assert len(clip) == 64_000 and np.abs(clip).max() <= renderer.effects.PEAK
        assert -30 < 20 * np.log10(clip.std()) < -13
        assert abs(clip.mean()) < 1e-3


def test_silence_stays_finite(renderer: Any) -> None:
    for seed in range(20):
        assert np.isfinite(renderer.effects.finish(np.zeros(32_000), rng(seed))).all()


def test_compressor_brings_loud_and_quiet_together(renderer: Any) -> None:
    noise = rng().standard_normal(32_000) * np.repeat([0.01, 0.3], 16_000)
    for seed in range(10):
        pressed = renderer.effects.compress(noise, rng(seed))
        assert pressed[20_000:].std() / pressed[:12_000].std() < 0.8 * 30


def test_room_goes_on_after_the_sound(renderer: Any) -> None:
    click = np.zeros(16_000)
    click[100] = 1.0
    for seed in range(10):
        wet = renderer.effects.reverberate(click, rng(seed))
        assert np.square(wet[200:3000]).sum() > 1e-4 and np.abs(wet[:100]).max() < 1e-9


def clicks(soundfont: str, score: Any, seconds: float, cents: float) -> np.ndarray:
    """Stands for a synthesizer: a decaying click per note, other ones for other instruments."""
    sound = np.zeros(int(seconds * 32_000) + 4000)
    decay = np.exp(-np.arange(4000) / 800)
    for part in score.parts:
        tone = decay * np.sin(np.arange(4000) * (0.02 + 0.001 * part.program + len(soundfont) / 1000 + cents / 1e5))
        for note in part.notes:
            begin = int(note.start * 60 / score.tempo * 32_000)
            if begin < seconds * 32_000:
                sound[begin : begin + 4000] += part.level * note.velocity / 127 * tone[: len(sound) - begin]
    return sound[: int(seconds * 32_000)]


def test_clips_follow_from_seed_and_number(renderer: Any, tmp_path: Path) -> None:
    library = renderer.clip.Library(tmp_path, make_library(tmp_path), ("a.sf2", "b.sf3"))
    first = {number: renderer.clip.render_clip(library, 7, number, clicks) for number in range(16)}
    for number in (5, 0, 12):  # in another order
        again = renderer.clip.render_clip(library, 7, number, clicks)
        assert np.array_equal(again.samples, first[number].samples) and again.pieces == first[number].pieces
        other = renderer.clip.render_clip(library, 8, number, clicks)
        assert not np.array_equal(other.samples[:16_000], first[number].samples[:16_000])
    assert len({clip.kind for clip in first.values()}) >= 4 and {c.soundfont for c in first.values()} == {
        "a.sf2",
        "b.sf3",
    }
    assert np.std([np.log(clip.tempo) for clip in first.values()]) > 0.2
    for number, clip in first.items():
        assert len(clip.samples) == round(16_000 * renderer.clip.duration_of(7, number))
        assert 20 <= len(clip.samples) / 16_000 <= 40
        assert np.abs(clip.samples[[0, -1]]).max() == 0 and np.isfinite(clip.samples).all()


def test_kinds_of_clip_are_as_frequent_as_they_should_be(renderer: Any) -> None:
    assert sum(share for share, _ in renderer.clip.KINDS.values()) == pytest.approx(1)
    lengths = [renderer.clip.duration_of(0, number) for number in range(2000)]
    assert np.mean(lengths) == pytest.approx(30, abs=0.5)


def test_silent_clips_are_refused(renderer: Any, tmp_path: Path) -> None:
    library = renderer.clip.Library(tmp_path, make_library(tmp_path), ("a.sf2",))
    with pytest.raises(ValueError, match="clip 3 of seed 7: silent"):
        renderer.clip.render_clip(library, 7, 3, lambda font, score, seconds, cents: np.zeros(int(seconds * 32_000)))


@pytest.mark.slow
def test_a_sound_font_plays_the_same_after_anything(renderer: Any) -> None:
    folder = os.environ.get("MUSICPASE_SOUNDFONTS")
    if not folder:
        pytest.skip("MUSICPASE_SOUNDFONTS names no folder with the sound fonts of scripts/rendering/soundfonts.py")
    synth = pytest.importorskip("rendering.synth", reason="needs tinysoundfont")
    note, part, score = renderer.score.Note, renderer.score.Part, renderer.score.Score
    tune = score(
        [part([note(float(i) / 2, 0.5, 60 + i) for i in range(8)], 40), part([note(0.0, 1.0, 36)], drums=True)]
    )
    noise = score([part([note(float(i) / 4, 4.0, 40 + i) for i in range(16)], program) for program in (19, 48, 90)])
    for path in renderer.soundfonts.find_soundfonts(Path(folder)).values():
        player = synth.Player(path)
        first = player.play(tune, 3.0)
        player.play(noise, 2.0)
        assert np.array_equal(player.play(tune, 3.0), first) and first.std() > 1e-3
        sharp = player.play(score([part([note(0.0, 4.0, 69)], 73)]), 2.0, cents=100.0)[16_000:]
        spectrum = np.abs(np.fft.rfft(sharp * np.hanning(len(sharp))))[: 700 * len(sharp) // 32_000]
        assert np.argmax(spectrum) * 32_000 / len(sharp) == pytest.approx(466.16, abs=4)

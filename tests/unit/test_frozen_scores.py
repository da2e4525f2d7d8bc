"""The model card's table: sets read as published, scores that choose nothing on test clips, a cache that is right."""

import csv
import importlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from musicpase.errors import ConfigError
from musicpase.labelled import Clip
from tests.unit.models import small_folder
from tests.unit.test_probe import SOUNDS, sound

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}")


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


def module(name: str) -> ModuleType:
    return importlib.import_module(f"frozen_{name}")


def toy(test_labels: NDArray[Any] | None = None) -> Any:
    """60 clips of 3 classes: 36 to train on, 24 to test on in groups of two."""
    sets = module("sets")
    labels = np.arange(60) % 3
    if test_labels is not None:
        labels[36:] = test_labels
    clips = [Clip(Path(f"{i:02d}"), "", "train" if i < 36 else "test", f"g{i // 2}") for i in range(60)]
    none = np.array([], int)
    return sets.ScoreSet("toy", tuple(clips), (sets.Task(labels, np.arange(36), none, np.arange(36, 60)),), False)


def rows_of(one: Any, noise: float) -> Any:
    labels = np.arange(60) % 3
    rows = np.eye(3, 8)[labels] + noise * np.random.default_rng(0).normal(size=(60, 8))
    return rows.astype(np.float32)


def test_a_perfect_representation_scores_one_everywhere() -> None:
    protocol = module("protocol")
    one = toy()
    found = {"perfect": [protocol.predict_all(one, rows_of(one, 0.01)[:, :3])]}  # the other columns are noise
    numbers = protocol.summaries(one, found, ("perfect",))["perfect"]
    assert numbers["macro_f1"] == numbers["accuracy"] == 1
    assert numbers["interval"] == [1, 1]
    assert numbers["trials"] == {"mean": 1, "std": 0}
    assert protocol.references(one)["majority_accuracy"] == pytest.approx(1 / 3)
    assert protocol.references(one)["chance_macro_f1"] == pytest.approx(1 / 3, abs=0.05)


def test_test_labels_change_no_prediction() -> None:
    protocol = module("protocol")
    one, other = toy(), toy(np.arange(24) % 2)
    rows = rows_of(one, 1.0)
    assert protocol.predict_all(one, rows) == protocol.predict_all(other, rows)


def test_strength_is_chosen_on_all_clips_to_fit_and_keeps_groups_together() -> None:
    protocol = module("protocol")
    one = toy()
    task = replace(one.tasks[0], train=np.arange(30), valid=np.arange(30, 36))
    seen = np.zeros(36, int)
    for rest, fold in protocol.problem(one, task, rows_of(one, 1.0)).splits:
        assert not set(rest // 2) & set(fold // 2)  # the toy's groups are pairs
        seen[fold] += 1
    assert (seen == 1).all()


def test_trials_are_drawn_from_the_fitted_clips_of_each_class() -> None:
    protocol = module("protocol")
    one = toy()
    draws = [protocol.redrawn(one, one.tasks[0], trial) for trial in range(3)]
    for drawn in draws:
        assert set(drawn) < set(range(36))
        assert Counter(one.tasks[0].labels[drawn].tolist()) == {0: 12, 1: 12, 2: 12}
        assert 15 <= len(set(drawn)) <= 30  # 63 % of 36 is 23
    assert not np.array_equal(np.sort(draws[0]), np.sort(draws[1]))


def test_clips_of_a_group_are_resampled_together() -> None:
    """Labels come in pairs that are right or wrong together: the interval must be as wide as 12 coins make it."""
    protocol = module("protocol")
    one = toy()
    draws = list(protocol.resamples(one))
    for (drawn,) in draws[:50]:
        counts = np.bincount(drawn, minlength=24)
        assert (counts[::2] == counts[1::2]).all()
        assert counts.sum() == 24
    single = replace(one, clips=tuple(replace(clip, group=clip.path.name) for clip in one.clips))
    true = one.tasks[0].labels[36:]
    predicted = [np.where(np.arange(24) // 2 % 2, true, (true + 1) % 3).tolist()]
    wide, narrow = (
        np.std(protocol.macro_of_draws(each, predicted, list(protocol.resamples(each)))) for each in (one, single)
    )
    assert 1.2 < wide / narrow < 1.6  # the square root of two


def test_several_members_count_as_their_mean() -> None:
    protocol = module("protocol")
    one = toy()
    good, bad = (protocol.predict_all(one, rows_of(one, noise)) for noise in (0.01, 3.0))
    numbers = protocol.summaries(one, {"both": [good, bad], "bad": [bad]}, ("bad",))
    assert numbers["both"]["by_member"][0] == 1
    assert numbers["both"]["macro_f1"] == pytest.approx((1 + numbers["bad"]["macro_f1"]) / 2)
    low, high = numbers["both"]["ahead_of"]["bad"]
    assert 0 < low < (1 - numbers["bad"]["macro_f1"]) / 2 < high
    assert numbers["bad"]["ahead_of"] == {}


def write_tones(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for split in ("train", "test"):
            for label in SOUNDS:
                for number in range(3):
                    name = f"{split}{label}{number}.wav"
                    soundfile.write(folder / name, sound(label, rng), 16_000)
                    writer.writerow((name, label, split))


def test_a_second_run_computes_nothing_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = module("scores")
    monkeypatch.setattr(module("protocol"), "RESAMPLES", 20)
    model = small_folder(tmp_path / "model")
    monkeypatch.setattr(scores, "untrained", lambda seed, precision: scores.trained(str(model), precision))
    write_tones(tmp_path / "labelled" / "mridangam")
    first, second, table = (tmp_path / name for name in ("1.json", "2.json", "table.md"))
    arguments = ["--data", str(tmp_path), "--sets", "mridangam", "--seeds", "0", "--cache", str(tmp_path / "c")]
    assert scores.main([str(model), *arguments, "-o", str(first), "--markdown", str(table)]) == 0

    def no_audio(clips: object) -> Iterator[Any]:
        raise AssertionError("decoded again")

    monkeypatch.setattr(scores, "read_clips", no_audio)
    scores.main([str(model), *arguments, "-o", str(second)])
    assert first.read_bytes() == second.read_bytes()
    found = json.loads(first.read_text())["sets"]["mridangam"]
    assert found["clips"] == {"train": 9, "valid": 0, "test": 9}
    assert found["representations"]["MFCC statistics"]["macro_f1"] == 1
    baselines = {"MFCC mean, deviation", "MFCC statistics", "untrained encoder"}
    assert set(found["representations"]) == {*baselines, str(model)}
    assert set(found["representations"][str(model)]["ahead_of"]) == {"MFCC statistics", "untrained encoder"}
    assert "| mridangam | 9 / 9 | 3 | 0.3" in table.read_text()
    with pytest.raises(AssertionError, match="decoded again"):  # other audio is other content
        soundfile.write(tmp_path / "labelled" / "mridangam" / "testlow0.wav", np.zeros(4000), 16_000)
        scores.main([str(model), *arguments, "-o", str(second)])


def test_moments_over_time(tmp_path: Path) -> None:
    scores, model = module("scores"), str(small_folder(tmp_path / "model"))
    clips = [np.random.default_rng(seed).normal(0, 0.1, 1600 * (seed + 1)).astype(np.float32) for seed in range(2)]
    plain = scores.trained(model, "fp32")
    both = scores.trained(model, "fp32", deviations=True)
    rows, width = both.embed(clips), plain.embed(clips).shape[1]
    assert rows.shape == (2, 2 * width) and both.identity != plain.identity
    np.testing.assert_allclose(rows[:, :width], plain.embed(clips), rtol=1e-5)
    assert (rows[:, width:] > 0).all()


def test_clips_at_one_level(tmp_path: Path) -> None:
    scores = module("scores")
    plain = scores.trained(str(small_folder(tmp_path / "model")), "fp32")
    level = scores.at_one_level(plain)
    loud = np.random.default_rng(0).normal(0, 0.1, 1600).astype(np.float32)
    rows = level.embed([loud, 0.01 * loud, 0 * loud])
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(rows[2], plain.embed([0 * loud])[0])
    first, second = plain.embed([loud, 0.01 * loud])
    assert level.identity != plain.identity and not np.allclose(first, second, rtol=1e-4, atol=1e-5)


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in module("sets").SETS:
        with pytest.raises(ConfigError, match=str(tmp_path)):
            module("sets").open_set(name, tmp_path)


@needs_data
@pytest.mark.parametrize(
    ("name", "clips", "classes", "tasks"),
    [
        ("extended-ballroom", (373, 87, 80), 9, 1),
        ("fma-small", (288, 48, 64), 8, 1),
        ("openmic-2018", (450, 0, 150), 2, 20),
        ("esc10", (238, 80, 80), 10, 1),
        ("olpc_sources", (710, 182, 301), 13, 1),
        ("mridangam", (54, 0, 77), 13, 1),
        ("artist_id", (342, 81, 156), 10, 1),
    ],
)
def test_sets_are_read_as_they_are_described(name: str, clips: tuple[int, ...], classes: int, tasks: int) -> None:
    one = module("sets").open_set(name, DATA)
    assert all(clip.path.is_file() for clip in one.clips)
    assert tuple(sum(clip.split == split for clip in one.clips) for split in ("train", "valid", "test")) == clips
    assert len(one.tasks) == tasks
    groups = {split: {clip.group for clip in one.clips if clip.split == split} for split in ("train", "test")}
    assert not groups["train"] & groups["test"]
    for task in one.tasks:
        for part in (task.train, task.test):
            assert len(np.unique(task.labels[part])) == classes
        for part, split in ((task.train, "train"), (task.valid, "valid"), (task.test, "test")):
            assert {one.clips[position].split for position in part} <= {split}


@needs_data
def test_openmic_labels_are_those_of_the_clips() -> None:
    """The arrays against the instruments that each clip was rendered with."""
    sets = module("sets")
    one = sets.open_set("openmic-2018", DATA)
    with (DATA / "mini" / "provenance_openmic.csv").open() as file:
        present = {row["clip"]: row["present"].split("|") for row in csv.DictReader(file)}
    names = json.loads((DATA / "mini" / "openmic-2018" / "class-map.json").read_text())
    agree = [
        one.tasks[column].labels[position] == (name in present[one.clips[position].path.stem])
        for name, column in names.items()
        for position in (*one.tasks[column].train, *one.tasks[column].test)
    ]
    assert np.mean(agree) > 0.95

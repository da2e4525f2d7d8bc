"""Supervised, frozen, fine-tuned: what learns, what stays, what the test clips see."""

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from musicpase.baselines import random_encoder
from musicpase.downstream.fitting import FitSettings
from musicpase.downstream.scenarios import EndToEnd, train_end_to_end, try_frozen
from musicpase.downstream.sounds import Sounds, keep_sounds
from musicpase.downstream.task import Split, Task, single, split_task
from musicpase.errors import ConfigError, ModelError
from musicpase.labelled import Clip
from tests.unit.models import SMALL

SETTINGS = EndToEnd(FitSettings(learning_rate=3e-3, max_epochs=12, batch_size=8), crop_seconds=0.25)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Sounds, Split]:
    """Low tones and noise, of different lengths."""
    folder = tmp_path_factory.mktemp("heard")
    rng = np.random.default_rng(0)
    clips = []
    for number in range(40):
        samples = rng.normal(0, 0.1, 4_000 + 250 * (number % 7))
        if number % 2:
            samples = 0.2 * np.sin(2 * np.pi * rng.uniform(150, 300) / 16_000 * np.arange(len(samples)))
        path = folder / f"{number:02d}.wav"
        soundfile.write(path, samples, 16_000)
        clips.append(
            Clip(
                path, "tone" if number % 2 else "noise", ("train", "train", "valid", "test")[number // 10], path.name
            )
        )
    task = single("heard", clips)
    return task, keep_sounds(clips, folder / "cache", workers=0), split_task(task, 0)


def accuracy(task: Task, split: Split, scores: NDArray[np.float32]) -> float:
    return float((scores.argmax(1) == task.targets[split.test]).mean())


def test_encoder_and_head_learn_together(heard: tuple[Task, Sounds, Split]) -> None:
    task, sounds, split = heard
    module = random_encoder(0, SMALL)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    told: list[int] = []
    scores, epochs, loss = train_end_to_end(task, sounds, module, split, SETTINGS, 0, told.append)
    assert sum(told) % len(split.train) == 0 and epochs <= sum(told) / len(split.train) <= 12
    assert accuracy(task, split, scores) >= 0.9
    assert 1 <= epochs <= 12 and 0 < loss < 0.6
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    changed = {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}
    assert {key for key, _ in module.named_parameters()} <= changed


def test_the_seed_decides(heard: tuple[Task, Sounds, Split]) -> None:
    task, sounds, split = heard
    short = EndToEnd(FitSettings(max_epochs=1, batch_size=8), crop_seconds=0.25)
    one, same, other = (
        train_end_to_end(task, sounds, random_encoder(0, SMALL), split, short, s)[0] for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_weights_of_the_best_epoch_are_tested(heard: tuple[Task, Sounds, Split]) -> None:
    task, sounds, split = heard
    wild = EndToEnd(FitSettings(learning_rate=0.05, max_epochs=8, batch_size=8), crop_seconds=0.25)
    scores, epochs, _ = train_end_to_end(task, sounds, random_encoder(0, SMALL), split, wild, 0)
    assert epochs < 8  # else this shows nothing
    until = EndToEnd(FitSettings(learning_rate=0.05, max_epochs=epochs, batch_size=8), crop_seconds=0.25)
    np.testing.assert_array_equal(
        scores, train_end_to_end(task, sounds, random_encoder(0, SMALL), split, until, 0)[0]
    )


def test_a_lost_training_is_said(heard: tuple[Task, Sounds, Split]) -> None:
    task, sounds, split = heard
    lost = EndToEnd(FitSettings(learning_rate=1e30, max_epochs=3, batch_size=8), crop_seconds=0.25)
    with pytest.raises(ModelError, match=r"heard: the validation loss is (nan|inf) after epoch"):
        train_end_to_end(task, sounds, random_encoder(0, SMALL), split, lost, 0)
    with pytest.raises(ConfigError, match="fp16 is for embedding alone"):
        EndToEnd(precision="fp16")


def test_frozen_vectors_are_classified(heard: tuple[Task, Sounds, Split]) -> None:
    task, _, split = heard
    rng = np.random.default_rng(1)
    rows = (task.targets[:, None] + rng.normal(0, 0.2, (40, 5))).astype(np.float32)
    scores, _, _ = try_frozen(task, rows, split, FitSettings(), 0)
    assert accuracy(task, split, scores) == 1.0
    rows[split.test] = 0.5 + rng.normal(0, 1e-3, (10, 5))  # the test clips decide nothing but their own scores
    unsure, _, _ = try_frozen(task, rows, split, FitSettings(), 0)
    assert np.ptp(unsure[:, 0]) < 0.1

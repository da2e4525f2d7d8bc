"""A run that was stopped anywhere and continued ends with the bytes of one that was not."""

import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from musicpase.errors import ConfigError
from musicpase.pretrain import loop
from musicpase.pretrain.checkpoint import Position, load_checkpoint, save_checkpoint
from musicpase.pretrain.ground import prepare
from musicpase.pretrain.log import Log
from musicpase.pretrain.model import Pretraining
from musicpase.pretrain.state import begin_phase, plan, restore, tensors_of
from tests.small_runs import ALONE, narrow, results, rows, small_recipe, train_into, write_corpus, write_labels

EVERYTHING: Mapping[str, Mapping[str, Any]] = {
    "model": {"workers": "WM"},
    "data": {"crops_per_epoch": 12},
    "training": {
        "ema": 0.8,
        "checkpoint_steps": 2,
        "schedule": "cosine",
        "warmup_steps": 2,
        "clip_norm": 1.0,
        "weight_decay": 0.01,
        "precision": "fp32",
    },
    "weighting": {"mode": "reweighted", "equal_epochs": 2},
    "augmentation": {"transpose": 0.5, "gain": 0.5, "mix": 0.5, "filter": 0.5, "reverberation": 0.5, "level": 0.5},
    "probe": {"every": 2},
}
UNCERTAIN: Mapping[str, Mapping[str, Any]] = {
    "model": {"workers": "LM", "encoder": "pase"},
    "training": {"precision": "bf16", "checkpoint_steps": 1, "patience": 1, "epochs": 3, "learning_rate": 0.01},
    "weighting": {"mode": "uncertainty"},
    "augmentation": {"gain": 1.0},
}


class StoppedError(Exception):
    """What a kill is here."""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    narrow(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Stop before the so many-th of all passes and all writing."""
    events = itertools.count(1)

    def stopping(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(events) == number:
                raise StoppedError(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    for owner, name in (
        (Pretraining, "forward"),
        (Log, "losses"),
        (Log, "probe"),
        (loop, "save_model"),
        (loop, "save_checkpoint"),
    ):
        stopping(owner, name)


@pytest.mark.parametrize("sections", [EVERYTHING, UNCERTAIN], ids=["everything", "uncertain"])
def test_stopped_anywhere_it_continues_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: Mapping[str, Mapping[str, Any]]
) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    labels = str(write_labels(tmp_path / "tones"))
    recipe = small_recipe(**{**sections, "probe": {**sections.get("probe", {}), "labels": labels}})
    whole = results(train_into(tmp_path / "whole", recipe, corpus))
    chosen = random.Random(0)
    stopped_in: list[str] = []
    while len(stopped_in) < 50:
        with monkeypatch.context() as patched:
            stop_at(patched, chosen.randint(3, 9))
            try:
                train_into(tmp_path / "stopped", recipe, corpus)
                break
            except StoppedError as error:
                stopped_in.append(str(error))
    assert 4 <= len(stopped_in) < 50
    assert results(tmp_path / "stopped") == whole
    assert results(train_into(tmp_path / "stopped", recipe, corpus)) == whole  # and once more, with nothing to do


def test_what_a_run_is_made_of_matters(tmp_path: Path) -> None:
    """Else equal bytes would mean nothing."""
    corpus = write_corpus(tmp_path / "corpus")
    labels = str(write_labels(tmp_path / "tones"))
    sections = {**UNCERTAIN, "probe": {"labels": labels}}
    seeds = [sections, {**sections, "training": {**UNCERTAIN["training"], "seed": 1}}]
    first, second = (
        results(train_into(tmp_path / str(number), small_recipe(**changed), corpus))
        for number, changed in enumerate(seeds)
    )
    for name in ("log.csv", "model/model.safetensors", "model/workers.safetensors", ".model.encoder.W.weight"):
        assert first[name] != second[name], name


def test_a_run_begins_with_its_baselines_and_probes_in_turn(tmp_path: Path) -> None:
    labels = str(write_labels(tmp_path / "tones"))
    recipe = small_recipe(probe={"labels": labels, "every": 2}, training={"epochs": 5})
    folder = train_into(tmp_path / "run", recipe, write_corpus(tmp_path / "corpus"))
    probed = [(row["phase"], row["epoch"], row["set"], row["representation"]) for row in rows(folder / "probe.csv")]
    assert probed == [
        ("", "0", "tones", "random"),
        ("", "0", "tones", "mfcc"),
        ("equal", "2", "tones", "encoder"),
        ("equal", "4", "tones", "encoder"),
    ]


def test_a_checkpoint_holds_what_was_put_in(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    position = Position(1, 2, 3, {"lps": 0.1 + 0.2}, 1 / 3, 2, [{"lps": 1 / 7}], {"lps": 7.0})
    tensors: dict[str, Any] = {
        "model": {"a": torch.randn(3)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}},
    }
    save_checkpoint(tmp_path, position, tensors)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0] == position
    assert torch.equal(loaded[1]["model"]["a"], tensors["model"]["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_loss_scale_is_taken_up_again(tmp_path: Path) -> None:
    """Of fp16, which only a GPU trains in."""
    recipe, corpus = small_recipe(), write_corpus(tmp_path / "corpus")
    ground = prepare(recipe, corpus, tmp_path, ALONE)
    saved, fresh = (begin_phase(ground, plan(recipe)[0], Position()) for _ in range(2))
    saved.scaler, fresh.scaler = torch.amp.GradScaler("cpu", 1024.0), torch.amp.GradScaler("cpu")
    restore(fresh, tensors_of(saved))
    assert fresh.scaler.state_dict()["scale"] == 1024.0


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"nothing of the kind", None])
def test_a_damaged_checkpoint_says_so(tmp_path: Path, damage: bytes | None) -> None:
    save_checkpoint(tmp_path, Position(), {"model": {"a": torch.zeros(3000)}})
    path = tmp_path / "checkpoint.pt"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(ConfigError, match=r"checkpoint\.pt is damaged or of another version .* --overwrite"):
        load_checkpoint(tmp_path)
    torch.save({"format": 99, "position": {}}, path)
    with pytest.raises(ConfigError, match="of another version"):
        load_checkpoint(tmp_path)
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match="of another version"):
        load_checkpoint(tmp_path)

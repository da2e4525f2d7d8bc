"""What `musicpase train` promises: its folder, its messages, and that a killed run goes on as if nothing had been."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from musicpase.pretrain import run as run_module
from musicpase.pretrain.corpus import Corpus
from musicpase.pretrain.recipe import read_recipe
from musicpase.pretrain.run import open_run
from tests.cli.conftest import Run, interruptible, tone
from tests.small_runs import narrow, results, rows, small_tracks, state_of, write_corpus, write_labels, write_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)
    write_corpus(tmp_path / "corpus")
    write_recipe(tmp_path / "small.toml")


def test_a_run(run: Run, tmp_path: Path) -> None:
    write_labels(tmp_path / "tones")
    (tmp_path / "recipes").mkdir()
    write_recipe(tmp_path / "recipes" / "probed.toml", probe={"labels": "../tones/labels.csv"})
    outcome = run("train", "recipes/probed.toml")
    assert (outcome.code, outcome.out) == (0, ""), outcome.err
    first, second, last = outcome.lines
    assert first.startswith("musicpase: equal 1/2: loss ")
    assert second.startswith("musicpase: equal 2/2: loss ")
    assert last == (
        "musicpase: trained runs/probed/model (musicpase embed songs/ -o emb.npy --model runs/probed/model)"
    )
    folder = tmp_path / "runs" / "probed"
    names = [".lock", "checkpoint.pt", "curves.png", "log.csv", "model", "probe.csv", "run.json", "tensorboard"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert sorted(path.name for path in (folder / "model").iterdir()) == [
        "config.json", "model.safetensors", "workers.safetensors",
    ]  # fmt: skip
    about = json.loads((folder / "run.json").read_text())
    assert about["recipe"]["training"]["learning_rate"] == 0.001  # a default: the recipe is resolved
    assert about["recipe"]["training"]["batch_size"] == 4
    assert about["recipe"]["probe"]["labels"] == "../tones/labels.csv"
    assert str(tmp_path) not in (folder / "run.json").read_text()
    assert about["corpus"] == Corpus.open("corpus").fingerprint
    assert about["corpus_tracks"] == 7
    assert about["versions"]["torch"] == torch.__version__
    assert about["git_revision"] is None or len(about["git_revision"].rstrip("+")) == 40
    assert len(rows(folder / "probe.csv")) == 4


def test_a_run_goes_on_where_it_was_moved_to(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_labels(tmp_path / "tones")
    write_recipe(tmp_path / "probed.toml", probe={"labels": "tones/labels.csv"})
    assert run("train", "probed.toml", "-o", "run", "--quiet").code == 0
    assert run("train", "small.toml", "-o", "named", "--probe", "tones/labels.csv", "--quiet").code == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("run", "named", "tones", "corpus", "probed.toml", "small.toml"):
        (tmp_path / name).rename(elsewhere / name)
    monkeypatch.chdir(elsewhere)
    assert run("train", "probed.toml", "-o", "run", "--resume", "--quiet").lines == []
    assert run("train", "small.toml", "-o", "named", "--probe", "tones/labels.csv", "--resume").code == 0
    for name in ("run", "named"):
        about = json.loads((elsewhere / name / "run.json").read_text())
        assert about["recipe"]["probe"]["labels"] == "tones/labels.csv"
        assert len(rows(elsewhere / name / "probe.csv")) == 4


def test_a_recipe_of_the_package(run: Run, tmp_path: Path) -> None:
    outcome = run("train", "tiny", "--corpus", "corpus")  # its crops of 1 s do not fit into these tracks
    assert (outcome.code, "has no track of 1 s in one of its splits" in outcome.err) == (2, True)
    assert (tmp_path / "runs" / "tiny" / "run.json").exists()
    outcome = run("train", "tinny")
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert outcome.err.startswith(
        "musicpase: error: no recipe is called 'tinny' (did you mean 'tiny'?): there are adapt, pase,"
    )


def test_the_model_embeds_and_is_drawn(run: Run, tmp_path: Path) -> None:
    assert run("train", "small.toml", "-o", "run", "--quiet").err == ""
    tone(tmp_path / "songs" / "a.wav", 1.0)
    assert run("embed", "songs", "-o", "emb.npy", "--model", "run/model").code == 0
    matrix = np.load("emb.npy")
    assert matrix.shape == (1, 8)
    assert np.isfinite(matrix).all()
    outcome = run("features", "songs/a.wav", "--model", "run/model", "-o", "a.png")
    assert (outcome.code, Path("a.png").exists()) == (0, True), outcome.err


def test_a_run_is_not_replaced_unasked(run: Run, tmp_path: Path) -> None:
    def trained() -> Any:
        return state_of(tmp_path / "run")["model"]["encoder.W.weight"]

    assert run("train", "small.toml", "-o", "run", "--quiet").code == 0
    first = trained()
    outcome = run("train", "small.toml", "-o", "run")
    assert outcome.code == 2
    assert outcome.lines == [
        "musicpase: error: run holds a run: continue it with --resume, or replace it with --overwrite"
    ]
    before = (tmp_path / "run" / "log.csv").read_bytes()
    outcome = run("train", "small.toml", "-o", "run", "--resume")
    assert (outcome.code, len(outcome.lines)) == (0, 1)
    assert (tmp_path / "run" / "log.csv").read_bytes() == before

    write_recipe(tmp_path / "other.toml", training={"seed": 1})
    outcome = run("train", "other.toml", "-o", "run", "--resume")
    assert (outcome.code, outcome.lines) == (
        2,
        [
            "musicpase: error: run holds a run with another recipe (training.seed was 0, now it is 1): use another "
            "folder, or --overwrite"
        ],
    )
    tracks = small_tracks()
    tracks["a.wav"][1][0] += 1
    write_corpus(tmp_path / "changed", tracks)
    outcome = run("train", "small.toml", "-o", "run", "--resume", "--corpus", "changed")
    assert (outcome.code, "run holds a run with another corpus: use another folder" in outcome.err) == (2, True)
    assert torch.equal(trained(), first)
    outcome = run("train", "other.toml", "-o", "run", "--resume", "--overwrite")
    assert (outcome.code, "choose one" in outcome.err) == (2, True)

    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert run("train", "other.toml", "-o", "run", "--overwrite", "--quiet").code == 0
    assert not torch.equal(trained(), first)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert len(rows(tmp_path / "run" / "log.csv")) == 4
    (tmp_path / "run" / "run.json").write_text("{}")
    outcome = run("train", "other.toml", "-o", "run", "--resume")
    assert (outcome.code, "a damaged run.json (KeyError)" in outcome.err) == (2, True)


def test_a_run_that_has_ended_goes_on_for_more_epochs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"schedule": "cosine", "warmup_steps": 2}
    write_recipe(tmp_path / "short.toml", training={**training, "epochs": 1})
    write_recipe(tmp_path / "long.toml", training={**training, "epochs": 3, "cycles": 3})
    write_recipe(tmp_path / "slow.toml", training={**training, "epochs": 3})
    write_labels(tmp_path / "tones")
    probe = ("--probe", "tones/labels.csv", "--quiet")
    assert run("train", "long.toml", "-o", "whole", *probe).code == 0
    assert run("train", "short.toml", "-o", "run", *probe).code == 0
    first = json.loads((tmp_path / "run" / "run.json").read_text())
    outcome = run("train", "slow.toml", "-o", "run", "--resume", *probe)
    assert (outcome.code, "(training.epochs was 1, now it is 3)" in outcome.err) == (2, True)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "versions", lambda: {"musicpase": "9.9"})
        assert run("train", "long.toml", "-o", "run", "--resume", *probe).code == 0
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["recipe"] == json.loads((tmp_path / "whole" / "run.json").read_text())["recipe"]
    assert about["versions"] == first["versions"]
    went_on = {"git_revision": first["git_revision"], "versions": {"musicpase": "9.9"}}
    assert about["resumed_by"] == [went_on]
    assert run("train", "short.toml", "-o", "run", "--resume", *probe).code == 2  # what is done stays done
    assert run("train", "long.toml", "-o", "run", "--resume", *probe).code == 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["resumed_by"][0] == went_on
    assert about["resumed_by"][1:] == [{key: first[key] for key in ("git_revision", "versions")}]


def test_a_run_starts_with_the_weights_that_its_recipe_names(run: Run, tmp_path: Path) -> None:
    """Seen after a step of next to nothing: the encoder's weights are the other run's, the workers' are new."""
    write_recipe(tmp_path / "first.toml")
    still = {"epochs": 1, "learning_rate": 1e-12}
    start = {"start": "runs/first/model"}
    for mode in ("equal", "reweighted"):
        weighting = {"mode": mode, "equal_epochs": 1}
        write_recipe(tmp_path / f"{mode}.toml", model=start, training=still, weighting=weighting)
    write_recipe(tmp_path / "random.toml", training=still)
    outcome = run("train", "equal.toml", "--quiet")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1) and "runs/first/model" in outcome.err
    for name in ("first", "equal", "reweighted", "random"):
        assert run("train", f"{name}.toml", "--quiet").code == 0

    def weights(name: str, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
        found = load_file(tmp_path / "runs" / name / "model" / file)
        return {key: tensor for key, tensor in found.items() if not re.search("running|batches", key)}  # which move

    first, random = weights("first"), weights("random")
    for name in ("equal", "reweighted"):
        begun = weights(name)
        assert all(torch.allclose(begun[key].float(), first[key].float(), atol=1e-6) for key in first)
        assert not all(torch.allclose(begun[key].float(), random[key].float(), atol=1e-3) for key in first)
        heads, new = weights(name, "workers.safetensors"), weights("random", "workers.safetensors")
        assert all(torch.allclose(heads[key].float(), new[key].float(), atol=1e-3) for key in new)
        kept = tmp_path / "runs" / name / "start" / "model.safetensors"
        assert kept.read_bytes() == (tmp_path / "runs/first/model/model.safetensors").read_bytes()
        about = json.loads((tmp_path / "runs" / name / "run.json").read_text())
        assert about["start_sha256"] == hashlib.sha256(kept.read_bytes()).hexdigest()


def test_a_run_keeps_the_weights_that_it_starts_with(run: Run, tmp_path: Path) -> None:
    write_recipe(tmp_path / "first.toml")
    write_recipe(tmp_path / "second.toml", model={"start": "runs/first/model"}, training={"epochs": 1})
    write_recipe(tmp_path / "longer.toml", model={"start": "runs/first/model"}, training={"epochs": 2})
    write_recipe(tmp_path / "pase.toml", model={"start": "runs/first/model", "encoder": "pase"})
    for name in ("first", "second", "longer"):
        assert run("train", f"{name}.toml", "--quiet").code == 0
    before = (tmp_path / "runs/first/model/model.safetensors").read_bytes()
    outcome = run("train", "pase.toml", "-o", "runs/first", "--overwrite", "--quiet")
    assert outcome.code == 2 and "another encoder than the recipe's" in outcome.err
    assert (tmp_path / "runs/first/model/model.safetensors").read_bytes() == before
    (tmp_path / "runs/first").rename(tmp_path / "gone")
    assert run("train", "longer.toml", "-o", "runs/second", "--resume", "--quiet").code == 0
    second, longer = (tmp_path / "runs" / name / "model/model.safetensors" for name in ("second", "longer"))
    assert second.read_bytes() == longer.read_bytes()
    (tmp_path / "gone").rename(tmp_path / "runs/first")
    again = write_recipe(tmp_path / "again.toml", model={"start": "runs/first/model"})
    assert run("train", str(again), "-o", "runs/first", "--overwrite", "--quiet").code == 0
    assert (tmp_path / "runs/first/start/model.safetensors").read_bytes() == before


def test_a_run_of_an_older_version_goes_on(run: Run, tmp_path: Path) -> None:
    assert run("train", "small.toml", "-o", "run", "--quiet").code == 0
    path = tmp_path / "run" / "run.json"
    about = json.loads(path.read_text())
    del about["recipe"]["training"]["cycles"]  # a key that it did not have yet, at what is its default now
    path.write_text(json.dumps(about))
    assert run("train", "small.toml", "-o", "run", "--resume", "--quiet").code == 0
    assert json.loads(path.read_text())["recipe"]["training"]["cycles"] == 1


def test_a_run_without_a_checkpoint_begins_anew(run: Run, tmp_path: Path) -> None:
    write_recipe(tmp_path / "bad.toml", training={"batch_size": 13})
    outcome = run("train", "bad.toml", "-o", "run")
    assert (outcome.code, "fewer crops than a batch of 13" in outcome.err) == (2, True)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "run.json"}
    assert run("train", "small.toml", "-o", "run", "--quiet").code == 0  # the recipe was mended
    run_json = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run_json["recipe"]["training"]["batch_size"] == 4
    assert run("train", "small.toml", "-o", "new", "--resume", "--quiet").code == 0  # nothing to resume: it starts


@pytest.mark.parametrize("flags", [[], ["--resume"], ["--overwrite"]])
def test_what_no_run_has_left_is_kept(run: Run, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.txt").write_text("mine")
    outcome = run("train", "small.toml", "-o", ".", *flags)
    assert (outcome.code, "model is there, but no run (run.json): use another folder" in outcome.err) == (2, True)
    assert (tmp_path / "model" / "precious.txt").read_text() == "mine"


def test_one_process_at_a_time(run: Run, tmp_path: Path) -> None:
    recipe, corpus, folder = read_recipe(tmp_path / "small.toml"), Corpus.open(tmp_path / "corpus"), tmp_path / "run"
    with open_run(folder, recipe, corpus, resume=False, overwrite=False):
        for flags in ([], ["--resume"], ["--overwrite"]):
            outcome = run("train", "small.toml", "-o", "run", *flags)
            assert (outcome.code, "another run is writing run: wait for it" in outcome.err) == (2, True)
    assert run("train", "small.toml", "-o", "run", "--quiet").code == 0


def test_mistakes_are_one_line_and_2(run: Run, tmp_path: Path) -> None:
    write_recipe(tmp_path / "probed.toml", probe={"labels": "gone/labels.csv"})
    write_recipe(tmp_path / "typo.toml", training={"epoch": 1})
    (tmp_path / "file").write_text("")
    for args, says in (
        (["small.toml", "--corpus", "nowhere"], "make one with `musicpase corpus DIR -o nowhere`"),
        (["none.toml"], "cannot read the recipe none.toml: No such file"),
        (["typo.toml"], "[training] has no key 'epoch'; did you mean 'epochs'?"),
        (["probed.toml"], "gone/labels.csv are not there: name another labels.csv with --probe, or --probe none"),
        (["small.toml", "--probe", "nope.csv"], "nope.csv are not there"),
        (["small.toml", "-o", "file"], "cannot write file: File exists"),
        (["small.toml", "-o", "file/run"], "cannot write file/run: Not a directory"),
    ):
        outcome = run("train", *args)
        assert (outcome.code, len(outcome.lines)) == (2, 1), outcome.err
        assert says in outcome.err, outcome.err
    assert not (tmp_path / "runs").exists()
    assert run("train", "probed.toml", "--probe", "none", "--quiet").code == 0
    assert not (tmp_path / "runs" / "probed" / "probe.csv").exists()


def test_a_run_that_blows_up_stops_and_keeps_its_last_good_state(run: Run, tmp_path: Path) -> None:
    write_recipe(tmp_path / "wild.toml", training={"learning_rate": 1e30, "checkpoint_steps": 1})
    outcome = run("train", "wild.toml", "-o", "run")
    assert outcome.code == 2
    (line,) = outcome.lines
    assert line.startswith("musicpase: error: the loss of worker 'lps' is nan at step 1 of phase 'equal' (")
    assert ".wav from " in line
    assert "lower training.learning_rate" in line
    state = state_of(tmp_path / "run")
    assert (state["position"]["epoch"], state["position"]["batch"]) == (0, 1)
    assert all(value.isfinite().all() for value in state["model"].values())


def started(folder: Path, *args: str) -> "subprocess.Popen[str]":
    """`musicpase train` with the narrow encoder, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.small_runs", "train", *args],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=interruptible,
    )


def stop_after(process: "subprocess.Popen[str]", log: Path, row: str, delay_s: float, sent: signal.Signals) -> int:
    """Send a signal a moment after a row of the log; the exit code."""
    while process.poll() is None and not (log.exists() and row in log.read_text()):
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(sent)
    _, err = process.communicate()
    assert "Traceback" not in err
    if sent == signal.SIGINT:
        assert err.splitlines()[-1] == "musicpase: interrupted"
    return process.returncode


ALL: Mapping[str, Mapping[str, Any]] = {
    "model": {"workers": "WM"},
    "data": {"crops_per_epoch": 48},
    "training": {"ema": 0.9, "checkpoint_steps": 3, "schedule": "cosine", "precision": "bf16", "epochs": 3},
    "weighting": {"mode": "reweighted", "equal_epochs": 3},
    "augmentation": {"gain": 0.5, "mix": 0.5, "filter": 0.5},
    "probe": {"labels": "tones/labels.csv"},
}
MOMENTS = [
    ("equal,1,", signal.SIGINT),
    ("equal,3,", signal.SIGKILL),  # about where the second phase begins
    ("reweighted,1,", signal.SIGTERM),
    ("reweighted,2,", signal.SIGKILL),
]


@pytest.mark.parametrize("kills", [MOMENTS[:2], pytest.param(MOMENTS, marks=pytest.mark.slow)], ids=len)
def test_a_killed_run_continues_to_the_same_bytes(
    run: Run, tmp_path: Path, kills: list[tuple[str, signal.Signals]]
) -> None:
    write_labels(tmp_path / "tones")
    write_recipe(tmp_path / "all.toml", **ALL)
    chosen = random.Random()
    codes = []
    for row, sent in kills:
        process = started(tmp_path, "all.toml", "-o", "killed", "--resume")
        codes.append(stop_after(process, tmp_path / "killed" / "log.csv", row, chosen.uniform(0, 0.2), sent))
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert codes == [expected[sent] for _, sent in kills]
    process = started(tmp_path, "all.toml", "-o", "killed", "--resume")
    _, err = process.communicate()
    assert process.returncode == 0, err
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert run("train", "all.toml", "-o", "whole", "--quiet").code == 0
    finally:
        torch.set_num_threads(threads)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    leftovers = {path.name for path in (tmp_path / "killed").iterdir()}
    assert leftovers == {path.name for path in (tmp_path / "whole").iterdir()}

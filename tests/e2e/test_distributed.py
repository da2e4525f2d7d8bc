"""Two processes under torchrun on this machine train as one would."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from musicpase.pretrain.corpus import Corpus
from tests.e2e.team_member import CASES, case_recipe, gradients
from tests.small_runs import ALONE, flat, narrow, results, rows, state_of, write_corpus, write_recipe

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """Start two processes of a module."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FIRST_PORT": str(free_port())}
    return subprocess.run(
        [*command, *args], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes of `team_member.py` have written."""
    folder = tmp_path_factory.mktemp("together")
    write_corpus(folder / "corpus")
    done = torchrun(folder, "tests.e2e.team_member", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_those_of_one_process(
    together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, str]
) -> None:
    """Batch norms count over a process's own share; where they do not count at all, over nothing."""
    narrow(monkeypatch)
    corpus, recipe = Corpus.open(together / "corpus"), case_recipe(*case)
    found = [torch.load(together / f"rank{rank}.pt") for rank in (0, 1)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def alone(crops: slice, *, norms_count: bool) -> dict[str, torch.Tensor]:
        return gradients(recipe, corpus, tmp_path, ALONE, crops, norms_count=norms_count)

    try:
        halves = [alone(crops, norms_count=True) for crops in (slice(0, 2), slice(2, 4))]
        whole = alone(slice(0, 4), norms_count=False)
    finally:
        torch.set_num_threads(threads)
    for name, gradient in whole.items():
        mean = (halves[0][name] + halves[1][name]) / 2
        for expected, norms_count in ((mean, True), (gradient, False)):
            ours, theirs = (part[f"{case} {norms_count}"][name] for part in found)
            assert torch.equal(ours, theirs), name
            scale = max(float(expected.norm()), 1e-3)  # biases before a norm have no gradient but rounding
            assert float((ours - expected).norm()) < 1e-4 * scale, (name, norms_count)
    assert found[0].keys() == found[1].keys()
    assert all(f"{case} {norms_count}" in found[0] for norms_count in (True, False))


def test_scalars_are_averaged_and_statistics_aligned(together: Path) -> None:
    for rank in (0, 1):
        found = torch.load(together / f"rank{rank}.pt")
        assert found["mean"] == {"a": 1.5, "b": 5.0}
        assert found["aligned"].tolist() == [5.0, 5.0]


def test_both_processes_end_with_the_same_weights(together: Path) -> None:
    first, second = (torch.load(together / f"last{rank}.pt") for rank in (0, 1))
    saved = state_of(together / "whole")
    for key in ("model", "average"):
        for name, value in first[key].items():
            # the first one's running statistics are those that count; they are aligned before each validation
            assert torch.equal(value, second[key][name]) or (key == "model" and "running" in name), (key, name)
            assert torch.equal(value, saved[key][name]), (key, name)
    assert flat(first["optimizer"]) == flat(second["optimizer"])


def test_stopped_together_they_continue_to_the_same_bytes(together: Path) -> None:
    for folder in ("whole", "stopped"):
        (together / folder / "probe.csv").touch()
    assert results(together / "stopped") == results(together / "whole")
    assert len(rows(together / "whole" / "log.csv")) == 6


def test_the_command_under_torchrun(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    write_recipe(tmp_path / "small.toml")
    done = torchrun(tmp_path, "tests.small_runs", "train", "small.toml", "-o", "run", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("musicpase: ")]
    assert [line.partition(" loss")[0] for line in said[:2]] == ["musicpase: equal 1/2:", "musicpase: equal 2/2:"]
    assert len(said) == 3
    assert [row["split"] for row in rows(tmp_path / "run" / "log.csv")] == ["train", "valid"] * 2
    names = [".lock", "checkpoint.pt", "curves.png", "log.csv", "model", "run.json", "tensorboard"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == names


def test_a_batch_that_two_cannot_share(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    write_recipe(tmp_path / "odd.toml", training={"batch_size": 3})
    done = torchrun(tmp_path, "tests.small_runs", "train", "odd.toml", "-o", "run", "--device", "cpu")
    assert done.returncode != 0
    assert "musicpase: error: training.batch_size is 3: 2 processes cannot share it evenly" in done.stderr
    assert not (tmp_path / "run").exists()

"""`embed --engine ray` as a user meets it before any cluster is asked: one clear line each."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from musicpase.distributed import client
from tests.cli.conftest import Run
from tests.heads import write_head


@pytest.fixture
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Ray were installed; what must not be reached is what connects to it."""
    monkeypatch.setattr(client, "check_ray", lambda: None)
    monkeypatch.setattr(client, "Driver", None)


def test_without_ray_the_command_says_what_to_install(run: Run, songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    outcome = run("embed", songs, "-o", "out", "--engine", "ray")
    assert (outcome.code, outcome.lines) == (
        2,
        ['musicpase: error: --engine ray needs Ray: pip install "musicpase[ray]"'],
    )
    assert not Path("out").exists()


@pytest.mark.parametrize("option", [["--actors", "2"], ["--address", "auto"], ["--gpus-per-actor", "1"]])
def test_options_of_a_cluster_without_one(run: Run, songs: Path, option: list[str]) -> None:
    outcome = run("embed", songs, "-o", "emb.npy", *option)
    assert (outcome.code, outcome.lines) == (2, [f"musicpase: error: {option[0]} goes with --engine ray"])


def test_only_a_cluster_writes_to_a_url(run: Run, songs: Path) -> None:
    outcome = run("embed", songs, "-o", "s3://bucket/out")
    assert (outcome.code, outcome.lines) == (
        2,
        ["musicpase: error: s3://bucket/out: only --engine ray writes to a URL"],
    )


def file(name: str) -> Callable[[], object]:
    return lambda: Path(name).write_bytes(b"")


def shards() -> None:
    Path("out").mkdir()
    Path("out/part-00000.parquet").write_bytes(b"of an earlier run")


@pytest.mark.parametrize(
    "args, before, said",
    [
        (["-o", "out", "--frames"], None, "--frames does not go with --engine ray: use --shard i/n on each machine"),
        (
            ["-o", "out", "--device", "cuda"],
            None,
            "--device does not go with --engine ray: --gpus-per-actor says whether GPUs are used",
        ),
        (["-o", "e.npy"], None, "e.npy: --engine ray writes a folder of Parquet shards, so name a folder"),
        (["-o", "l.csv"], None, "l.csv: --engine ray writes a folder of Parquet shards, so name a folder"),
        (["-o", "out"], file("out"), "out: --engine ray writes a folder of Parquet shards, so name a folder"),
        (["-o", "no/out"], None, "cannot write no/out: there is no folder no"),
        (
            ["-o", "https://example.org/out"],
            None,
            "https://example.org/out: nothing can be written there: name a local folder, or s3://bucket/folder",
        ),
        (["-o", "s3://"], None, "s3:// names no bucket"),
        (
            ["-o", "out"],
            shards,
            "out holds rows of another run: --resume continues it, --overwrite removes them",
        ),
        (
            ["-o", "out", "--model", "none"],
            None,
            "none: no such model (there are: paseplus-music, paseplus-untrained), nor a file or folder of that name",
        ),
        (
            ["-o", "out", "--batch-seconds", "0"],
            None,
            "batch-seconds is 0: it must lie between 0.25 and 2000",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_a_cluster_is_asked(
    run: Run, songs: Path, with_ray: None, args: list[str], before: Callable[[], object] | None, said: str
) -> None:
    if before is not None:
        before()
    there = Path("out").exists()
    outcome = run("embed", songs, "--engine", "ray", *args)
    assert (outcome.code, outcome.lines) == (2, [f"musicpase: error: {said}"])
    assert Path("out").exists() == there


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["emb.npy", "-o", "out"], "emb.npy holds embeddings: classify it without --engine ray"),
        (["songs", "-o", "out"], "head greek belongs to "),
        (["songs", "-o", "out", "--top", "0"], None),
    ],
)
def test_labels_that_cannot_be_are_refused_before_a_cluster_is_asked(
    run: Run, songs: Path, with_ray: None, tiny: Path, tmp_path: Path, args: list[str], said: str | None
) -> None:
    head = write_head(tmp_path / "greek", tiny)
    outcome = run("classify", *args, "--head", head, "--engine", "ray", "--model", "paseplus-untrained")
    assert outcome.code == 2 and not Path("out").exists()
    if said is not None:
        assert outcome.lines[-1].startswith(f"musicpase: error: {said}")


def test_a_cluster_that_does_not_answer(run: Run, songs: Path, tiny: Path) -> None:
    pytest.importorskip("ray", reason='Ray is missing: pip install "musicpase[ray]"')
    outcome = run("embed", songs, "--engine", "ray", "-o", "out", "--model", tiny, "--address", "127.0.0.1:1")
    said = "musicpase: error: --address 127.0.0.1:1: no Ray cluster answers there (Connection refused)"
    assert (outcome.code, outcome.lines) == (2, [said])
    assert not Path("out").exists()

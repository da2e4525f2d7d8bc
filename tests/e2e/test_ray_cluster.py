"""`embed --engine ray` on a cluster of three nodes: nothing is lost, nothing twice, whoever is killed in mid-run."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pytest

from musicpase.downstream.task import Kind
from tests.cli.conftest import tone
from tests.e2e.test_real_music import MUSIC, pieces
from tests.heads import write_head

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason='Ray is missing: pip install "musicpase[ray]"'
    ),
]

TONES, BAD, REAL = 80, 10, 10
QUICK = {
    "RAY_worker_niceness": "0",  # Ray's own default, 15, lets whatever else the machine does go first
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
LOCAL = "from musicpase.cli import main; main()"
SMALL_SHARDS = f"from musicpase.distributed import shards; shards.SHARD_ROWS = 5; {LOCAL}"


class Nodes:
    """The cluster."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, **QUICK, "RAY_TMPDIR": str(folder)}
        self.address = ""
        self.alive: list[int] = []
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            text=True,
        )

    def _ask(self, *words: object) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(*words, file=self._process.stdin, flush=True)
        command, address = self._process.stdout.readline().split()
        assert command == words[0]
        return address

    def add(self, *environment: str) -> int:
        """Start a node; returns its number."""
        self.address = self._ask("add", *environment)
        self.alive.append(self._count)
        self._count += 1
        return self._count - 1

    def kill(self, number: int) -> None:
        """End a node's processes by SIGKILL."""
        self.alive.remove(number)
        self._ask("kill", number)

    def close(self) -> None:
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def embed(self, cwd: Path, *args: str | Path, code: str = LOCAL) -> "subprocess.Popen[str]":
        """Start `musicpase embed ARGS --engine ray` on the cluster."""
        return self.start(cwd, "embed", *args, code=code)

    def start(self, cwd: Path, *args: str | Path, code: str = LOCAL) -> "subprocess.Popen[str]":
        """Start `musicpase ARGS --engine ray` on the cluster."""
        command = [sys.executable, "-c", code, *map(str, args), "--engine", "ray", "--address", self.address]
        return subprocess.Popen(command, cwd=cwd, env=self.environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: the path of a socket has 107 bytes at most
    nodes = Nodes(folder)
    try:
        yield nodes
    finally:
        nodes.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """Three nodes that are well."""
    while len(cluster.alive) < 3:
        cluster.add()
    return cluster


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds of many lengths, real music where there is some, and files that are none, all over the list."""
    folder = tmp_path_factory.mktemp("music")
    for number in range(TONES):
        tone(folder / f"{number:02d}.wav", 2 + number % 7 * 2.5, 100 + 13 * number, 16000 if number % 3 else 44100)
    for number in range(BAD):
        (folder / f"{number * 8:02d}x.wav").write_bytes(b"")
    for number, piece in enumerate(pieces(REAL) if MUSIC.is_dir() else ()):
        shutil.copy(piece, folder / f"{number * 8:02d}y{piece.suffix}")
    return folder


def options(tiny: Path) -> tuple[str | Path, ...]:
    return ("--model", tiny, "--precision", "fp32", "--batch-seconds", "1", "--workers", "1")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, music: Path, tiny: Path) -> Path:
    """What the engine of one machine makes of it."""
    path = tmp_path_factory.mktemp("local") / "local.parquet"
    command = [sys.executable, "-m", "musicpase", "embed", str(music), "-o", str(path), *map(str, options(tiny))]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    return path


def read_until(stream: IO[str] | None, word: str) -> list[str]:
    """Lines up to one with this word."""
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"{word!r} does not come: {lines}")


def rows_of(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path).sort_values("input", kind="stable").reset_index(drop=True)


def assert_equal(ours: Path, local: Path) -> None:
    """The same files in the same places, values equal within 1e-5 of their RMS, the same failures."""
    theirs, rows = rows_of(local), rows_of(ours)
    assert rows["input"].is_unique
    assert [Path(path).name for path in rows["path"]] == [Path(path).name for path in theirs["path"]]
    for column in ("input", "duration_s", "frames"):
        assert rows[column].equals(theirs[column]), column
    a, b = np.stack(list(rows["embedding"])), np.stack(list(theirs["embedding"]))
    assert np.abs(a - b).max() <= 1e-5 * np.sqrt(np.mean(b**2))
    failed = [pd.read_csv(path) for path in (ours / "_failed.csv", local.with_suffix(".failed.csv"))]
    assert failed[0][["input", "reason"]].equals(failed[1][["input", "reason"]])


@pytest.mark.parametrize("which, added", [(1, False), (2, True)])
def test_a_node_is_killed_in_mid_run(
    tmp_path: Path, music: Path, local: Path, tiny: Path, nodes: Nodes, which: int, added: bool
) -> None:
    """Its batches are done by the others, or by a node that joins. The model's folder is not there for any node."""
    model = shutil.copytree(tiny, tmp_path / "model")
    with nodes.embed(tmp_path, music, "-o", "out", *options(model)) as run:
        said = read_until(run.stderr, "on 3 actors of 3 nodes")
        shutil.rmtree(model)
        said += read_until(run.stderr, "skipped")
        nodes.kill(nodes.alive[which])
        if added:
            nodes.add()
        said += run.stderr or ()
    assert run.returncode == 1, said
    assert_equal(tmp_path / "out", local)
    files = len(rows_of(local))
    assert f"{files} embedded, {BAD} skipped, 0 ignored, {files + BAD} found" in said[-1]
    assert len(said) == BAD + 2  # every failure once, and nothing of Ray's


def test_the_command_is_killed_and_stopped_and_what_is_done_is_not_done_again(
    tmp_path: Path, music: Path, local: Path, tiny: Path, nodes: Nodes
) -> None:
    songs = shutil.copytree(music, tmp_path / "songs")
    out = tmp_path / "out"
    args = (songs, "-o", out, *options(tiny))
    with nodes.embed(tmp_path, *args, code=SMALL_SHARDS) as run:
        while len(list(out.glob("part-*.parquet"))) < 2:
            assert run.poll() is None
            time.sleep(0.05)
        run.kill()
    first = spoil(out)
    kept = len(list(out.glob("part-*.parquet")))
    with nodes.embed(tmp_path, *args, "--resume", code=SMALL_SHARDS) as run:
        while len(list(out.glob("part-*.parquet"))) <= kept:
            assert run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        said = list(run.stderr or ())
    assert run.returncode == 130, said
    assert f"musicpase: stopped; the same command with --resume continues {out}\n" in said
    second = spoil(out)
    with nodes.embed(tmp_path, *args, "--resume") as run:
        said = list(run.stderr or ())
    assert run.returncode == 1, said
    assert 10 <= len(first) < len(second) < len(rows_of(local))
    assert_equal(out, local)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_labels_are_those_of_one_machine(tmp_path: Path, music: Path, tiny: Path, nodes: Nodes, kind: Kind) -> None:
    head = write_head(tmp_path / "greek", tiny, kind)
    args = ("classify", music, "--head", head, *options(tiny))
    subprocess.run(
        [sys.executable, "-m", "musicpase", *map(str, args), "-o", tmp_path / "local.parquet"], check=False
    )
    with nodes.start(tmp_path, *args, "-o", "out") as run:
        said = list(run.stderr or ())
    assert run.returncode == 1 and f"classified, {BAD} skipped" in said[-1], said
    theirs, ours = pd.read_parquet(tmp_path / "local.parquet"), rows_of(tmp_path / "out")
    for column in ("path", "label"):
        assert ours[column].equals(theirs[column])
    assert np.allclose(ours["probability"], theirs["probability"], atol=2e-6, equal_nan=True)  # 6 digits are written


def spoil(out: Path) -> set[str]:
    """Put noise into the files whose rows are there, so that it would show if they were read again."""
    done = set(rows_of(out)["path"])
    for path in map(Path, done):
        stat = path.stat()
        path.write_bytes(bytes(stat.st_size))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return done


@pytest.mark.parametrize(
    "package, said",
    [
        ('__version__ = "0.0.9"', "has musicpase 0.0.9, this machine "),
        (
            'raise ModuleNotFoundError("No module named musicpase", name="musicpase")',
            "has no musicpase: pip install ",
        ),
    ],
)
def test_a_node_with_another_version_or_none(
    tmp_path: Path, music: Path, tiny: Path, nodes: Nodes, package: str, said: str
) -> None:
    """One line that names it, before any work; nothing is left behind."""
    (tmp_path / "packages" / "musicpase").mkdir(parents=True)
    (tmp_path / "packages" / "musicpase" / "__init__.py").write_text(package + "\n")
    other = nodes.add(f"PYTHONPATH={tmp_path / 'packages'}")
    try:
        with nodes.embed(tmp_path, music, "-o", "out", *options(tiny)) as run:
            lines = list(run.stderr or ())
    finally:
        nodes.kill(other)
    assert run.returncode == 2
    assert len(lines) == 1 and lines[0].startswith("musicpase: error: node ") and said in lines[0], lines
    assert not (tmp_path / "out").exists()

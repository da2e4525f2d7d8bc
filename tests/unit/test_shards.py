"""Shards of a distributed run: every input once, whatever Ray delivers and wherever a run was stopped."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from musicpase import audio
from musicpase.config import EncoderConfig
from musicpase.distributed import shards
from musicpase.distributed.actor import to_table
from musicpase.distributed.shards import ShardSink
from musicpase.distributed.store import Store
from musicpase.errors import OutputError
from musicpase.inference.outputs import Row, Table, write_table
from musicpase.inference.pipeline import Failure, Result
from musicpase.inference.sinks import Job

WIDTH = 3
SETTINGS = {"model": "m", "pooling": "mean", "sha256": False, "shard": None}


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    """Five files; what is in them is not looked at."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.wav").write_bytes(bytes(number + 1))
    return sorted(folder.iterdir())


def job(files: Sequence[Path | str], **settings: Any) -> Job:
    """A run over some files, and one input that was no file."""
    sources = [audio.Source(os.fspath(file), "") for file in files]
    failed = [(len(files), "pipe", "not a regular file (FIFO)")]
    counts = {"found": len(files) + 1, "ignored": 0}
    config = EncoderConfig()
    return Job(sources, range(len(files)), failed, {**SETTINGS, **settings}, counts, config, WIDTH)


def result(file: Path | str, value: float, rows: int = 1) -> Result:
    """As an actor gives it; the stat is that of the file now."""
    spans = tuple((number * 1.0, number + 1.0) for number in range(rows)) if rows > 1 else ()
    try:
        now = Path(file).stat()
        stat = (now.st_size, now.st_mtime_ns)
    except OSError:  # a URL
        stat = None
    values = np.full((rows, WIDTH), value, np.float32)
    return Result(0, os.fspath(file), values, 100, 1.0, spans, ("odd",) if value == 4 else (), None, stat)


def block(files: Sequence[Path], numbers: Sequence[int], value: Callable[[int], float] = float) -> pa.Table:
    return to_table(numbers, [result(files[number], value(number)) for number in numbers])


def sink(work: Job, folder: Path, *, resume: bool = False) -> ShardSink:
    return ShardSink(work, Store(os.fspath(folder)), shards.embeddings(WIDTH), resume=resume)


def complete(files: Sequence[Path], folder: Path, **settings: Any) -> None:
    """A finished run of three shards: 0 and 1; 2; 3; and 4 failed."""
    ours = sink(job(files, **settings), folder)
    assert ours.begin() == list(range(len(files)))
    for numbers in ([1, 0], [2], [3]):
        ours.add(block(files, numbers))
        ours.flush()
    ours.add(to_table([4], [Failure(0, "", "empty file")]))
    ours.finish()


def rows_of(folder: Path) -> dict[int, list[Any]]:
    """Input -> path and first number of its vector; every input once."""
    lines = [line for path in sorted(folder.glob("*.parquet")) for line in parquet.read_table(path).to_pylist()]
    rows = {line["input"]: [Path(line["path"]).name, line["embedding"][0]] for line in lines}
    assert len(rows) == len(lines)
    return dict(sorted(rows.items()))


def test_shards_have_the_columns_of_a_local_run_and_by_what_changes_are_known(
    tmp_path: Path, songs: list[Path]
) -> None:
    for pooling, row in (
        ("mean", Row(0, "a", 1.0, 100, sha256="x")),
        ("segments", Row(0, "a", 1.0, 100, 0.0, 1.0, "x")),
    ):
        table = Table([row], lambda: [np.zeros((1, WIDTH), np.float32)], [], {}, WIDTH)
        write_table(tmp_path / "local.parquet", table)
        local = parquet.read_schema(tmp_path / "local.parquet")
        ours = shards.schema_of(job(songs, pooling=pooling, sha256=True), shards.embeddings(WIDTH))
        assert [field for field in ours if field.name not in ("size", "mtime_ns")] == list(local)
        assert json.loads(ours.metadata[b"musicpase"])["pooling"] == pooling


def test_a_finished_folder(tmp_path: Path, songs: list[Path]) -> None:
    complete(songs, tmp_path / "out")
    assert rows_of(tmp_path / "out") == {n: [f"{n}.wav", n] for n in range(4)}
    failed = f"input,path,reason\n4,{songs[4]},empty file\n5,pipe,not a regular file (FIFO)\n"
    assert (tmp_path / "out" / "_failed.csv").read_text() == failed
    provenance = json.loads((tmp_path / "out" / "_provenance.json").read_text())
    assert provenance == {**SETTINGS, "found": 6, "ignored": 0, "embedded": 4, "failed": 2}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"part-0000{n}.parquet" for n in range(3)),
        "_failed.csv",
        "_provenance.json",
    }
    assert parquet.read_table(tmp_path / "out").num_rows == 4  # as a data set: what is no shard is passed over


def test_segments_keep_their_times_and_their_order(tmp_path: Path, songs: list[Path]) -> None:
    ours = sink(job(songs[:3], pooling="segments"), tmp_path / "out")
    ours.begin()
    outcomes: list[Result | Failure] = [
        result(songs[0], 0.0, rows=2),
        Failure(0, "", "no"),
        result(songs[2], 2.0, rows=3),
    ]
    ours.add(to_table([0, 1, 2], outcomes))
    ours.finish()
    lines = parquet.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert [(line["input"], line["start_s"], line["end_s"]) for line in lines] == [
        *((0, n, n + 1) for n in range(2)),
        *((2, n, n + 1) for n in range(3)),
    ]
    assert [line["embedding"] for line in lines] == [[line["input"]] * WIDTH for line in lines]


def test_what_is_delivered_twice_is_taken_once(tmp_path: Path, songs: list[Path]) -> None:
    ours = sink(job(songs), tmp_path / "out")
    ours.begin()
    assert [news.source for news in ours.add(block(songs, [0, 1]))] == [0, 1]
    ours.flush()
    again = ours.add(block(songs, [1, 2, 0, 4], lambda n: n + 100.0))
    assert [(news.source, news.warnings) for news in again] == [(2, []), (4, [])]
    assert [source.path for _, source in ours.pending()] == [str(songs[3])]
    assert ours.add(block(songs, [0])) == []
    ours.add(to_table([3, 4], [Failure(0, "", "late"), Failure(0, "", "later")]))
    ours.finish()
    assert rows_of(tmp_path / "out") == {0: ["0.wav", 0], 1: ["1.wav", 1], 2: ["2.wav", 102], 4: ["4.wav", 104]}
    assert [(position, reason) for position, _, reason in ours.failed()] == [
        (3, "late"),
        (5, "not a regular file (FIFO)"),
    ]


def test_a_shard_is_written_when_it_is_full_or_its_rows_have_waited(
    tmp_path: Path, songs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    ours = sink(job(songs), tmp_path / "out")
    ours.begin()
    written = []
    for number in (0, 1, 2):
        ours.add(block(songs, [number]))
        written.append(sum(map(shards.is_shard, ours.store.names())))
    assert written == [0, 1, 1]
    monkeypatch.setattr(shards, "SHARD_ROWS", 100)
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + shards.SHARD_S)
    ours.add(block(songs, [3]))
    assert sum(map(shards.is_shard, ours.store.names())) == 2
    ours.close(remove=True)


def test_resuming_does_what_is_missing_or_has_changed(tmp_path: Path, songs: list[Path]) -> None:
    complete(songs, tmp_path / "out")
    untouched = (tmp_path / "out" / "part-00002.parquet").stat().st_mtime_ns
    os.utime(songs[1], ns=(1, 1))
    songs[2].write_bytes(b"longer than before")
    ours = sink(job(songs), tmp_path / "out", resume=True)
    assert ours.begin() == [1, 2, 4]  # those, and the one that had failed
    assert ours.resumed
    assert rows_of(tmp_path / "out") == {0: ["0.wav", 0], 3: ["3.wav", 3]}
    ours.add(block(songs, [1, 2, 4], lambda n: n + 10.0))
    ours.finish()
    assert rows_of(tmp_path / "out") == {n: [f"{n}.wav", n + 10 if n in (1, 2, 4) else n] for n in range(5)}
    assert (tmp_path / "out" / "part-00002.parquet").stat().st_mtime_ns == untouched


def test_resuming_with_other_inputs_numbers_the_rows_anew(tmp_path: Path, songs: list[Path]) -> None:
    complete(songs, tmp_path / "out")
    first = songs[0].with_name("00.wav")
    first.write_bytes(b"new")
    files = [first, songs[1], songs[2], songs[3]]
    ours = sink(job(files), tmp_path / "out", resume=True)
    assert ours.begin() == [0]
    ours.add(to_table([0], [result(first, 7.0)]))
    ours.finish()
    assert rows_of(tmp_path / "out") == {0: ["00.wav", 7], 1: ["1.wav", 1], 2: ["2.wav", 2], 3: ["3.wav", 3]}


def test_a_url_counts_as_unchanged(tmp_path: Path) -> None:
    urls = ["s3://b/0.wav", "s3://b/1.wav"]
    for pending in ([0, 1], []):
        ours = sink(job(urls), tmp_path / "out", resume=True)
        assert ours.begin() == pending
        ours.add(to_table(pending, [result(urls[number], number) for number in pending]))
        ours.finish()


def test_names_that_parquet_writes_alike_are_done_again_and_not_confused(tmp_path: Path, songs: list[Path]) -> None:
    names = [os.fsdecode(b"\xff.wav"), "\\udcff.wav", "ok.wav"]
    ours = sink(job(names), tmp_path / "out")
    ours.begin()
    ours.add(to_table([0, 1, 2], [result(name, number) for number, name in enumerate(names)]))
    ours.finish()
    again = sink(job(names), tmp_path / "out", resume=True)
    assert again.begin() == [0, 1]
    again.close(remove=True)


def test_without_resume_the_shards_are_removed_and_nothing_else(tmp_path: Path, songs: list[Path]) -> None:
    complete(songs, tmp_path / "out")
    (tmp_path / "out" / "mine.parquet").write_bytes(b"of the user")
    ours = sink(job(songs), tmp_path / "out")
    assert ours.begin() == [0, 1, 2, 3, 4]
    assert [name for name in ours.store.names() if name.endswith(".parquet")] == ["mine.parquet"]
    ours.close(remove=True)


@pytest.mark.parametrize("segments", [False, True])
def test_rows_of_another_content(tmp_path: Path, songs: list[Path], segments: bool) -> None:
    """A vector may become any number of rows; those of one input stay together, and are taken over together."""

    def make(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
        counts = vectors[:, 0].astype(np.int64)
        return counts, {"number": pa.array(np.concatenate([np.arange(count) for count in counts]))}

    content = shards.Content(WIDTH, [("number", pa.int64())], make)
    work = job(songs, pooling="segments" if segments else "mean")
    for resume in (False, True):
        ours = ShardSink(work, Store(os.fspath(tmp_path / "out")), content, resume=resume)
        todo = ours.begin()
        assert todo == ([] if resume else [0, 1, 2, 3, 4])
        if todo:
            ours.add(to_table(todo, [result(songs[n], n + 1, rows=2 if segments else 1) for n in todo]))
        ours.finish()
    (path,) = (tmp_path / "out").glob("*.parquet")
    spans = [(0.0, 1.0), (1.0, 2.0)] if segments else [(None, None)]
    assert [
        (line["input"], line.get("start_s"), line.get("end_s"), line["number"])
        for line in parquet.read_table(path).to_pylist()
    ] == [(n, *span, number) for n in range(5) for span in spans for number in range(n + 1)]


@pytest.mark.parametrize("other", [{"model": "other"}, {"pooling": "segments"}, {"precision": "bf16"}])
def test_rows_made_with_other_settings_are_refused_and_kept(
    tmp_path: Path, songs: list[Path], other: dict[str, Any]
) -> None:
    """Also when only the last of the shards has them."""
    complete(songs, tmp_path / "out")
    last = tmp_path / "out" / "part-00002.parquet"
    theirs = shards.schema_of(job(songs, **other), shards.embeddings(WIDTH)).metadata
    parquet.write_table(parquet.read_table(last).replace_schema_metadata(theirs), last)
    ours = sink(job(songs), tmp_path / "out", resume=True)
    with pytest.raises(OutputError, match=f"holds rows with {next(iter(other))} = "):
        ours.begin()
    ours.close(remove=True)
    complete(songs, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    ours = sink(job(songs, **other), tmp_path / "out", resume=True)
    with pytest.raises(OutputError, match=f"holds rows with {next(iter(other))} = .*another folder, or --overwrite"):
        ours.begin()
    ours.close(remove=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_rows_of_other_inputs_alone_are_refused_and_kept(tmp_path: Path, songs: list[Path]) -> None:
    """A slip in the inputs must not cost the rows that are there."""
    complete(songs, tmp_path / "out")
    other = tmp_path / "other.wav"
    other.write_bytes(b"x")
    ours = sink(job([other]), tmp_path / "out", resume=True)
    with pytest.raises(OutputError, match=r"holds rows of .*wav and others, and none of the inputs of this run"):
        ours.begin()
    ours.close(remove=True)
    assert list(rows_of(tmp_path / "out")) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "harm, problem",
    [
        (lambda out: (out / "part-00000.parquet").unlink(), "2 of 6 inputs are missing, the first is number 0"),
        (
            lambda out: (out / "part-00009.parquet").write_bytes((out / "part-00000.parquet").read_bytes()),
            "2 of 6 inputs are there twice, the first is number 0",
        ),
    ],
)
def test_the_last_check_reads_what_is_there_and_resuming_mends_it(
    tmp_path: Path, songs: list[Path], harm: Callable[[Path], None], problem: str
) -> None:
    out = tmp_path / "out"
    complete(songs, out)
    ours = sink(job(songs), out, resume=True)
    ours.add(block(songs, ours.begin()))
    ours.flush()
    harm(out)
    with pytest.raises(OutputError, match=problem):
        ours.finish()
    ours.close(remove=False)
    mended = sink(job(songs), out, resume=True)
    mended.add(block(songs, mended.begin()))
    mended.finish()
    assert rows_of(out) == {n: [f"{n}.wav", n] for n in range(5)}


def test_two_runs_into_one_folder_at_once(tmp_path: Path, songs: list[Path]) -> None:
    ours = Store(str(tmp_path / "out"))
    with pytest.raises(OutputError, match="another run is writing out"):
        Store(str(tmp_path / "out"))
    ours.close()
    Store(str(tmp_path / "out")).close()
    assert not (tmp_path / "out").exists()  # nothing was written, nothing is left


def test_a_damaged_shard_is_named(tmp_path: Path, songs: list[Path]) -> None:
    complete(songs, tmp_path / "out")
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"PAR1 no more")
    ours = sink(job(songs), tmp_path / "out", resume=True)
    with pytest.raises(OutputError, match=r"part-00001.parquet is no Parquet file of musicpase embed: remove it"):
        ours.begin()
    ours.close(remove=True)

"""Laws of labels: which are given of probabilities, and that what is written is read back."""

import os
from pathlib import Path

import numpy as np
import pytest

from musicpase.cli.cluster_labels import labels_of
from musicpase.downstream.label_files import check_labels, read_labels, write_labels
from musicpase.downstream.labels import Labeller
from musicpase.errors import OutputError
from musicpase.inference.outputs import Row, Table, write_table
from tests.heads import CLASSES, make_head

ROW = np.array([0.2, 0.5000004, 0.9, 0.5000006], np.float32)  # as written: 0.2, 0.5, 0.9, 0.500001


def test_what_is_written_is_what_is_compared(tiny: Path) -> None:
    multi = make_head(tiny, "multi")
    assert Labeller.new(multi).choose(ROW) == [('gam"ma', 0.9), ("delta", 0.500001)]
    assert Labeller.new(multi, threshold=0.500001).choose(ROW) == [('gam"ma', 0.9)]
    assert Labeller.new(multi, threshold=0.0).choose(np.zeros(4, np.float32)) == []
    assert len(Labeller.new(multi, top=9).choose(np.zeros(4, np.float32))) == 4
    assert Labeller.new(multi, top=1, threshold=0.1).choose(ROW) == [('gam"ma', 0.9)]


def test_of_one_class_per_file_the_best_is_given_however_unlikely(tiny: Path) -> None:
    single = make_head(tiny)
    assert Labeller.new(single).choose(np.full(4, 0.25, np.float32)) == [("alpha", 0.25)]
    assert Labeller.new(single, threshold=0.3).choose(np.full(4, 0.25, np.float32)) == []


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
@pytest.mark.parametrize("spans", [False, True])
def test_a_result_read_back_and_written_again_is_the_same(
    tmp_path: Path, tiny: Path, suffix: str, spans: bool
) -> None:
    rng = np.random.default_rng(3)
    labeller = Labeller.new(make_head(tiny, "multi"), threshold=0.6)
    names = ["a.wav", 'quo"te,\n.wav', "" if suffix == ".parquet" else os.fsdecode(b"\xff.wav")]
    times: list[tuple[float | None, float | None]] = [(0.0, 1.0), (0.5, 1.23)] if spans else [(None, None)]
    rows = [Row(number, name, 2.0, 200, *span) for number, name in enumerate(names) for span in times]
    matrix = rng.random((len(rows), 4)).astype(np.float32)
    matrix[1] = 0.1  # without a label
    matrix[2] = 0.75  # all alike
    failed = [(7, "bad.wav", "no audio")]
    table = Table(rows, lambda: iter([matrix[:1], matrix[1:]]), failed, {"failed": 1, "head": "greek"}, 4)
    path = tmp_path / f"labels{suffix}"
    write_labels(path, table, labeller.choose)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    found = read_labels(path, CLASSES)
    assert [(row.path, row.start_s, row.end_s) for row in found.rows] == [(r.path, r.start_s, r.end_s) for r in rows]
    assert (found.failed, found.provenance) == (failed, table.provenance)
    given = np.concatenate(list(found.blocks()))
    assert np.array_equal(given > 0, np.round(matrix.astype(np.float64), 6) > 0.6)
    write_labels(path, found, labeller.choose)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    with pytest.raises(OutputError, match="make it again"):
        read_labels(path, ("other", "classes"))


def test_files_that_are_not_ours_are_not_replaced(tmp_path: Path) -> None:
    mine, empty, ours = (tmp_path / name for name in ("mine.csv", "empty.csv", "ours.csv"))
    mine.write_bytes(b"path,label\n\xff,x\n")
    empty.touch()
    ours.write_text("path,label,probability\na.wav,x,1.000000\n")
    check_labels(empty, [])
    check_labels(ours, [])
    with pytest.raises(OutputError, match="holds something else"):
        check_labels(mine, [])


@pytest.mark.parametrize(
    ("output", "name", "content"),
    [
        ("labels.json", "labels.json", '{"results": []}'),
        ("labels.json", "labels.json", "[1, 2]"),
        ("labels.json", "labels.failed.csv", "path,reason\na.wav,broken\n"),
        ("labels.parquet", "labels.parquet", "no parquet at all"),
        ("labels.parquet", "labels.failed.csv", "my notes"),
        ("labels.csv", "labels.failed.csv", "input,path,reason,more\n"),
        ("labels.csv", "labels.provenance.json", '["mine"]'),
        ("labels.csv", "labels.provenance.json", '{\n    "a": "made by hand"\n}\n'),
        ("labels.csv", "labels.provenance.json", '{"a": "made by hand"}\n'),
    ],
)
def test_nor_are_those_beside_them(tmp_path: Path, output: str, name: str, content: str) -> None:
    (tmp_path / name).touch()
    check_labels(tmp_path / output, [])
    (tmp_path / name).write_text(content)
    with pytest.raises(OutputError, match=f"{name} holds something else"):
        check_labels(tmp_path / output, [])


def test_shards_have_a_row_for_each_label(tiny: Path) -> None:
    """And one without a label for a vector without any."""
    labeller = Labeller.new(make_head(tiny, "multi"), threshold=0.9)
    vectors = np.random.default_rng(0).normal(0, 1, (40, 32)).astype(np.float32)
    given = labeller.label(vectors)
    assert {len(labels) for labels in given} >= {0, 1, 2}
    content = labels_of(labeller, 32)
    counts, columns = content.make(vectors)
    assert content.width == 32 and [name for name, _ in content.fields] == list(columns)
    lines = list(zip(columns["label"].to_pylist(), columns["probability"].to_pylist(), strict=True))
    none: list[tuple[str | None, float | None]] = [(None, None)]
    assert lines == [line for labels in given for line in [*labels] or none]
    assert counts.tolist() == [max(1, len(labels)) for labels in given]


def test_nor_are_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "emb.parquet"
    write_table(path, Table([Row(0, "a.wav", 1.0, 100)], lambda: iter([ROW[None]]), [], {"failed": 0}, 4))
    with pytest.raises(OutputError, match="holds something else"):
        check_labels(path, [])


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_what_is_ours_may_be_replaced(tmp_path: Path, tiny: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    rows = [Row(0, "a.wav", 1.0, 100)]
    table = Table(rows, lambda: iter([ROW[None]]), [(1, "b.wav", "no audio")], {"failed": 1}, 4)
    write_labels(path, table, Labeller.new(make_head(tiny)).choose)
    check_labels(path, [])

"""The files that `musicpase classify` writes: labels of files or segments, as `.csv`, `.json` or `.parquet`.

labels.csv       path, label, probability (segments: path, start_s, end_s, label, probability), a line for each label
labels.parquet   the same columns
labels.json      provenance, and for each file or segment the list of its labels

A file or segment without any label has one line with an empty one, so that every input is found either in the result
or in `labels.failed.csv`. The provenance is in `labels.provenance.json`, or in the metadata of the `.parquet`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicpase.atomic import Staging
from musicpase.errors import OutputError
from musicpase.inference.outputs import (
    FAILED,
    Row,
    Table,
    check_output,
    pyarrow,
    read_csv,
    read_table,
    to_utf8,
    write_csv,
    write_failed,
)

__all__ = ["SUFFIXES", "check_labels", "read_labels", "write_labels"]

SUFFIXES = (".csv", ".json", ".parquet")
NOT_GIVEN = -1.0  # in the place of the probability of a class that a result does not have
BLOCK_LINES = 4096
Rows = NDArray[np.float32]
Labels = Sequence[tuple[str, float]]
"""Of a file or segment, with their probabilities."""


def check_labels(path: Path, inputs: Iterable[str]) -> None:
    """Refuse, before any work, an output that cannot be written or that holds something else.

    Raises:
        ConfigError: unknown suffix.
        OutputError: it cannot be written; it, or a file beside it, is an input, not ours, or part of an output of
            `embed`.
    """
    check_output(path, inputs, SUFFIXES)
    matrix = path.with_suffix(".npy")
    if path.suffix != ".parquet" and matrix.exists():
        raise OutputError(f"{path} would overwrite what belongs to {matrix}: use another name")
    tables = [",".join(columns(spans)) + "\n" for spans in (False, True)]
    begins = {
        path: {".csv": tables, ".json": ['{"provenance": {']}.get(path.suffix),
        path.with_suffix(".failed.csv"): [",".join(FAILED) + "\n"],
        _provenance_of(path): ['{\n "'] if path.suffix == ".csv" else None,
    }
    foreign = [place for place, ours in begins.items() if ours and place.exists() and not _begins(place, ours)]
    if path.suffix == ".parquet" and path.exists() and not _is_parquet_of_labels(path):
        foreign.insert(0, path)
    if foreign:
        raise OutputError(f"{foreign[0]} holds something else than labels by musicpase classify: use another name")


def _begins(path: Path, ours: Sequence[str]) -> bool:
    """Whether a file begins as ours do; an empty one holds nothing that could be lost."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:  # whatever ends its lines
            begin = file.read(max(map(len, ours)))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    return not begin.strip() or begin.startswith(tuple(ours))


def _is_parquet_of_labels(path: Path) -> bool:
    """Whether its columns are ours; an empty file holds nothing that could be lost."""
    pa, parquet = pyarrow()
    try:
        return not path.stat().st_size or parquet.read_schema(path).names in (columns(True), columns(False))
    except (OSError, pa.ArrowException):
        return False


def columns(spans: bool) -> list[str]:
    """Of a result in lines."""
    return ["path", *(["start_s", "end_s"] if spans else []), "label", "probability"]


def write_labels(path: Path, table: Table, choose: Callable[[Rows], Labels]) -> None:
    """Write a result to `path`, by its suffix, and `NAME.failed.csv` beside it; all of it or nothing.

    Args:
        path: of the result.
        table: with probabilities, `(rows, classes)`.
        choose: gives the labels for a row of it, `(classes,)`, in the order in which they are written.
    """
    write = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}[path.suffix]
    values = (values for block in table.blocks() for values in block)
    given = ((row, choose(probabilities)) for row, probabilities in zip(table.rows, values, strict=True))
    with Staging() as staging:
        write_failed(staging, path.with_suffix(".failed.csv"), table.failed)
        write(staging, path, table, given)


def _lines(given: Iterator[tuple[Row, Labels]], spans: bool) -> Iterator[list[Any]]:
    """The cells of each line; no label and no probability where no class is likely enough."""
    for row, labels in given:
        span = [row.start_s, row.end_s] if spans else []
        yield from ([row.path, *span, *label] for label in labels)
        if not labels:
            yield [row.path, *span, None, None]


def _has_spans(table: Table) -> bool:
    return bool(table.rows) and table.rows[0].start_s is not None


def _provenance_of(path: Path) -> Path:
    return path.with_suffix(".provenance.json")


def _write_csv(staging: Staging, path: Path, table: Table, given: Iterator[tuple[Row, Labels]]) -> None:
    spans = _has_spans(table)
    with staging.file(_provenance_of(path)) as file:
        file.write(json.dumps(table.provenance, indent=1).encode() + b"\n")
    lines = (["" if cell is None else cell for cell in line] for line in _lines(given, spans))
    write_csv(staging, path, columns(spans), lines)


def _write_json(staging: Staging, path: Path, table: Table, given: Iterator[tuple[Row, Labels]]) -> None:
    """A file or segment per line, so that the result can be read by eye and compared."""
    with staging.file(path) as file:
        file.write(b'{"provenance": ' + json.dumps(table.provenance).encode() + b',\n"results": [')
        for number, (row, labels) in enumerate(given):
            span = {} if row.start_s is None else {"start_s": row.start_s, "end_s": row.end_s}
            named = [{"label": label, "probability": probability} for label, probability in labels]
            record = {"path": row.path, **span, "labels": named}
            file.write(b",\n" * bool(number) + json.dumps(record).encode())
        file.write(b"]}\n")


def _write_parquet(staging: Staging, path: Path, table: Table, given: Iterator[tuple[Row, Labels]]) -> None:
    pa, parquet = pyarrow()
    spans = _has_spans(table)
    types = {"path": pa.string(), "label": pa.string()}
    fields = [pa.field(name, types.get(name, pa.float64())) for name in columns(spans)]
    schema = pa.schema(fields, metadata={"musicpase": json.dumps(table.provenance)})
    lines = _lines(given, spans)
    with staging.file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while block := list(islice(lines, BLOCK_LINES)):
            cells = ([to_utf8(cell) for cell in column] for column in zip(*block, strict=True))
            writer.write_table(pa.Table.from_arrays(list(map(pa.array, cells)), schema=schema))


def read_labels(path: Path, classes: Sequence[str]) -> Table:
    """Read back what `write_labels` wrote; a class that was not given has the probability -1.

    Raises:
        OutputError: a part is missing, or does not fit the others or the classes.
    """

    def read(path: Path) -> tuple[list[Row], Rows, dict[str, Any]]:
        lines, provenance = READERS[path.suffix](path)
        rows: list[Row] = []
        matrix: list[Rows] = []
        for (name, *span), group in groupby(lines, key=lambda line: line[:-2]):
            start_s, end_s = map(float, span) if span else (None, None)
            rows.append(Row(len(rows), name, 0.0, 0, start_s, end_s))
            matrix.append(np.full(len(classes), NOT_GIVEN, np.float32))
            for *_, label, probability in group:
                if label:
                    matrix[-1][classes.index(label)] = probability
        return rows, np.array(matrix, np.float32).reshape(-1, len(classes)), provenance

    return read_table(path, dict.fromkeys(SUFFIXES, read))


def _read_csv(path: Path) -> tuple[list[list[Any]], dict[str, Any]]:
    header, *lines = read_csv(path)
    if header not in (columns(True), columns(False)):
        raise ValueError(f"{path} has the columns {header}")
    return lines, json.loads(_provenance_of(path).read_bytes())


def _read_json(path: Path) -> tuple[list[list[Any]], dict[str, Any]]:
    content = json.loads(path.read_bytes())
    lines = []
    for record in content["results"]:
        place = [record[name] for name in ("path", "start_s", "end_s") if name in record]
        labels = [[*place, one["label"], one["probability"]] for one in record["labels"]]
        lines += labels or [[*place, None, None]]
    return lines, content["provenance"]


def _read_parquet(path: Path) -> tuple[list[list[Any]], dict[str, Any]]:
    _, parquet = pyarrow()
    table = parquet.read_table(path)
    lines = [list(line.values()) for line in table.to_pylist()]
    return lines, json.loads(table.schema.metadata[b"musicpase"])


READERS: Mapping[str, Callable[[Path], tuple[list[list[Any]], dict[str, Any]]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".parquet": _read_parquet,
}

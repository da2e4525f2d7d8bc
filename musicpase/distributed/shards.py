"""The result of a distributed run: a folder of Parquet shards, which one process writes and checks in the end."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from musicpase.audio import Source
from musicpase.distributed.store import Store
from musicpase.errors import OutputError
from musicpase.inference.outputs import FAILED, csv_lines, to_utf8
from musicpase.inference.sinks import Job
from musicpase.inference.workspace import stat_of

__all__ = ["FAILED_NAME", "PROVENANCE_NAME", "Content", "ShardSink", "embeddings", "is_shard"]

SHARD_ROWS = 16_384  # 32 MB of 512 numbers
SHARD_S = 300.0  # how long a row waits to be written: what it costs when this process is killed

# Programs that read a folder of Parquet files pass over names with an underscore.
FAILED_NAME = "_failed.csv"
PROVENANCE_NAME = "_provenance.json"


INDEX = ["input", "path", "size", "mtime_ns"]
"""Columns that say whether a row can stay."""


def is_shard(name: str) -> bool:
    """Whether a file is one of ours with rows."""
    return re.fullmatch(r"part-\d{5,}\.parquet", name) is not None


class News(NamedTuple):
    """What has become of an input."""

    source: int  # its index
    reason: str | None  # of its failure
    warnings: list[str]


class ShardSink:
    """Rows as they come, in any order, into shards of `SHARD_ROWS` rows or what has come in `SHARD_S`.

    Only this process writes, and an input whose rows it has is never taken again: what Ray does twice, because a node
    died, is in the result once. The interface is that of `inference.sinks`.

    Args:
        job: what the run is about.
        store: where the shards go.
        content: what becomes of the vectors.
        resume: keep the rows of files that have not changed; otherwise the shards there are removed.

    Attributes:
        resumed: whether rows of an earlier run are in it.
        changed: paths of files that changed after they were read; known when the run is finished.
    """

    def __init__(self, job: Job, store: Store, content: "Content", *, resume: bool) -> None:
        self.job, self.store, self.content, self.resume = job, store, content, resume
        self.schema = schema_of(job, content)
        self.resumed = False
        self.changed: list[str] = []
        self.paths = [to_utf8(source.path) for source in job.sources]
        self._index = {position: i for i, position in enumerate(job.positions)}
        self._done: dict[int, str | None] = {}  # index of a source -> the reason, if it has failed
        self._stats: dict[int, tuple[int, int] | None] = {}  # of the files read in this run
        self._begun = False
        self._blocks: list[pa.Table] = []
        self._since = 0.0  # when the first of the blocks came
        self._number = 0  # of the next shard

    def begin(self) -> list[int]:
        """Take over what is there; returns the indices of the sources that are still to do.

        Raises:
            OutputError: what is there is of other settings or inputs, or nothing can be written there.
        """
        names = [name for name in self.store.names() if is_shard(name)]
        places = {path: i for i, path in enumerate(self.paths)}
        shards = {name: self.store.read(name, INDEX) for name in names} if self.resume else {}
        self._refuse_others(shards.values(), places)
        self._write_provenance({})  # shows that it can be written, too
        self._begun = True
        for path, count in Counter(self.paths).items():
            if count > 1:  # names that are not UTF-8 may have one spelling in common
                del places[path]
        for name in names:
            self._number = int(name[5:-8]) + 1
            if self.resume:
                self._take_over(name, shards[name], places)
            else:
                self.store.remove(name)
        self.resumed = bool(self._done)
        return [i for i in range(len(self.paths)) if i not in self._done]

    def pending(self) -> list[tuple[int, Source]]:
        """Number and source of what is still to do."""
        pairs = zip(self.job.positions, self.job.sources, strict=True)
        return [pair for i, pair in enumerate(pairs) if i not in self._done]

    def _refuse_others(self, shards: Collection[pa.Table], places: Mapping[str, int]) -> None:
        """Refuse rows made with other settings, or of other inputs altogether: a slip must not cost them."""
        new = json.loads(json.dumps(self.job.settings))
        for shard in shards:
            old = json.loads((shard.schema.metadata or {}).get(b"musicpase", b"{}"))
            for key in sorted(old.keys() | new.keys()):
                if old.get(key) != new.get(key):
                    raise OutputError(
                        f"{self.store.where} holds rows with {key} = {old.get(key)!r}, this run has "
                        f"{new.get(key)!r}: use another folder, or --overwrite"
                    )
        paths = [path for shard in shards for path in shard["path"].to_pylist()]
        if paths and not any(path in places for path in paths):
            raise OutputError(
                f"{self.store.where} holds rows of {paths[0]} and others, and none of the inputs of this run: use "
                "another folder, or --overwrite"
            )

    def _take_over(self, name: str, index: pa.Table, places: Mapping[str, int]) -> None:
        """Keep of a shard the rows that this run would make; number them as it would."""
        lines = list(zip(*(index[c].to_pylist() for c in ("path", "size", "mtime_ns")), strict=True))
        kept: dict[str, int] = {}
        for path, size, mtime_ns in dict.fromkeys(lines):
            i = places.get(path)
            old = None if size is None else (size, mtime_ns)
            if i is not None and i not in self._done and stat_of(self.job.sources[i].path) == old:
                kept[path] = i
        self._done.update(dict.fromkeys(kept.values()))
        inputs = [self.job.positions[kept[path]] if path in kept else None for path, *_ in lines]
        if inputs == index["input"].to_pylist():
            return
        if not kept:
            self.store.remove(name)
            return
        table = self.store.read(name)
        table = table.set_column(0, self.schema.field(0), pa.array(inputs, pa.int64()))
        self.store.write_table(name, table.filter(compute.is_valid(table["input"])))

    def add(self, block: pa.Table) -> list["News"]:
        """Take rows of `actor.OUTCOMES`; returns what there is to say of the inputs that are new."""
        new = [self._index[position] not in self._done for position in block["input"].to_pylist()]
        block = block.filter(pa.array(new, pa.bool_()))
        columns = ("input", "reason", "warnings", "size", "mtime_ns")
        news = []
        for position, reason, warnings, size, mtime_ns in zip(*(block[c].to_pylist() for c in columns), strict=True):
            i = self._index[position]
            self._done[i] = reason
            self._stats[i] = None if size is None else (size, mtime_ns)
            news.append(News(i, reason, warnings or []))
        block = block.filter(compute.is_null(block["reason"]))
        if len(block):
            self._since = self._since if self._blocks else time.monotonic()
            self._blocks.append(self._rows(block))
        if sum(map(len, self._blocks)) >= SHARD_ROWS or time.monotonic() - self._since > SHARD_S:
            self.flush()
        return news

    def _rows(self, block: pa.Table) -> pa.Table:
        """From a row for each input to those of a shard."""
        (batch,) = block.combine_chunks().to_batches()
        values, spans = batch["values"], batch["spans"].flatten().to_numpy().reshape(-1, 2)
        vectors = values.flatten().to_numpy().reshape(-1, self.content.width)
        lines, made = self.content.make(vectors)  # of each vector
        of_file = np.arange(len(batch)).repeat(compute.list_value_length(values).to_numpy() // self.content.width)
        index = batch.select(["input", "duration_s", "frames", "sha256", "size", "mtime_ns"])
        index = index.take(pa.array(of_file.repeat(lines)))
        paths = [self.paths[self._index[position]] for position in index["input"].to_pylist()]
        made |= {"path": pa.array(paths, pa.string())}
        if len(spans):
            made |= {name: pa.array(spans[:, n].repeat(lines)) for n, name in enumerate(("start_s", "end_s"))}
        arrays = [made[name] if name in made else index[name] for name in self.schema.names]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def flush(self) -> None:
        """Write what waits as a shard."""
        if self._blocks:
            self.store.write_table(f"part-{self._number:05d}.parquet", pa.concat_tables(self._blocks))
            self._number += 1
            self._blocks = []

    def failed(self) -> list[tuple[int, str, str]]:
        """Every input without rows: position, path, reason."""
        sources, positions = self.job.sources, self.job.positions
        new = [(positions[i], sources[i].path, reason) for i, reason in self._done.items() if reason is not None]
        return sorted([*self.job.failed, *new])

    def embedded(self) -> list[int]:
        """Indices of the sources with rows."""
        return sorted(i for i, reason in self._done.items() if reason is None)

    def finish(self) -> None:
        """Write the rest, the failures and the provenance; read the shards back and count.

        Raises:
            OutputError: an input is missing in what was written, or is there twice.
        """
        self.flush()
        failed = self.failed()
        self._check([position for position, *_ in failed])
        file = BytesIO()
        file.writelines(csv_lines(FAILED, failed))
        self.store.write(FAILED_NAME, file.getvalue())
        sources = self.job.sources
        read = ((sources[i].path, stat) for i, stat in self._stats.items() if self._done[i] is None)
        self.changed = sorted(path for path, stat in read if stat is not None and stat_of(path) not in (None, stat))
        self._write_provenance({**self.job.counts, "embedded": len(self.embedded()), "failed": len(failed)})
        self.store.close()

    def _check(self, failed: Sequence[int]) -> None:
        """Rows and failures are the inputs, each of them once."""
        shards = [name for name in self.store.names() if is_shard(name)]
        rows: Counter[int] = Counter()
        for name in shards:
            rows.update(set(self.store.read(name, ["input"])["input"].to_pylist()))
        inputs = {*self.job.positions, *(position for position, *_ in self.job.failed)}
        missing = inputs - rows.keys() - set(failed)
        twice = {position for position, count in rows.items() if count > 1} | (rows.keys() & set(failed))
        strange = rows.keys() - inputs
        for problem, positions in {"missing": missing, "there twice": twice, "of another run": strange}.items():
            if positions:
                raise OutputError(
                    f"{self.store.where} is not whole: {len(positions)} of {len(inputs)} inputs are {problem}, "
                    f"the first is number {min(positions)}; has another run written to it? --resume mends it"
                )

    def _write_provenance(self, counts: dict[str, Any]) -> None:
        text = json.dumps({**self.job.settings, **counts}, indent=1)
        self.store.write(PROVENANCE_NAME, text.encode() + b"\n")

    def close(self, *, remove: bool) -> None:
        """Stop: `remove` gives up the rows that wait, otherwise they are written; shards stay for `--resume`."""
        try:
            if not remove:
                self.flush()
            elif self._begun and not any(map(is_shard, self.store.names())):
                self.store.remove(PROVENANCE_NAME)
        finally:
            self.store.close()


@dataclass(frozen=True)
class Content:
    """What a shard holds of each vector.

    Attributes:
        width: of the vectors.
        fields: the columns.
        make: vectors `(n, width)` to the number of rows for each of them, `(n,)`, and the columns of all these rows.
    """

    width: int
    fields: Sequence[tuple[str, Any]]
    make: Callable[[NDArray[np.float32]], tuple[NDArray[np.int64], dict[str, pa.Array]]]


def embeddings(width: int) -> Content:
    """The vectors themselves, one in a row."""

    def make(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
        return np.ones(len(vectors), np.int64), {
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        }

    return Content(width, [("embedding", pa.list_(pa.float32(), width))], make)


def schema_of(job: Job, content: Content) -> pa.Schema:
    """Of a shard: the columns of `emb.parquet`, and by what a changed file is known."""
    fields: list[tuple[str, Any]] = [("input", pa.int64()), ("path", pa.string()), ("duration_s", pa.float64())]
    fields.append(("frames", pa.int64()))
    if job.settings["pooling"] == "segments":
        fields += [("start_s", pa.float64()), ("end_s", pa.float64())]
    if job.settings["sha256"]:
        fields.append(("sha256", pa.string()))
    fields += [("size", pa.int64()), ("mtime_ns", pa.int64()), *content.fields]
    return pa.schema(fields, metadata={"musicpase": json.dumps(job.settings)})

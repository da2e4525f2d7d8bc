"""A run on a Ray cluster: the same options, messages and exit codes, with the work done elsewhere."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicpase.cli.messages import say, warnings_said
from musicpase.cli.run import Run
from musicpase.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from musicpase.distributed.actor import Model
    from musicpase.distributed.client import Driver
    from musicpase.distributed.shards import Content, ShardSink
    from musicpase.distributed.store import Store
    from musicpase.inference.pipeline import Progress
    from musicpase.inference.pooling import Pooling
    from musicpase.inference.sinks import Job


class ClusterRun(Run):
    """One run on a cluster."""

    folder: "Store"
    driver: "Driver"

    def __init__(self, output: str, options: dict[str, Any]) -> None:
        super().__init__(Path(output), options)
        self.name = output
        self.gpus: float = options["gpus_per_actor"] or 0.0
        self.samples: list[str] = []
        self._open = ExitStack()

    def execute(self, inputs: tuple[str, ...], files_from: str | None) -> int:
        """Find, ask the cluster, embed, write."""
        from musicpase.distributed.client import check_ray

        check_ray()
        with self._open:
            return super().execute(inputs, files_from)

    def pooling(self) -> "Pooling":
        """One row per file or segment."""
        if self.options["frames"]:
            raise ConfigError("--frames does not go with --engine ray: use --shard i/n on each machine")
        if self.options["device"] != "auto":
            raise ConfigError("--device does not go with --engine ray: --gpus-per-actor says whether GPUs are used")
        return super().pooling()

    def check_output(self, pooling: "Pooling", paths: list[str]) -> None:
        """Open the folder; what is in it is not removed unless that was asked for."""
        from musicpase.audio.names import is_url
        from musicpase.distributed.shards import is_shard
        from musicpase.distributed.store import Store

        if self.output.suffix in (".npy", ".npz", ".parquet", ".csv", ".json") or self.output.is_file():
            raise ConfigError(f"{self.name}: --engine ray writes a folder of Parquet shards, so name a folder")
        if not is_url(self.name) and not self.output.absolute().parent.is_dir():
            raise OutputError(f"cannot write {self.name}: there is no folder {self.output.parent}")
        self.folder = Store(self.name)
        self._open.callback(self.folder.close)
        source = click.get_current_context().get_parameter_source("resume")
        if any(map(is_shard, self.folder.names())) and source is not click.core.ParameterSource.COMMANDLINE:
            raise OutputError(
                f"{self.name} holds rows of another run: --resume continues it, --overwrite removes them"
            )
        # One of each kind: a file, of each protocol a URL.
        kinds = {path.partition("://")[0] if is_url(path) else "": path for path in paths}
        self.samples = [path if kind else os.path.abspath(path) for kind, path in kinds.items()]  # noqa: PTH100

    def load(self) -> "Model":  # type: ignore[override] # says of itself what an Encoder would
        """The encoder, once every node of the cluster has said that it can do its share."""
        from musicpase.distributed.actor import Model
        from musicpase.distributed.client import Driver
        from musicpase.hub import load_module
        from musicpase.inference.encoder import strip_seconds

        with warnings_said():
            module, record = load_module(self.options["model"], revision=self.options["revision"])
        self.check(record)
        device = "cuda" if self.gpus else "cpu"
        seconds = strip_seconds(self.options["batch_seconds"], device)
        pooling = self.pooling()
        names = ("address", "actors", "workers", "precision", "model", "revision", "max_duration", "hash_files")
        order = {
            **{name: self.options[name] for name in names},
            "gpus": self.gpus,
            "samples": self.samples,
            "weights_sha256": record.sha256,
            "batch_seconds": seconds,
            "pooling": [pooling.kind, pooling.segment_s, pooling.hop_s],
        }
        self.driver = self._open.enter_context(closing(Driver(order)))
        found = self.driver.ready()
        if not self.quiet:
            where = f"{found['actors']} actors of {found['nodes']} nodes"
            say(f"musicpase: {record.name} on {where}, {device}, {found['precision']}")
        return Model(module, record, device, found["precision"], seconds)

    def open_sink(self, job: "Job", pooling: "Pooling") -> "ShardSink":  # type: ignore[override] # the same interface
        """Where the rows go."""
        from musicpase.distributed.shards import ShardSink

        return ShardSink(job, self.folder, self.content(job), resume=self.options["resume"])

    def content(self, job: "Job") -> "Content":
        """What the rows hold."""
        from musicpase.distributed.shards import embeddings

        return embeddings(job.width)

    def embed_pending(  # type: ignore[override] # those that `load` and `open_sink` gave
        self, encoder: "Model", sink: "ShardSink", job: "Job", pooling: "Pooling"
    ) -> str:
        """Embed what the sink does not have yet; returns a line about the speed."""
        from musicpase.inference.pipeline import Progress

        pending = sink.begin()
        progress = Progress()
        results = self.results(sink, job, progress) if pending else iter(())
        deque(self.with_progress(results, progress, len(job.sources), len(job.sources) - len(pending)), maxlen=0)
        speed = f"{progress.audio_s / 3600:.2f} h of audio at {progress.times_real_time:.0f} x real time"
        return speed if pending else "nothing was left to do"

    def results(self, sink: "ShardSink", job: "Job", progress: "Progress") -> Iterator[Any]:
        """Store what comes from the cluster; yields something for each input."""
        from musicpase.distributed.client import to_table

        for block in self.driver.embed(to_table(sink.pending())):
            progress.audio_s += sum(filter(None, block["duration_s"].to_pylist()))
            for news in sink.add(block):
                path = job.sources[news.source].path
                if news.reason is not None:
                    self.skipped(path, news.reason)
                for warning in news.warnings:
                    self.warned(path, warning)
                yield news

"""One run of `musicpase embed` or `classify`: options in, exit code out."""

import math
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicpase.cli.messages import say, warnings_said
from musicpase.errors import AudioError, ConfigError, OutputError

if TYPE_CHECKING:
    from musicpase.audio import Found
    from musicpase.hub import ModelRecord
    from musicpase.inference.encoder import Encoder
    from musicpase.inference.pipeline import Failure, Progress, Result
    from musicpase.inference.pooling import Pooling
    from musicpase.inference.sinks import FolderSink, Job, MatrixSink


class Run:
    """On this machine."""

    done = "embedded"

    def __init__(self, output: Path, options: dict[str, Any]) -> None:
        self.output = output
        self.name = str(output)
        self.options = options
        self.quiet: bool = options["quiet"]

    def execute(self, inputs: tuple[str, ...], files_from: str | None) -> int:
        """Find, load, embed, write."""
        pooling = self.pooling()
        found = self.find(inputs, files_from)
        self.check_output(pooling, [source.path for source in found.sources])
        if not found.sources:
            for path, reason in found.failures:
                self.skipped(path, reason)
            raise AudioError(f"no audio found ({found.ignored} other files ignored)")
        encoder = self.load()
        job = self.job(found, encoder, pooling)
        sink = self.open_sink(job, pooling)
        return self.drive(encoder, sink, job, pooling)

    def pooling(self) -> "Pooling":
        """One row per file, frame or segment."""
        from musicpase.inference.pooling import Pooling

        segment, hop, limit = (self.options[name] for name in ("segment", "hop", "max_duration"))
        if limit is not None and not 0 < limit < math.inf:
            raise ConfigError(f"--max-duration is {limit:g}: it must be a positive number of seconds")
        if self.options["frames"] and segment is not None:
            raise ConfigError("--frames and --segment exclude each other")
        kind = "frames" if self.options["frames"] else "mean" if segment is None else "segments"
        return Pooling(kind, segment, hop)

    def find(self, inputs: tuple[str, ...], files_from: str | None) -> "Found":
        """The inputs' audio files."""
        from musicpase.audio import find_audio

        return find_audio(inputs, files_from=files_from)

    def check_output(self, pooling: "Pooling", paths: list[str]) -> None:
        """Refuse what cannot be written before any work is done."""
        from musicpase.inference.outputs import check_output

        if pooling.kind != "frames":
            check_output(self.output, paths)
            return
        if self.output.suffix in (".npy", ".npz", ".parquet") or self.output.is_file():
            raise ConfigError(f"{self.output}: --frames writes one file per input, so name a folder")
        if not self.output.absolute().parent.is_dir():
            raise OutputError(f"cannot write {self.output}: there is no folder {self.output.parent}")

    def load(self) -> "Encoder":
        """The encoder; what there is to say about it on stderr."""
        from musicpase.inference.devices import pick_devices
        from musicpase.inference.encoder import load_encoder

        self.devices = pick_devices(self.options["device"])
        names = ("revision", "precision", "batch_seconds")
        with warnings_said():
            encoder: Encoder = load_encoder(
                self.options["model"],
                device=str(self.devices[0]),
                **{name: self.options[name] for name in names},
            )
        self.check(encoder.record)
        if not self.quiet:
            say(f"musicpase: {encoder.record.name} on {', '.join(map(str, self.devices))}, {encoder.precision}")
        return encoder

    def check(self, record: "ModelRecord") -> None:
        """Refuse an encoder that will not do, as soon as it is known."""

    def job(self, found: "Found", encoder: "Encoder", pooling: "Pooling") -> "Job":
        """The inputs of this shard and the settings that a resumed run must share."""
        from musicpase.inference.sinks import Job, shard_positions

        shard = self.options["shard"]
        positions = shard_positions(len(found.sources), shard)
        # What was no file at all comes behind the files, and goes with the first shard.
        failed = (
            [(len(found.sources) + i, path, reason) for i, (path, reason) in enumerate(found.failures)]
            if shard is None or shard[0] == 1
            else []
        )
        settings = {
            **encoder.provenance(),
            "pooling": pooling.kind,
            "segment_s": pooling.segment_s,
            "hop_s": pooling.hop_s,
            "batch_seconds": encoder.batch_seconds,
            "max_duration_s": self.options["max_duration"],
            "sha256": self.options["hash_files"],
            "shard": None if shard is None else list(shard),
        }
        counts = {"found": len(positions) + len(failed) + found.ignored, "ignored": found.ignored}
        sources = [found.sources[position] for position in positions]
        return Job(sources, positions, failed, settings, counts, encoder.config, encoder.embedding_dim)

    def open_sink(self, job: "Job", pooling: "Pooling") -> "MatrixSink | FolderSink":
        """Where the rows go."""
        from musicpase.inference.sinks import FolderSink, MatrixSink

        kind = FolderSink if pooling.kind == "frames" else MatrixSink
        return kind(job, self.output, resume=self.options["resume"], discarding=self.discarding)

    def discarding(self, files: int) -> None:
        """Say that the work of a stopped run is lost."""
        say(f"musicpase: gives up {files} files of a run that was stopped (--resume keeps them)")

    def drive(self, encoder: "Encoder", sink: "MatrixSink | FolderSink", job: "Job", pooling: "Pooling") -> int:
        """Embed what is pending; leave a state to resume on Ctrl-C, nothing on an error."""
        try:
            for _, path, reason in job.failed:
                self.skipped(path, reason)
            summary = self.embed_pending(encoder, sink, job, pooling)
            if not sink.embedded() and not job.settings["shard"]:
                raise AudioError(f"none of {len(sink.failed())} inputs could be {self.done}")
            sink.finish()
        except (KeyboardInterrupt, SystemExit):
            sink.close(remove=False)
            say(f"musicpase: stopped; the same command with --resume continues {self.name}")
            raise
        except (AudioError, OutputError):
            # Nothing is left of this run, but the work of an earlier one that it resumed is not thrown away.
            sink.close(remove=not sink.resumed)
            raise
        except BaseException:
            sink.close(remove=not sink.embedded())
            raise
        for path in sink.changed:
            say(f"musicpase: warning: {path}: changed after it was read; --resume does it again")
        failed = len(sink.failed())
        if not self.quiet:
            say(
                f"musicpase: {len(sink.embedded())} {self.done}, {failed} skipped, {job.counts['ignored']} ignored, "
                f"{job.counts['found']} found; {summary}"
            )
        return 1 if failed else 0

    def embed_pending(
        self, encoder: "Encoder", sink: "MatrixSink | FolderSink", job: "Job", pooling: "Pooling"
    ) -> str:
        """Run the pipeline over what the sink does not have yet; returns a line about the speed."""
        from musicpase.inference.parallel import embed_on_devices
        from musicpase.inference.pipeline import Progress

        pending = sink.begin()
        progress = Progress()
        writer = getattr(sink, "writer", None)
        results = embed_on_devices(
            [encoder.new_batcher(), *(encoder.on(device).new_batcher() for device in self.devices[1:])],
            [job.sources[i] for i in pending],
            pooling=pooling,
            workers=self.options["workers"],
            max_duration=self.options["max_duration"],
            hash_files=self.options["hash_files"],
            progress=progress,
            writer=writer and (lambda index: writer(pending[index])),
        )
        # Closed before the sink is: devices compute in threads, and frames go to its files from there.
        with closing(results):
            for result in self.with_progress(results, progress, len(job.sources), len(job.sources) - len(pending)):
                self.store(sink, result, pending[result.index])
        speed = f"{progress.audio_s / 3600:.2f} h of audio at {progress.times_real_time:.0f} x real time"
        return speed if pending else "nothing was left to do"

    def store(self, sink: "MatrixSink | FolderSink", result: "Result | Failure", index: int) -> None:
        """Hand one result to the sink, and say what the user should know about it."""
        from dataclasses import replace

        from musicpase.inference.pipeline import Failure

        result = replace(result, index=index)
        if isinstance(result, Failure):
            self.skipped(result.path, result.reason)
            sink.fail(result)
            return
        for warning in result.warnings:
            self.warned(result.path, warning)
        sink.write(result)

    def with_progress(
        self, results: "Iterator[Result | Failure]", progress: "Progress", total: int, initial: int
    ) -> "Iterator[Result | Failure]":
        """A progress bar on a terminal: files, hours of audio, x real time, time left."""
        from tqdm import tqdm

        disable = True if self.quiet or not sys.stderr.isatty() else None
        with tqdm(total=total, initial=initial, unit="file", disable=disable, dynamic_ncols=True) as bar:
            for result in results:
                yield result
                bar.set_postfix_str(f"{progress.audio_s / 3600:.2f} h, {progress.times_real_time:.0f} x real time")
                bar.update()

    def skipped(self, path: str, reason: str) -> None:
        """One line for a file that is not in the output; with --strict the end."""
        if self.options["strict"]:
            raise AudioError(f"{path}: {reason} (--strict)")
        say(f"musicpase: skipped {path}: {reason}")

    def warned(self, path: str, warning: str) -> None:
        """One line about a file that is odd; with --strict the end."""
        say(f"musicpase: warning: {path}: {warning}")
        if self.options["strict"]:
            raise AudioError(f"{path}: {warning} (--strict)")

"""`musicpase classify`: a folder of songs in, labels out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musicpase.cli import options
from musicpase.cli.labelling import Labelling
from musicpase.cli.run import Run
from musicpase.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from musicpase.audio import Found
    from musicpase.downstream.labels import Labeller, LabelSink
    from musicpase.inference.encoder import Encoder
    from musicpase.inference.pooling import Pooling
    from musicpase.inference.sinks import Job

EMBEDDINGS = (".npy", ".npz", ".parquet")  # inputs that `musicpase embed` has written


@click.command()
@click.argument("inputs", nargs=-1)
@click.option(
    "--head", "head_name", metavar="HEAD", help="A bundled head (see --list), or a folder that `musicpase fit` made."
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="labels.csv, labels.json or labels.parquet (labels.failed.csv beside it); with --engine ray a folder.",
)
@click.option("--list", "list_", is_flag=True, help="Show the bundled heads and end.")
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="K",
    help="Give the K likeliest classes [default: 1; of a multi-label head all above 0.5].",
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), metavar="P", help="Give the classes with a probability above P."
)
@options.files_from
@options.segment
@options.hop
@click.option("--model", help="Where the encoder is that the head belongs to [default: as the head names it].")
@options.revision
@options.devices
@options.precision
@options.workers
@options.batch_seconds
@options.max_duration
@options.resume
@options.strict
@options.quiet
@options.cluster
def classify(
    inputs: tuple[str, ...],
    head_name: str | None,
    output: str | None,
    list_: bool,
    top: int | None,
    threshold: float | None,
    files_from: str | None,
    **values: Any,
) -> int:
    """Classify audio files, folders, globs, URLs, or what `musicpase embed` has written.

    OUT has a line for each label of a file or segment, the likeliest first. A file without any class above the
    threshold has a line without a label.

    \b
    musicpase classify songs/ --head dance -o labels.csv
    musicpase classify songs/ --head instruments -o labels.json --segment 10
    musicpase classify emb.npy --head genre -o labels.parquet --top 3
    musicpase classify s3://b/songs/ --head dance -o s3://b/labels/ --engine ray
    """  # noqa: D301 (click reads the backspace character)
    if list_:
        show_heads()
        return 0
    if head_name is None or output is None or not (inputs or files_from):
        raise click.UsageError("INPUTS, --head HEAD and -o OUT are needed; --list shows the heads")
    from musicpase.downstream.heads import load_head
    from musicpase.downstream.labels import Labeller

    labeller = Labeller.new(load_head(head_name), top, threshold)
    embedded = next(filter(is_embeddings, inputs), None)
    if values["engine"] == "ray":
        if embedded is not None:
            raise ConfigError(f"{embedded} holds embeddings: classify it without --engine ray")
        from musicpase.cli.cluster_labels import ClusterClassification

        return ClusterClassification(output, values, labeller).execute(inputs, files_from)
    options.refuse_cluster(output, values)
    if embedded is not None:
        return classify_embeddings(inputs, files_from, Path(output), labeller, values)
    return Classification(Path(output), values, labeller).execute(inputs, files_from)


def show_heads() -> None:
    """A paragraph for each bundled head."""
    from musicpase.downstream.heads import list_heads

    for config in list_heads():
        click.echo(f"{config.name}: {', '.join(config.classes)}")
        kind = "one class per file" if config.kind == "single" else "any number of classes per file"
        click.echo(f"    {kind}; for {config.encoder}; {config.licence}")
        click.echo(f"    fitted on {config.training_data}")
        score = config.score.get(config.metric)
        if score is not None:
            click.echo(f"    {config.metric} {score:.3f}, {config.score.get('protocol', 'of an unknown protocol')}")


class Classification(Labelling, Run):
    """On this machine."""

    def check_output(self, pooling: "Pooling", paths: list[str]) -> None:
        """Refuse what cannot be written before any work is done."""
        from musicpase.downstream.label_files import check_labels

        check_labels(self.output, paths)

    def job(self, found: "Found", encoder: "Encoder", pooling: "Pooling") -> "Job":
        """As for embedding, with probabilities in the place of embeddings."""
        return replace(super().job(found, encoder, pooling), width=len(self.labeller.classifier.config.classes))

    def open_sink(self, job: "Job", pooling: "Pooling") -> "LabelSink":
        """Where the labels go."""
        from musicpase.downstream.labels import LabelSink

        resume = self.options["resume"]
        return LabelSink(job, self.output, self.labeller, resume=resume, discarding=self.discarding)


def is_embeddings(name: str) -> bool:
    """Whether an input is meant as an output of `musicpase embed`."""
    return Path(name).suffix in EMBEDDINGS


def classify_embeddings(
    inputs: tuple[str, ...], files_from: str | None, output: Path, labeller: "Labeller", values: dict[str, Any]
) -> int:
    """Classify what `musicpase embed` has written; no audio is read."""
    from musicpase.cli.messages import say
    from musicpase.downstream.label_files import check_labels, write_labels
    from musicpase.inference.outputs import read_table

    source = Path(inputs[0])
    if len(inputs) > 1 or files_from is not None:
        raise ConfigError(f"{source} holds embeddings: classify it alone (`musicpase merge` joins several)")
    for name in ("segment", "hop", "max_duration", "model", "revision"):
        if values[name] is not None:
            raise ConfigError(f"{source} holds embeddings: --{name.replace('_', '-')} is for audio")
    companions = [source.with_suffix(suffix) for suffix in (".csv", ".json", ".failed.csv")]
    check_labels(output, map(str, [source, *companions]))
    table = read_table(source)
    labeller.classifier.check_sha256(str(table.provenance.get("weights_sha256", "")), str(source))
    for _, path, reason in table.failed:
        if values["strict"]:
            raise AudioError(f"{path}: {reason} (--strict)")
        say(f"musicpase: skipped {path}: {reason}")
    write_labels(output, labeller.classify(table), labeller.choose)
    if not values["quiet"]:
        say(f"musicpase: {len(table.rows)} rows of {source} classified, {len(table.failed)} skipped when it was made")
    return 1 if table.failed else 0

"""`musicpase embed`: a folder of songs in, a matrix out."""

from pathlib import Path
from typing import Any

import click

from musicpase.cli import options
from musicpase.cli.run import Run


class _Shard(click.ParamType["tuple[int, int]"]):
    """`i/n`, from 1."""

    name = "i/n"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        number, _, of = str(value).partition("/")
        if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
            return int(number), int(of)
        self.fail(f"{value!r} is not i/n with 1 <= i <= n")


@click.command()
@click.argument("inputs", nargs=-1)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    help="emb.npy, emb.npz or emb.parquet (emb.failed.csv beside it); with --frames or --engine ray a folder.",
)
@options.files_from
@click.option("--frames", is_flag=True, help="One vector every 10 ms, one .npz per file.")
@options.segment
@options.hop
@click.option(
    "--model", default="paseplus-music", show_default=True, help="Name, folder, file, or Hub repository owner/name."
)
@options.revision
@options.devices
@options.precision
@options.workers
@options.batch_seconds
@options.max_duration
@click.option("--shard", type=_Shard(), help="Only every n-th input, from the i-th; `merge` joins the parts.")
@options.resume
@click.option("--sha256", "hash_files", is_flag=True, help="Put each file's SHA-256 into the index.")
@options.strict
@options.quiet
@options.cluster
def embed(inputs: tuple[str, ...], files_from: str | None, output: str, **values: Any) -> int:
    """Embed audio files, folders (recursively), globs, URLs, or - for a list on stdin.

    \b
    musicpase embed songs/ -o emb.npy                  one row per file; emb.csv says which
    musicpase embed songs/ -o emb.parquet --segment 10 one row per 10 s
    musicpase embed songs/ -o frames/ --frames         one row every 10 ms, one .npz per file
    musicpase embed s3://b/songs/ -o s3://b/out/ --engine ray     on a Ray cluster
    """  # noqa: D301 (click reads the backspace character)
    if not inputs and files_from is None:
        raise click.UsageError("no inputs: name files or folders, or --files-from LIST")
    if values["engine"] == "ray":
        from musicpase.cli.cluster import ClusterRun

        return ClusterRun(output, values).execute(inputs, files_from)
    options.refuse_cluster(output, values)
    return Run(Path(output), values).execute(inputs, files_from)

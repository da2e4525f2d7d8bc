"""`musicpase merge`: join the outputs of `embed --shard`."""

from pathlib import Path

import click


@click.command()
@click.argument("parts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="emb.npy, emb.npz or emb.parquet.",
)
def merge(parts: tuple[Path, ...], output: Path) -> None:
    """Join the outputs of `embed --shard 1/n` to `n/n` into what one run would have written.

    \b
    musicpase merge emb.1.npy emb.2.npy emb.3.npy -o emb.npy
    """  # noqa: D301 (click reads the backspace character)
    from musicpase.audio import escape
    from musicpase.inference.merge import merge_tables
    from musicpase.inference.outputs import check_output, read_table, write_table

    check_output(output, map(str, parts))
    table = merge_tables({str(part): read_table(part) for part in parts})
    write_table(output, table)
    click.echo(escape(f"musicpase: {len(table.rows)} rows of {len(parts)} parts in {output}"), err=True)

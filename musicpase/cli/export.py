"""`musicpase export`."""

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", default="paseplus-music", show_default=True, help="A name, a path, or a Hub repository.")
@click.option("--revision", help="Of a Hub repository: branch, tag or commit.")
def export(out: Path, model: str, revision: str | None) -> None:
    """Export an encoder to the ONNX file OUT.

    It maps waveform (batch, samples), 16 kHz, at least 160 samples, to embedding (batch, embedding_dim,
    samples // 160), for any batch and length. Needs the extra `onnx`.
    """
    import warnings

    from musicpase.audio import escape
    from musicpase.hub import UntrainedWeightsWarning, load_module
    from musicpase.onnx_export import export_onnx

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UntrainedWeightsWarning)
        module, record = load_module(model, revision=revision)
    for warning in caught:
        click.echo(f"musicpase: warning: {warning.message}", err=True)
    export_onnx(module, out, record)
    click.echo(escape(f"musicpase: wrote {out} ({record.name}, sha256 {record.sha256[:12]})"), err=True)

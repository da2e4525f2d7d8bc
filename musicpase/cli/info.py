"""`musicpase info` and `musicpase models`."""

import click


@click.command()
@click.option("--model", default="paseplus-music", show_default=True, help="Whose record to show.")
@click.option("--revision", help="Of a Hub repository: branch, tag or commit.")
def info(model: str, revision: str | None) -> None:
    """Show versions, devices, and the model's record with its licence."""
    import dataclasses
    import warnings

    from musicpase.hub import load_module
    from musicpase.inference.devices import pick_device, pick_precision
    from musicpase.versions import versions

    for name, version in versions().items():
        click.echo(f"{name:16}{version}")
    device = pick_device("auto")
    click.echo(f"{'device':16}{device}, {pick_precision('auto', device)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the record says itself that it is not trained
        _, record = load_module(model, revision=revision)
    click.echo("")
    for field in dataclasses.fields(record):
        if (value := getattr(record, field.name)) != "":
            click.echo(f"{field.name:16}{value}")


@click.command()
def models() -> None:
    """List the published models."""
    from musicpase.hub import list_models

    for record in list_models():
        state = "trained" if record.trained else "not trained"
        click.echo(f"{record.name:20}{state:14}{record.licence:14}{record.source}")

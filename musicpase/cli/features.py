"""`musicpase features`: a picture of what the encoder is trained to predict."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@click.command()
@click.argument("file")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="features.png, .pdf or .svg.",
)
@click.option("--start", type=click.FloatRange(min=0), default=0.0, show_default=True, metavar="S")
@click.option(
    "--duration",
    type=click.FloatRange(min=0.128),
    default=30.0,
    show_default=True,
    metavar="S",
    help="At most so much is drawn.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A trained model with its workers: draw what they predict, too.",
)
def features(file: str, output: Path, start: float, duration: float, model: Path | None) -> None:
    """Draw a file's waveform and the features that the encoder learns to predict.

    \b
    musicpase features song.mp3 -o features.png
    musicpase features song.mp3 -o features.png --start 60 --duration 10 --model runs/paseplus
    """  # noqa: D301 (click reads the backspace character)
    import torch

    from musicpase.atomic import write_atomic
    from musicpase.errors import AudioError, ConfigError
    from musicpase.features import Features
    from musicpase.features.figure import FORMATS, draw_features, render

    file_type = output.suffix.removeprefix(".").lower()
    if file_type not in FORMATS:
        raise ConfigError(f"{output}: a figure's name ends in one of {', '.join('.' + name for name in FORMATS)}")
    try:
        waveform = torch.from_numpy(_excerpt(file, start, duration))
        targets = {name: target[0] for name, target in Features()(waveform[None]).items()}
    except AudioError as error:
        raise AudioError(f"{file}: {error}") from None
    predictions = _predict(model, waveform) if model is not None else None
    figure = draw_features(waveform, targets, predictions, start=start, title=Path(file).name)
    write_atomic(output, render(figure, file_type))


def _excerpt(file: str, start: float, duration: float) -> "NDArray[np.float32]":
    """Decode from `start` on; says on stderr when the file goes on or is damaged."""
    import numpy as np

    from musicpase.audio import escape, iter_blocks
    from musicpase.config import SAMPLE_RATE
    from musicpase.errors import AudioError

    first, stop = round(start * SAMPLE_RATE), round((start + duration) * SAMPLE_RATE)
    parts = []
    position = 0
    blocks = iter_blocks(file)
    try:
        while position <= stop:
            block = next(blocks)
            parts.append(block[max(0, first - position) : max(0, stop - position)])
            position += len(block)
        click.echo(f"drawn: {start:g} to {start + duration:g} s; the file goes on (--start, --duration)", err=True)
    except StopIteration as end:
        for warning in end.value.warnings:
            click.echo(f"musicpase: warning: {escape(file)}: {escape(warning)}", err=True)
    finally:
        blocks.close()
    if position <= first:
        raise AudioError(f"ends at {position / SAMPLE_RATE:.2f} s, before --start {start:g}")
    return np.concatenate(parts)


def _predict(folder: Path, waveform: "Tensor") -> "dict[str, Tensor]":
    """What a model folder's workers predict, `(rows, time)` each."""
    import torch

    from musicpase.errors import ModelError
    from musicpase.hub import load_module
    from musicpase.workers import WORKERS_NAME, load_workers

    encoder, _ = load_module(folder)
    workers = load_workers(folder, encoder.config)
    if workers is None:
        raise ModelError(f"{folder}: no {WORKERS_NAME} in it, so there is nothing that predicts; omit --model")
    with torch.inference_mode():
        predictions = workers.predict(encoder(waveform[None]))
    return {name: prediction[0] for name, prediction in predictions.items()}

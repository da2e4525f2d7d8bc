"""A waveform, its targets and what the workers predict, drawn on one time axis in a musician's units."""

import io
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from musicpase.errors import ConfigError, MissingExtraError
from musicpase.features.config import FeatureConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["FORMATS", "draw_features", "render"]

FORMATS = ("png", "pdf", "svg")
"""File types that a figure can be rendered to."""

PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
BEATS_PER_MINUTE = (120, 60, 40, 30, 20)  # ticks of the tempogram
TRUE, PREDICTED = "#1f3b70", "#e07020"  # colours of curves
CONFIG = FeatureConfig()
FRAME_RATE = CONFIG.sample_rate / CONFIG.hop_length  # frames per second

Targets = Mapping[str, Tensor]


def draw_features(
    waveform: Tensor, targets: Targets, predictions: Targets | None = None, *, start: float = 0.0, title: str = ""
) -> "Figure":
    """Draw one clip.

    Args:
        waveform: `(samples,)` at 16 kHz.
        targets: of `Features`, by name, `(rows, frames)` each.
        predictions: what workers predict, in the targets' units, by name (with `waveform`, `(1, samples)`); any
            subset. Curves are drawn over the targets', images below them.
        start: time of the first sample in the file [s].
        title: above the figure.

    Returns:
        A matplotlib figure that no window belongs to.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    figure_type = _figure_type()
    predicted = dict(predictions or {})
    clip = {"waveform": waveform[None], **targets}
    panels: list[tuple[float, Callable[[Axes], None]]] = []  # height, and what draws into it
    panels.append((0.7, partial(_draw_waveform, clip=clip, predicted=predicted, start=start)))
    for name, height, draw_image in _IMAGES:
        for values, note in ((clip.get(name), ""), (predicted.get(name), "\npredicted")):
            if values is not None and name in clip:
                image = partial(draw_image, values=values, limits=clip[name], start=start, note=note)
                panels.append((height, image))
    for height, draw_curves in _CURVES if "prosody" in clip else ():
        panels.append((height, partial(draw_curves, clip=clip, predicted=predicted, start=start)))
    heights = [height for height, _ in panels]
    figure = figure_type(figsize=(11, 1.15 * sum(heights) + 0.9), layout="constrained")
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (_, draw) in zip(all_axes, panels, strict=True):
        draw(axes)
        axes.tick_params(labelsize=8)
    all_axes[-1].set_xlabel("time [s]")
    all_axes[-1].set_xlim(start, start + waveform.shape[-1] / CONFIG.sample_rate)
    figure.suptitle(title, parse_math=False)
    return figure


def render(figure: "Figure", file_type: str) -> bytes:
    """A figure as the bytes of a file.

    Args:
        figure: from `draw_features`.
        file_type: one of `FORMATS`.

    Raises:
        ConfigError: for another type.
    """
    if file_type not in FORMATS:
        raise ConfigError(f"a figure cannot be written as {file_type!r}; use one of {', '.join(FORMATS)}")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a title in a script that the font lacks
        figure.savefig(buffer, format=file_type, dpi=130)
    return buffer.getvalue()


def _figure_type() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "drawing needs matplotlib, which is not installed: pip install 'musicpase[train]'"
        ) from error
    return Figure


def _label(axes: "Axes", text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)


def _times(frames: int, start: float) -> "NDArray[np.float64]":
    return start + np.arange(frames) / FRAME_RATE


def _image(axes: "Axes", values: Tensor, limits: Tensor, start: float, colours: str) -> None:
    """Rows upwards, frame i centred on its time; coloured by the range of `limits`."""
    rows, frames = values.shape
    edge = start - 0.5 / FRAME_RATE
    axes.imshow(
        values.numpy(),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        vmin=float(limits.min()),
        vmax=float(limits.max()),
        extent=(edge, edge + frames / FRAME_RATE, -0.5, rows - 0.5),
    )


def _draw_waveform(axes: "Axes", clip: Targets, predicted: Targets, start: float) -> None:
    for source, colour, name in ((clip, TRUE, None), (predicted, PREDICTED, "predicted")):
        if "waveform" in source:
            samples = source["waveform"][0].numpy()
            axes.plot(start + _times(len(samples), 0.0) / CONFIG.hop_length, samples, colour, lw=0.4, label=name)
    _label(axes, "waveform")
    _legend(axes, predicted, "waveform")


def _draw_lps(axes: "Axes", values: Tensor, limits: Tensor, start: float, note: str) -> None:
    _image(axes, values, limits, start, "magma")
    axes.set_yticks([khz * 1000 * CONFIG.n_fft / CONFIG.sample_rate for khz in (0, 2, 4, 6, 8)], list("02468"))
    _label(axes, f"spectrum\n[kHz]{note}")


def _draw_mfcc(axes: "Axes", values: Tensor, limits: Tensor, start: float, note: str) -> None:
    # the first coefficient is the level, ten times larger than the rest: each row by its own deviation
    mean, deviation = limits.mean(1, keepdim=True), limits.std(1, keepdim=True).clamp(min=1e-3)
    _image(axes, (values - mean) / deviation, limits.new_tensor([-2.5, 2.5]), start, "RdBu_r")
    axes.set_yticks((0, 10, 19))
    _label(axes, f"timbre\n(MFCC){note}")


def _draw_chroma(axes: "Axes", values: Tensor, limits: Tensor, start: float, note: str) -> None:
    _image(axes, values, limits.new_tensor([0.0, 1.0]), start, "magma")
    axes.set_yticks(range(12), PITCH_CLASSES)
    axes.tick_params(axis="y", length=0)
    _label(axes, f"pitch class\n(chroma){note}")


def _draw_tempogram(axes: "Axes", values: Tensor, limits: Tensor, start: float, note: str) -> None:
    _image(axes, values, limits.new_tensor([0.0, 1.0]), start, "magma")
    axes.set_yticks([60 * FRAME_RATE / bpm for bpm in BEATS_PER_MINUTE], map(str, BEATS_PER_MINUTE))
    _label(axes, f"tempo\n[beats/min]{note}")


_IMAGES = (
    ("lps", 1.6, _draw_lps),
    ("mfcc", 1.0, _draw_mfcc),
    ("chroma", 1.3, _draw_chroma),
    ("tempogram", 1.3, _draw_tempogram),
)


def _curves(axes: "Axes", clip: Targets, predicted: Targets, start: float, row: int, name: str, style: str) -> None:
    """One row of prosody, and above it the predicted one."""
    for source, colour, suffix in ((clip, TRUE, ""), (predicted, PREDICTED, ", predicted")):
        if "prosody" in source:
            values = source["prosody"][row].numpy()
            axes.plot(_times(len(values), start), values, style, color=colour, lw=1, ms=2, label=name + suffix)


def _draw_pitch(axes: "Axes", clip: Targets, predicted: Targets, start: float) -> None:
    voiced = {"prosody": clip["prosody"].where(clip["prosody"] > 0, float("nan"))}  # a gap where unvoiced
    _curves(axes, voiced, predicted, start, 3, "F0", ".")
    axes.set_yscale("log", base=2)
    octaves = range(2, 8)
    axes.set_yticks([CONFIG.pyin.fmin * 2 ** (octave - 2) for octave in octaves], [f"C{o}" for o in octaves])
    axes.set_ylim(CONFIG.pyin.fmin * 0.94, CONFIG.pyin.fmax * 1.06)
    axes.grid(axis="y", lw=0.4)
    _label(axes, "melody\n(F0)")
    _legend(axes, predicted, "prosody")


def _draw_energy(axes: "Axes", clip: Targets, predicted: Targets, start: float) -> None:
    _curves(axes, clip, predicted, start, 1, "energy", "-")
    axes.set_ylim(bottom=0)
    _label(axes, "energy\n(RMS)")


def _draw_voicing(axes: "Axes", clip: Targets, predicted: Targets, start: float) -> None:
    _curves(axes, clip, predicted, start, 2, "voiced probability", "-")
    _curves(axes, clip, predicted, start, 0, "zero crossings per sample", ":")
    axes.set_ylim(-0.05, 1.05)
    axes.legend(loc="upper right", fontsize=7, ncols=4)
    _label(axes, "voiced? /\nnoisy?")


_CURVES = ((1.3, _draw_pitch), (0.7, _draw_energy), (0.7, _draw_voicing))


def _legend(axes: "Axes", predicted: Targets, name: str) -> None:
    if name in predicted:
        axes.legend(loc="upper right", fontsize=7, ncols=2)

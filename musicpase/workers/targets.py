"""From a waveform to what the workers are to predict, and the statistics to standardise it by."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from musicpase.config import HOP_LENGTH, SAMPLE_RATE
from musicpase.errors import ConfigError
from musicpase.features import FEATURES, Features
from musicpase.features.framing import check_waveform
from musicpase.workers.catalogue import Worker

__all__ = ["Statistics", "Targets", "measure_statistics"]


class Targets(nn.Module):
    """Computes the raw targets of some workers, without a gradient, on the waveform's device.

    Kept apart from the heads: it has nothing to learn or to store, and its tables stay in their precision. Move it
    with `.to(device)`, never to another dtype.

    Args:
        workers: from `select_workers`.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        super().__init__()
        self.workers = tuple(workers)
        self.features = Features([worker.name for worker in workers if worker.name in FEATURES])

    @torch.no_grad()
    def forward(self, waveform: Tensor, *, sample_rate: int = SAMPLE_RATE) -> dict[str, Tensor]:
        """Compute the targets.

        Args:
            waveform: `(batch, samples)` float32, at least 2048 samples, finite.
            sample_rate: the waveform's rate [Hz]; anything but 16000 is refused.

        Returns:
            For each worker's name `(batch, rows, samples // 160)`, see `Features`; for `waveform` the samples that
            have a frame: `(batch, 1, samples // 160 * 160)`.

        Raises:
            AudioError: if the waveform is too short, not finite, not float32 or of another rate.
        """
        check_waveform(waveform, sample_rate, self.features.config)
        frames = waveform.shape[1] // HOP_LENGTH
        found = {"waveform": waveform[:, None, : frames * HOP_LENGTH]}
        if self.features.names:
            found |= self.features(waveform, sample_rate=sample_rate)
        return {worker.name: found[worker.name] for worker in self.workers}


class Statistics(NamedTuple):
    """Mean and standard deviation of each row of a target over a corpus: `(rows,)` float32 each."""

    mean: Tensor
    std: Tensor


def measure_statistics(targets: Targets, waveforms: Iterable[Tensor]) -> dict[str, Statistics]:
    """Statistics of every target over a sample of a corpus.

    Args:
        targets: computes them.
        waveforms: batches `(batch, samples)`, of any number and size.

    Returns:
        By worker's name. A row that never changes gets a deviation of 1: it is centred, and scaling it would
        only amplify rounding.

    Raises:
        ConfigError: if there is no waveform.
        AudioError: as `Targets`.
    """
    # count, sum and sum of squares, in float64: over hours the sums would outgrow float32
    sums: dict[str, Tensor] = {}
    for waveform in waveforms:
        for name, target in targets(waveform).items():
            values = target.double().transpose(0, 1).flatten(1)
            count = torch.full((len(values),), values.shape[1], dtype=values.dtype, device=values.device)
            part = torch.stack([count, values.sum(1), values.square().sum(1)])
            sums[name] = sums[name] + part if name in sums else part
    if not sums:
        raise ConfigError("no waveform to measure the targets' statistics on; the corpus sample is empty")
    return {name: _statistics(total) for name, total in sums.items()}


def _statistics(total: Tensor) -> Statistics:
    count, linear, square = total
    mean = linear / count
    variance = (square / count - mean.square()).clamp(min=0.0)
    # below: what rounding leaves of a constant
    constant = variance <= 1e-12 * (square / count)
    return Statistics(mean.float(), torch.where(constant, 1.0, variance.sqrt()).float())

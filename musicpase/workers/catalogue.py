"""All workers in one table: what each predicts, with which head, under which loss."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from musicpase.config import EncoderConfig
from musicpase.errors import ConfigError
from musicpase.features import FeatureConfig
from musicpase.workers.heads import FrameHead, WaveformHead

__all__ = ["WORKERS", "Worker", "select_workers"]


@dataclass(frozen=True)
class Worker:
    """One pretext task."""

    letter: str
    """Its letter in the names of subsets (`WLPMCT`)."""
    name: str
    """What it predicts: a name of `features.FEATURES`, or `waveform`."""
    rows: int
    """Rows of the target: `(batch, rows, frames)`; for the waveform `(batch, 1, 160 * frames)`."""
    head: Callable[[EncoderConfig, int], nn.Module]
    """Makes the head from the encoder's shape and `rows`."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Prediction and target to a scalar, the mean over everything."""


_SIZES = FeatureConfig()

# arXiv 2102.03229, section 3.2; letters and their order as in its tables.
WORKERS = (
    Worker("W", "waveform", 1, WaveformHead, F.l1_loss),
    Worker("L", "lps", _SIZES.n_bins, FrameHead, F.mse_loss),
    Worker("P", "prosody", 4, FrameHead, F.mse_loss),
    Worker("M", "mfcc", _SIZES.n_mfcc, FrameHead, F.mse_loss),
    Worker("C", "chroma", _SIZES.n_chroma, FrameHead, F.mse_loss),
    Worker("T", "tempogram", _SIZES.tempogram_lags, FrameHead, F.mse_loss),
)


def select_workers(letters: str) -> tuple[Worker, ...]:
    """Choose workers by their letters, as the paper names its subsets.

    Args:
        letters: such as `WLP` or `WLPMCT`; any subset, in any order.

    Returns:
        The workers, in the table's order.

    Raises:
        ConfigError: if there is no letter, an unknown one, or one twice.

    >>> [worker.name for worker in select_workers("PWL")]
    ['waveform', 'lps', 'prosody']
    """
    known = "".join(worker.letter for worker in WORKERS)
    if not letters:
        raise ConfigError(f"no workers are chosen; name at least one of {known}")
    for letter in letters:
        if letter not in known:
            raise ConfigError(f"no worker has the letter {letter!r} (in {letters!r}); there are {known}")
        if letters.count(letter) > 1:
            raise ConfigError(f"worker {letter!r} is named twice in {letters!r}")
    return tuple(worker for worker in WORKERS if worker.letter in letters)

"""The heads of the chosen workers as one module, and their losses."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from musicpase.config import EncoderConfig
from musicpase.errors import ConfigError
from musicpase.weights import isolated
from musicpase.workers.catalogue import Worker
from musicpase.workers.targets import Statistics

__all__ = ["Workers"]


class Standardizer(nn.Module):
    """Holds the statistics of one target; without any it changes nothing."""

    mean: Tensor
    std: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(rows, 1))
        self.register_buffer("std", torch.ones(rows, 1))

    def forward(self, target: Tensor) -> Tensor:
        """Raw to standardised, `(batch, rows, time)`."""
        return (target - self.mean) / self.std

    def inverse(self, standardised: Tensor) -> Tensor:
        """Standardised to raw, `(batch, rows, time)`."""
        return standardised * self.std + self.mean


class Workers(nn.Module):
    """The heads on top of an encoder: embeddings and targets in, one loss per worker out.

    A worker that is switched off changes nothing in the others: each head is initialised from its own seed, and no
    two share a parameter. The statistics are part of the state dict, so of every checkpoint.

    Args:
        workers: from `select_workers`.
        config: the encoder's shape.
        generator: of the initial weights; exactly one number is drawn from it.
    """

    def __init__(self, workers: Sequence[Worker], config: EncoderConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.workers = tuple(workers)
        seed = int(torch.randint(2**48, (), generator=generator))
        heads = {worker.name: _seeded_head(worker, config, seed) for worker in self.workers}
        self.heads = nn.ModuleDict(heads)
        self.standardizers = nn.ModuleDict({worker.name: Standardizer(worker.rows) for worker in self.workers})

    def standardize(self, statistics: Mapping[str, Statistics]) -> None:
        """Learn standardised targets from now on.

        Args:
            statistics: of every worker's target, from `measure_statistics`.

        Raises:
            ConfigError: if those of a worker are missing.
        """
        for worker in self.workers:
            if worker.name not in statistics:
                raise ConfigError(f"no statistics of {worker.name!r}; there are {', '.join(statistics) or 'none'}")
            mean, std = statistics[worker.name]
            self.standardizers[worker.name].load_state_dict({"mean": mean[:, None], "std": std[:, None]})

    def forward(self, embedding: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute each worker's loss.

        Args:
            embedding: `(batch, embedding_dim, frames)`.
            targets: raw, from `Targets`.

        Returns:
            A scalar for each worker's name, in the catalogue's order: mean absolute or squared error, of raw or of
            standardised targets.
        """
        return {
            worker.name: worker.loss(
                self.heads[worker.name](embedding), self.standardizers[worker.name](targets[worker.name])
            )
            for worker in self.workers
        }

    @torch.no_grad()
    def predict(self, embedding: Tensor) -> dict[str, Tensor]:
        """Predict the targets in their own units: for each worker's name `(batch, rows, time)`."""
        return {
            name: self.standardizers[name].inverse(head(embedding))  # type: ignore[operator]
            for name, head in self.heads.items()
        }


def _seeded_head(worker: Worker, config: EncoderConfig, seed: int) -> nn.Module:
    """A head whose initial weights depend on the seed and its letter, not on which others there are."""
    with isolated():
        torch.default_generator.manual_seed(seed + ord(worker.letter))  # the CPU's alone, restored afterwards
        return worker.head(config, worker.rows)

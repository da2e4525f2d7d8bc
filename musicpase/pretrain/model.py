"""What is optimised: encoder, workers and their weighting as one module, from waveforms and targets to a loss."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from musicpase.hub import load_module
from musicpase.nn import PASE, PASEPlus, embed_waveform
from musicpase.pretrain.recipe import Recipe
from musicpase.pretrain.weighting import Weighting
from musicpase.weights import isolated
from musicpase.workers import Statistics, Workers, select_workers

__all__ = ["DTYPES", "Pretraining", "build_model"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Pretraining(nn.Module):
    """Encoder, workers, weighting.

    Args:
        encoder: with float32 parameters, as the workers.
        workers: their heads, for this encoder's embeddings.
        weighting: losses by worker's name to the scalar to minimise.
        dtype: of activations.
    """

    def __init__(self, encoder: PASE, workers: Workers, weighting: Weighting, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder, self.workers = encoder, workers
        self.weighting: Weighting = weighting
        self.dtype = dtype

    def forward(self, waveform: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One pass.

        Args:
            waveform: `(batch, samples)` float32, whole frames; what the encoder hears.
            targets: of the clean waveform, raw, from `Targets`.

        Returns:
            The scalar to minimise, and the loss of each worker, all float32.
        """
        embedding = self.embed(waveform)
        losses = self.losses(embedding, targets)
        total: Tensor = self.weighting(losses)
        return total, losses

    def embed(self, waveform: Tensor) -> Tensor:
        """`(batch, samples)` to `(batch, embedding_dim, frames)`, differentiable."""
        return embed_waveform(self.encoder, waveform, self.dtype)

    def losses(self, embedding: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of each worker's name."""
        with self._autocast(embedding):
            losses: dict[str, Tensor] = self.workers(embedding, targets)
        return {name: loss.float() for name, loss in losses.items()}

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32)


def build_model(
    recipe: Recipe, weighting: Weighting, statistics: Mapping[str, Statistics], start: Path | None = None
) -> Pretraining:
    """Encoder and heads as they are before training.

    Args:
        recipe: its seed decides the initial weights, so that every phase starts from the same.
        weighting: of this phase.
        statistics: of the targets, to standardise them by; if empty they stay raw.
        start: folder of weights that the encoder has instead of random ones, `run.START`.
    """
    seed = recipe.training.seed
    with isolated():
        torch.default_generator.manual_seed(seed)  # the CPU's alone, restored afterwards
        encoder = (PASEPlus if recipe.model.encoder == "paseplus" else PASE)(recipe.model.config)
    if start is not None:
        encoder.load_state_dict(load_module(start.absolute())[0].state_dict())
    generator = torch.Generator().manual_seed(seed)
    workers = Workers(select_workers(recipe.model.workers), encoder.config, generator)
    if statistics:
        workers.standardize(statistics)
    return Pretraining(encoder, workers, weighting, DTYPES[recipe.training.precision])

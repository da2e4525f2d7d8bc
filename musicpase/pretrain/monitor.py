"""The probe while training: what the frozen encoder is good for so far, beside what it has to beat."""

from pathlib import Path

import torch

from musicpase.baselines import mfcc_statistics, random_encoder
from musicpase.nn import PASE
from musicpase.pretrain.log import Log
from musicpase.pretrain.probe import Embed, ProbeSet, embed_clips, probe
from musicpase.pretrain.recipe import Recipe

__all__ = ["Monitor"]


class Monitor:
    """Probes every few epochs, and both baselines before the first time.

    Args:
        recipe: how often, on how many clips.
        labels: the labelled set, see `ProbeSet.open`.
        log: of the run.
    """

    def __init__(self, recipe: Recipe, labels: Path, log: Log) -> None:
        self.every, self.config, self.log = recipe.probe.every, recipe.model.config, log
        self.probe_set = ProbeSet.open(labels, recipe.probe.max_clips)

    def baselines(self, device: torch.device) -> None:
        """Log the scores of a random-initialised encoder and of MFCC statistics, unless the log has them."""
        if self.log.has_baselines():
            return
        untrained = random_encoder(0, self.config).to(device)
        self._probe("random", lambda waveforms: embed_clips(untrained, waveforms))
        self._probe("mfcc", mfcc_statistics)

    def epoch(self, phase: str, epoch: int, step: int, encoder: PASE) -> None:
        """Log the score of an encoder after an epoch, if its turn has come."""
        if epoch % self.every == 0:
            self._probe("encoder", lambda waveforms: embed_clips(encoder, waveforms), phase, epoch, step)

    def _probe(self, representation: str, embed: Embed, phase: str = "", epoch: int = 0, step: int = 0) -> None:
        score = probe(embed, self.probe_set)
        self.log.probe(phase, epoch, step, self.probe_set.name, representation, score.macro_f1, score.accuracy)

"""The three scenarios of arXiv 2102.03229, section 2.2: supervised, frozen, fine-tuned.

All share the head (mean over time, one fully connected layer), Adam at 0.001, early stopping on the validation loss
with a patience of 10 epochs. Where the encoder is trained too (supervised: from random weights; fine-tuned: from the
given ones), a clip gives one crop per epoch, at a random place; the crop in its middle validates. In every scenario
test clips are embedded whole, by the same engine.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicpase.config import HOP_LENGTH, SAMPLE_RATE
from musicpase.downstream.fitting import FitSettings, Stopper, fit_head, loss_of
from musicpase.downstream.heads import Head, probabilities
from musicpase.downstream.sounds import Sounds, chunks
from musicpase.downstream.task import Positions, Split, Task
from musicpase.errors import ConfigError, ModelError
from musicpase.hub import ModelRecord
from musicpase.inference.devices import DTYPES
from musicpase.inference.encoder import STRIP_SECONDS, Encoder
from musicpase.nn import PASE, embed_waveform

__all__ = ["SCENARIOS", "EndToEnd", "Scenario", "train_end_to_end", "try_frozen"]

Scenario = Literal["supervised", "frozen", "fine-tuned"]
SCENARIOS: tuple[Scenario, ...] = ("supervised", "frozen", "fine-tuned")


@dataclass(frozen=True)
class EndToEnd:
    """How an encoder is trained together with its head.

    Attributes:
        fit: as for heads alone.
        crop_seconds: of a crop; the length that the encoder is pre-trained on.
        device: to train on.
        precision: of activations: fp32 or bf16.
    """

    fit: FitSettings = field(default_factory=FitSettings)
    crop_seconds: float = 3.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.precision == "fp16":
            raise ConfigError("precision fp16 is for embedding alone: train with fp32 or bf16")
        if self.device.type == "mps":
            raise ConfigError("mps is for embedding alone: train with --device cpu or cuda")

    @property
    def crop_length(self) -> int:
        """Samples of a crop: whole frames."""
        return round(self.crop_seconds * SAMPLE_RATE / HOP_LENGTH) * HOP_LENGTH


def try_frozen(
    task: Task, rows: NDArray[np.float32], split: Split, settings: FitSettings, seed: int
) -> tuple[NDArray[np.float32], int, float]:
    """Fit a head on frozen vectors and test it.

    Args:
        task: whose clips the rows are of.
        rows: `(clips, dim)`, finite where the split has a clip.
        split: of the task.
        settings: of the fit.
        seed: of the head and the order of the clips.

    Returns:
        Probabilities for the test clips `(test, classes)`, the best epoch, the validation loss then.
    """
    vectors, targets = torch.from_numpy(rows), targets_of(task)
    fitted = fit_head(
        *(vectors[split.train], targets[split.train], vectors[split.valid], targets[split.valid]),
        *(task.kind, len(task.classes)),
        settings=settings,
        seed=seed,
    )
    with torch.inference_mode():
        scores = probabilities(fitted.head(vectors[split.test]), task.kind)
    return scores.numpy(), fitted.epochs, fitted.valid_loss


def targets_of(task: Task) -> Tensor:
    """The targets as the loss wants them: `(clips,)` int64, or `(clips, classes)` float32."""
    kind = np.int64 if task.kind == "single" else np.float32
    return torch.from_numpy(np.ascontiguousarray(task.targets.astype(kind)))


def train_end_to_end(
    task: Task,
    sounds: Sounds,
    module: PASE,
    split: Split,
    settings: EndToEnd,
    seed: int,
    tell: Callable[[int], None] = lambda clips: None,
) -> tuple[NDArray[np.float32], int, float]:
    """Train encoder and head on a task and test them; arguments and results as for `try_frozen`.

    Args:
        task: to learn.
        sounds: of its clips.
        module: the encoder to begin with; it is changed.
        split: of the task.
        settings: of the training.
        seed: of the head, the crops and their order.
        tell: called with a number of further train clips that were learnt from; an epoch has all of them.

    Raises:
        ModelError: the loss is no longer finite.
    """
    generator = torch.Generator().manual_seed(seed)
    head = Head(module.config.embedding_dim, len(task.classes), settings.fit.hidden, generator)
    module, head = module.to(settings.device), head.to(settings.device)
    optimizer = torch.optim.Adam([*module.parameters(), *head.parameters()], settings.fit.learning_rate)
    targets, stopper = targets_of(task).to(settings.device), Stopper(settings.fit.patience)
    best = copy.deepcopy((module.state_dict(), head.state_dict()))
    while stopper.epoch < settings.fit.max_epochs and not stopper.done:
        module.train()
        order = torch.from_numpy(split.train)[torch.randperm(len(split.train), generator=generator)]
        for batch in torch.split(order, settings.fit.batch_size):
            places = torch.rand(len(batch), generator=generator).tolist()
            waveform = crops(sounds, batch.tolist(), places, settings)
            loss = loss_of(classify(module, head, waveform, settings), targets[batch], task.kind)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            tell(len(batch))
        loss_now = validation_loss(task, sounds, module, head, split.valid, targets, settings)
        if not np.isfinite(loss_now):
            raise ModelError(f"{task.name}: the validation loss is {loss_now} after epoch {stopper.epoch + 1}")
        if stopper.better(loss_now):
            best = copy.deepcopy((module.state_dict(), head.state_dict()))
    module.load_state_dict(best[0])
    head.load_state_dict(best[1])
    return score_whole(task, sounds, module.eval(), head, split.test, settings), stopper.best_epoch, stopper.best


def crops(sounds: Sounds, positions: Sequence[int], places: Sequence[float], settings: EndToEnd) -> Tensor:
    """A batch of crops, `(batch, samples)`."""
    found = [sounds.crop(p, place, settings.crop_length) for p, place in zip(positions, places, strict=True)]
    return torch.from_numpy(np.stack(found)).to(settings.device)


def classify(module: PASE, head: Head, waveform: Tensor, settings: EndToEnd) -> Tensor:
    """Crops to logits: embedding, mean over time, head."""
    embedding = embed_waveform(module, waveform, DTYPES[settings.precision])
    logits: Tensor = head(embedding.float().mean(2))
    return logits


@torch.no_grad()
def validation_loss(
    task: Task,
    sounds: Sounds,
    module: PASE,
    head: Head,
    valid: Positions,
    targets: Tensor,
    settings: EndToEnd,
) -> float:
    """Loss over the crops in the middle of the validation clips."""
    module.eval()
    logits = [
        classify(module, head, crops(sounds, batch.tolist(), [0.5] * len(batch), settings), settings)
        for batch in torch.split(torch.from_numpy(valid), settings.fit.batch_size)
    ]
    return float(loss_of(torch.cat(logits), targets[torch.from_numpy(valid)], task.kind))


def score_whole(
    task: Task, sounds: Sounds, module: PASE, head: Head, test: Positions, settings: EndToEnd
) -> NDArray[np.float32]:
    """Probabilities of whole clips, `(test, classes)`."""
    record = ModelRecord(name="under training", trained=True, sha256="")
    seconds = STRIP_SECONDS[settings.device.type]
    encoder = Encoder(module, record, settings.device, settings.precision, seconds)
    parts = []
    for chunk in chunks(sounds.waveform(int(position)) for position in test):
        rows = encoder.embed(chunk, SAMPLE_RATE)
        with torch.inference_mode():
            logits = head(torch.from_numpy(rows).to(settings.device))
            parts.append(probabilities(logits, task.kind).cpu().numpy())
    return np.concatenate(parts)

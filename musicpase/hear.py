"""The HEAR 2021 interface (https://hearbenchmark.com/hear-api.html), so that its tools can evaluate an encoder.

`hearvalidator` and `heareval` import this module by its name, `musicpase.hear`, and call the three functions below.
"""

from typing import cast

import torch
from torch import Tensor, nn

from musicpase.config import SAMPLE_RATE
from musicpase.errors import AudioError
from musicpase.hub import DEFAULT_MODEL, ModelRecord, load_module
from musicpase.inference.encoder import STRIP_SECONDS, Encoder
from musicpase.nn import PASE

__all__ = ["HearModel", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]


class HearModel(nn.Module):
    """An encoder with the attributes that HEAR asks for.

    Attributes:
        sample_rate: that sounds must have [Hz].
        scene_embedding_size: width of a scene embedding.
        timestamp_embedding_size: width of a timestamp embedding.
        encoder: the module; may be moved between devices and trained.
    """

    def __init__(self, encoder: PASE, record: ModelRecord) -> None:
        super().__init__()
        self.sample_rate = SAMPLE_RATE
        self.scene_embedding_size = encoder.config.embedding_dim
        self.timestamp_embedding_size = encoder.config.embedding_dim
        self.encoder = encoder
        self.record = record

    def forward(self, waveform: Tensor) -> Tensor:
        """`(batch, samples)` at 16 kHz to `(batch, embedding_dim, frames)`, differentiable."""
        return cast(Tensor, self.encoder(waveform))

    def inference_form(self) -> Encoder:
        """The encoder as it stands now in constant memory; made anew, since its weights may have been trained."""
        device = next(self.encoder.parameters()).device
        return Encoder(self.encoder, self.record, device, "fp32", STRIP_SECONDS[device.type])


def load_model(model_file_path: str = "") -> HearModel:
    """Load an encoder.

    Args:
        model_file_path: anything `musicpase.load_encoder` takes: a path, a name, a repository; the default if empty.

    Raises:
        ModelError: it cannot be found, read, or trusted.
    """
    module, record = load_module(model_file_path or DEFAULT_MODEL)
    return HearModel(module, record)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """One embedding every 10 ms.

    Args:
        audio: `(sounds, samples)` at 16 kHz in [-1, 1].
        model: from `load_model`.

    Returns:
        Embeddings `(sounds, samples // 160, timestamp_embedding_size)`, float32 on the audio's device; and
        timestamps `(sounds, samples // 160)` [ms], the centres of the frames' receptive fields, float64 on the
        CPU: in float32 a frame an hour in would be off by a quarter of a millisecond.

    Raises:
        AudioError: another shape, shorter than one frame (160 samples), or not finite.
    """
    _check(audio)
    encoder = model.inference_form()
    frames = [encoder.frames(sound, SAMPLE_RATE) for sound in audio]
    embeddings = torch.stack([torch.from_numpy(one.embedding) for one in frames]).to(audio.device)
    timestamps = torch.stack([torch.from_numpy(one.timestamps) for one in frames]) * 1000
    return embeddings, timestamps


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """The mean embedding of each sound; arguments and errors as for `get_timestamp_embeddings`.

    Returns:
        `(sounds, scene_embedding_size)`, float32 on the audio's device.
    """
    _check(audio)
    return torch.from_numpy(model.inference_form().embed(list(audio), SAMPLE_RATE)).to(audio.device)


def _check(audio: Tensor) -> None:
    if audio.dim() != 2 or len(audio) == 0:
        raise AudioError(f"expected sounds of shape (sounds, samples), got {tuple(audio.shape)}")

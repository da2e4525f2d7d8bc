"""PASE and PASE+: a waveform in, one embedding every 10 ms out."""

from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from musicpase import weights
from musicpase.config import HOP_LENGTH, SAMPLE_RATE, EncoderConfig
from musicpase.nn.blocks import ConvBlock, padding
from musicpase.nn.qrnn import QRNN

__all__ = ["PASE", "PASEPlus", "frame_times", "receptive_field"]

Encoder = TypeVar("Encoder", bound="PASE")


class PASE(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="musicpase",
    license="mit",
    pipeline_tag="feature-extraction",
    tags=["audio", "music", "music-information-retrieval", "embeddings", "self-supervised-learning"],
    paper_url="https://arxiv.org/abs/2102.03229",
):
    """Problem-agnostic speech encoder (arXiv 1904.03416), and PASE+ (arXiv 2001.09239) by its configuration.

    Eight convolutional blocks, the first a bank of sinc filters; for PASE+ a QRNN and, from every block but the
    last, a skip connection averaged in time; a 1x1 convolution; a batch norm without parameters. State dict keys
    are the original implementation's, so that its checkpoints load unchanged; `tests/parity` holds its outputs.

    *deviation:* the skips are averaged in time before their 1x1 convolution, not after (the two commute; this is
    a twelfth of the arithmetic), and the output is cut to `samples // 160` frames (the original gives one frame
    more when `samples % 160 > 150`, and then averages its skips over the wrong number of steps).

    Args:
        config: the shape of the encoder; the class's default if not given.

    Shape:
        - input: `(batch, samples)` or `(batch, 1, samples)`, 16 kHz, at least 160 samples
        - output: `(batch, embedding_dim, samples // 160)`
    """

    default_config = EncoderConfig(qrnn=False, skips=False)

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or self.default_config
        channels = (1, *config.channels)
        self.blocks = nn.ModuleList(
            ConvBlock(*widths, kernel_size, stride, sinc=index == 0)
            for index, (widths, kernel_size, stride) in enumerate(
                zip(pairwise(channels), config.kernel_sizes, config.strides, strict=True)
            )
        )
        self.denseskips = nn.ModuleList(
            nn.Conv1d(width, config.embedding_dim, 1, bias=False)
            for width in (config.channels[:-1] if config.skips else ())
        )
        self.rnn: nn.Module = QRNN(config.channels[-1], config.qrnn_dim) if config.qrnn else nn.Identity()
        top = config.qrnn_dim if config.qrnn else config.channels[-1]
        self.W = nn.Conv1d(top, config.embedding_dim, 1)
        self.norm_out = nn.BatchNorm1d(config.embedding_dim, affine=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Encode a batch of waveforms; see the class for the shapes."""
        x = waveform[:, None] if waveform.dim() == 2 else waveform
        if x.dim() != 3 or x.shape[1] != 1:
            raise ValueError(f"expected (batch, samples) or (batch, 1, samples), got {tuple(waveform.shape)}")
        frames = x.shape[-1] // HOP_LENGTH
        if frames == 0:
            raise ValueError(f"{x.shape[-1]} samples are shorter than one frame of {HOP_LENGTH}")
        skips: list[Tensor] = []
        hop = 1
        for index, (block, stride) in enumerate(zip(self.blocks, self.config.strides, strict=True)):
            x = block(x)
            hop *= stride
            if index < len(self.denseskips):
                steps = HOP_LENGTH // hop  # of this block's output in one frame
                averaged = x[..., : frames * steps].unflatten(-1, (frames, steps)).mean(-1)
                skips.append(self.denseskips[index](averaged))
        y: Tensor = self.W(self.rnn(x[..., :frames]))
        y = self.norm_out(sum(skips, start=y))
        return y

    def _save_pretrained(self, save_directory: Path) -> None:
        """What `save_pretrained` and `push_to_hub` write: `config.json`, and `model.safetensors` in fp16."""
        weights.save_folder(self.config, self.state_dict(), Path(save_directory))

    @classmethod
    def from_pretrained(  # type: ignore[override] # narrower on purpose: see the deviation
        cls: type[Encoder],
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Encoder:
        """Load a model folder, or a repository of the Hugging Face Hub, in evaluation mode.

        *deviation* from the mixin, whose arguments these are: always strict, every tensor checked, unknown keys of
        the configuration refused, and never a pickle in the place of `model.safetensors`.

        Args:
            pretrained_model_name_or_path: a folder with `config.json` and `model.safetensors`, or `owner/name`.
            force_download: fetch again what the cache has.
            token: access token for the Hub; the stored one if not given.
            cache_dir: the Hub's cache if not given.
            local_files_only: do not use the network.
            revision: branch, tag or commit of the repository.

        Returns:
            The encoder in fp32 on the CPU.

        Raises:
            ModelError: it cannot be found, read, or trusted; the message says why.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            folder = weights.download_folder(
                str(pretrained_model_name_or_path),
                revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
            )
        return weights.load_folder(cls, folder)[0]


class PASEPlus(PASE):
    """PASE+ (arXiv 2001.09239): `PASE` with a QRNN and skip connections."""

    default_config = EncoderConfig()


def receptive_field(config: EncoderConfig) -> tuple[int, int]:
    """First and last sample that frame 0 looks at through the convolutions, from kernels, strides and padding.

    Frame i looks at `[first + 160 i, last + 160 i]`; for the original's shape that is `[-1034, 1335]`. (The
    QRNN also remembers what came before.)
    """
    first = last = 0
    hop = 1  # samples between two inputs of the block at hand
    for kernel_size, stride in zip(config.kernel_sizes, config.strides, strict=True):
        left, _ = padding(kernel_size, stride)
        first -= left * hop
        last += (kernel_size - 1 - left) * hop
        hop *= stride
    return first, last


def frame_times(config: EncoderConfig, frames: int, first_frame: int = 0) -> Tensor:
    """Time at the centre of each frame's receptive field [s], float64 `(frames,)`: (160 i + 150.5) / 16000."""
    centre = sum(receptive_field(config)) / 2
    index = torch.arange(first_frame, first_frame + frames, dtype=torch.float64)
    return (index * HOP_LENGTH + centre) / SAMPLE_RATE

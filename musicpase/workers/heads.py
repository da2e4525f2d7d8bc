"""What turns an embedding into a prediction: an MLP for the frame-wise targets, a decoder for the waveform."""

from itertools import pairwise

from torch import Tensor, nn

from musicpase.config import EncoderConfig
from musicpase.nn.blocks import padding

__all__ = ["HIDDEN_CHANNELS", "FrameHead", "WaveformHead"]

HIDDEN_CHANNELS = 256
"""Width of the frame-wise heads' one hidden layer (PASE+, arXiv 2001.09239, section 3)."""


class FrameHead(nn.Sequential):
    """Predicts each frame's target from that frame's embedding.

    A multilayer perceptron as PASE's: a 1x1 convolution to 256 channels, PReLU per channel, a 1x1 convolution to
    the target. Small on purpose: what the targets need has to be in the embedding.

    Shape:
        - input: `(batch, embedding_dim, frames)`
        - output: `(batch, rows, frames)`
    """

    def __init__(self, config: EncoderConfig, rows: int) -> None:
        super().__init__(
            nn.Conv1d(config.embedding_dim, HIDDEN_CHANNELS, 1),
            nn.PReLU(HIDDEN_CHANNELS),
            nn.Conv1d(HIDDEN_CHANNELS, rows, 1),
        )


class WaveformHead(nn.Module):
    """Predicts the waveform: the encoder's layers in reverse order, as transposed convolutions.

    Kernel sizes, strides and widths are the encoder's read backwards; PReLU per channel in between, nothing after
    the last layer. Each layer's result is cut where the encoder's layer had padded its input, so output sample
    160 i + j belongs to frame i exactly as input sample 160 i + j did.

    Shape:
        - input: `(batch, embedding_dim, frames)`
        - output: `(batch, rows, 160 * frames)`
    """

    def __init__(self, config: EncoderConfig, rows: int) -> None:
        super().__init__()
        widths = (config.embedding_dim, *config.channels[-2::-1], rows)
        shapes = list(zip(config.kernel_sizes, config.strides, strict=True))[::-1]
        self.cuts = [(padding(kernel_size, stride)[0], stride) for kernel_size, stride in shapes]
        self.layers = nn.ModuleList(
            nn.ConvTranspose1d(*pair, kernel_size, stride)
            for pair, (kernel_size, stride) in zip(pairwise(widths), shapes, strict=True)
        )
        self.activations = nn.ModuleList(nn.PReLU(width) for width in widths[1:-1])

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the predicted waveform; see the class for the shapes."""
        x = embedding
        for index, (layer, (left, stride)) in enumerate(zip(self.layers, self.cuts, strict=True)):
            x = layer(x)[..., left : left + stride * x.shape[-1]]
            if index < len(self.activations):
                x = self.activations[index](x)
        return x

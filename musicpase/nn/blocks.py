"""The convolutional block of PASE, and the padding rule that all its blocks share."""

from torch import Tensor, arange, nn
from torch.nn import functional as F

from musicpase.nn.sinc import SincConv

__all__ = ["ConvBlock", "padding", "reflect_index", "reflect_pad"]


class ConvBlock(nn.Module):
    """Reflect padding, convolution, batch norm, PReLU with one slope per channel.

    Shape:
        - input: `(batch, in_channels, time)`
        - output: `(batch, out_channels, (time + left + right - kernel_size) // stride + 1)` with
          `left, right = padding(kernel_size, stride)`
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, sinc: bool) -> None:
        super().__init__()
        self.padding = padding(kernel_size, stride)
        self.conv: nn.Module = (
            SincConv(out_channels, kernel_size) if sinc else nn.Conv1d(in_channels, out_channels, kernel_size, stride)
        )
        self.norm = nn.BatchNorm1d(out_channels)
        self.act = nn.PReLU(out_channels, init=0.0)  # the original starts from slope 0

    def forward(self, x: Tensor) -> Tensor:
        """One block; see the class for the shapes."""
        y: Tensor = self.act(self.norm(self.conv(reflect_pad(x, *self.padding))))
        return y


def padding(kernel_size: int, stride: int) -> tuple[int, int]:
    """Samples that a block adds on the left and on the right before it convolves."""
    if stride == 1 and kernel_size % 2 == 1:
        return kernel_size // 2, kernel_size // 2
    return kernel_size // 2 - 1, kernel_size // 2


def reflect_pad(x: Tensor, left: int, right: int) -> Tensor:
    """Mirror `(batch, channels, time)` around its first and last sample, as often as a short input needs.

    Where the input is longer than the padding this is `F.pad(mode="reflect")`, which refuses anything shorter.
    """
    time = x.shape[-1]
    if time > max(left, right):
        return F.pad(x, (left, right), mode="reflect")
    return x[..., reflect_index(arange(-left, time + right, device=x.device), time)]


def reflect_index(position: Tensor, length: int | Tensor) -> Tensor:
    """Where a mirrored signal takes its value from: maps any integer position into `[0, length)`."""
    last = length - 1
    # A mirrored signal has period 2 (length - 1), but a single sample mirrors onto itself.
    period = 2 * last + (last == 0)
    folded = position % period
    return folded.minimum(2 * last - folded)

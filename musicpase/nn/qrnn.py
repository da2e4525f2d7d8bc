"""The recurrent layer of PASE+: a quasi-recurrent network with fo-pooling, evaluated as a parallel scan."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["QRNN", "linear_scan"]


class QRNN(nn.Module):
    """Quasi-recurrent layer (arXiv 1611.01576), window 2, fo-pooling, causal.

    `[z, f, o] = W [x_t ; x_(t-1)] + b` with x_(-1) = 0, `c_t = f_t tanh(z_t) + (1 - f_t) c_(t-1)`,
    `h_t = o_t c_t` with f and o through sigmoids. The forget gate's sense (f weighs the new value) is the
    original implementation's.

    Shape:
        - input: `(batch, in_channels, time)`
        - output: `(batch, hidden_channels, time)`
    """

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        # `layers.0.linear` is where the original's state dict keeps the only weight.
        layer = nn.Module()
        layer.linear = nn.Linear(2 * in_channels, 3 * hidden_channels)
        self.layers = nn.ModuleList([layer])

    @property
    def linear(self) -> nn.Linear:
        """The projection to the three gates: columns `[x_t ; x_(t-1)]`, rows `[z ; f ; o]`."""
        linear = self.layers[0].linear
        assert isinstance(linear, nn.Linear)
        return linear

    def forward(self, x: Tensor) -> Tensor:
        """All time steps at once; see the class for the shapes."""
        x = x.transpose(1, 2)  # (batch, time, channels)
        previous = F.pad(x, (0, 0, 1, -1))
        gates = self.linear(torch.cat([x, previous], dim=-1))
        # The recurrence in float32 at least: in bf16 1 - f would be 1 for all f below 0.002.
        z, f, o = gates.to(torch.promote_types(gates.dtype, torch.float32)).chunk(3, dim=-1)
        f = f.sigmoid()
        h: Tensor = o.sigmoid() * linear_scan(1 - f, f * z.tanh())
        return h.transpose(1, 2).to(gates.dtype)


def linear_scan(decay: Tensor, drive: Tensor, initial: Tensor | None = None) -> Tensor:
    """`c_t = decay_t c_(t-1) + drive_t` for all t, in about 4 sqrt(time) steps instead of `time`.

    Time is cut into about sqrt(time) chunks. All chunks run side by side as if each started from zero; then the
    chunks' ends, which form the same recurrence again, are scanned; then each chunk adds what came before it,
    decayed. Differentiable.

    Args:
        decay: `(batch, time, channels)`
        drive: `(batch, time, channels)`
        initial: c_(-1), `(batch, channels)`; zero if not given.

    Returns:
        `(batch, time, channels)`
    """
    batch, time, channels = drive.shape
    initial = drive.new_zeros(batch, channels) if initial is None else initial
    if time <= 8:  # too short to be worth cutting
        return torch.stack(_scan_steps(decay, drive, initial), dim=1) if time else drive
    length = math.isqrt(time - 1) + 1
    chunks = -(-time // length)
    short = chunks * length - time
    # Filling with decay 1 and drive 0 would keep the state; any values do, the tail is cut off again.
    decay, drive = (F.pad(x, (0, 0, 0, short)).view(batch * chunks, length, channels) for x in (decay, drive))
    local = torch.stack(_scan_steps(decay, drive, torch.zeros_like(drive[:, 0])), dim=1)
    gain = decay.cumprod(dim=1)
    ends = linear_scan(
        gain[:, -1].view(batch, chunks, channels)[:, :-1],
        local[:, -1].view(batch, chunks, channels)[:, :-1],
        initial,
    )
    before = torch.cat([initial[:, None], ends], dim=1).view(batch * chunks, 1, channels)
    return torch.addcmul(local, gain, before).view(batch, chunks * length, channels)[:, :time]


def _scan_steps(decay: Tensor, drive: Tensor, state: Tensor) -> list[Tensor]:
    """The recurrence step by step: `time` tensors `(batch, channels)`."""
    states = []
    for a, b in zip(decay.unbind(1), drive.unbind(1), strict=True):
        state = torch.addcmul(b, a, state)
        states.append(state)
    return states

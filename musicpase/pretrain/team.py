"""The processes that train together: one per GPU under `torchrun`, else just this one."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from musicpase.errors import ConfigError

__all__ = ["Team", "assemble"]


PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: while the first one probes, the others have nothing to do."""


@dataclass(frozen=True)
class Team:
    """This process among those that train one model."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of a batch of `count`, which the size divides."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def wrap(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are averaged over the team; batch norms count over all of it on GPUs."""
        if self.size == 1:
            return module
        if self.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(module)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Average scalars over the team."""
        stacked = torch.stack([value.detach().double() for value in values.values()])
        if self.size > 1:
            distributed.all_reduce(stacked)
        return dict(zip(values, (stacked / self.size).tolist(), strict=True))

    def align(self, module: nn.Module) -> None:
        """Give every process the first one's buffers: on CPUs each has running statistics of its own shares."""
        if self.size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def assemble(device: str, batch_size: int) -> Iterator[Team]:
    """Join the team that `torchrun` started, if it did.

    Args:
        device: `cpu`, `cuda` (under torchrun each process takes its own) or `auto`.
        batch_size: over all processes.

    Raises:
        ConfigError: the batch does not divide by the number of processes, or there is no such device.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if batch_size % size:
        raise ConfigError(f"training.batch_size is {batch_size}: {size} processes cannot share it evenly")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("there is no CUDA device here: train with --device cpu")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    if size > 1:
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Team(rank, size, torch.device(device))
    finally:
        if size > 1:
            distributed.destroy_process_group()

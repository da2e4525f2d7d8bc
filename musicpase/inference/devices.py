"""Which device to compute on, and in which precision."""

import torch

from musicpase.errors import ConfigError

__all__ = ["DTYPES", "pick_device", "pick_devices", "pick_precision"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """Turn "auto" into the best device there is, and refuse one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind, _, index = name.partition(":")
    if kind not in available or (index and not index.isdigit()):
        raise ConfigError(f"device is {name!r}: it must be auto, cpu, cuda, cuda:N or mps")
    if not available[kind] or (kind == "cuda" and index and int(index) >= torch.cuda.device_count()):
        raise ConfigError(f"device {name!r} is not available on this machine: use --device auto or cpu")
    return torch.device(name)


def pick_devices(names: str) -> list[torch.device]:
    """Several devices to embed on side by side: names with commas between them, or "all" GPUs.

    Raises:
        ConfigError: one is not there, named twice, or there is no GPU.
    """
    if names == "all":
        count = torch.cuda.device_count()
        if not count:
            raise ConfigError("--device all: this machine has no CUDA GPU: use --device auto or cpu")
        return [torch.device("cuda", number) for number in range(count)]
    devices = [pick_device(name.strip()) for name in names.split(",")]
    if len({device.type for device in devices}) > 1:
        raise ConfigError(f"--device {names}: devices of different kinds give different rows: name those of one kind")
    places = {(device.type, device.index or 0) for device in devices}  # cuda is cuda:0
    if len(places) < len(devices) and devices[0].type != "cpu":
        raise ConfigError(f"--device {names}: a device is named twice")
    return devices


def pick_precision(name: str, device: torch.device) -> str:
    """Turn "auto" into what the device computes natively: bf16 with the instructions for it, else fp32."""
    if name == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if name not in DTYPES:
        raise ConfigError(f"precision is {name!r}: it must be one of auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU: on a CPU use bf16 or fp32")
    return name


def has_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 run on instructions made for it (emulated, they are slower than fp32)."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # it asks about the current one
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, flag, bool)()) for flag in flags)
    return False

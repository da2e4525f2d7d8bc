"""Checkpoints that attack whoever reads them, written by hand; each would leave a canary or take all memory."""

import io
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.unit.models import small_module

HEAD = b"PK\x05\x06"


class Runs:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def write_canary(path: str) -> None:
    Path(path).touch()


def archive(pickled: bytes, data: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The layout of torch.save around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        for name, content in (data or {}).items():
            file.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def tar(pickled: bytes) -> bytes:
    """The format before torch 0.1.10."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(pickled)
            file.addfile(info, io.BytesIO(pickled))
    return buffer.getvalue()


def executing(canary: Path) -> dict[str, bytes]:
    """Files that create the canary when they are unpickled without restriction."""
    import os

    calls = {
        "system": Runs(os.system, f"touch {canary}"),
        "eval": Runs(eval, f"open({str(canary)!r}, 'w').close()"),
        "ours": Runs(write_canary, str(canary)),
    }
    files = {}
    for name, call in calls.items():
        content = {**small_module().state_dict(), "x": call}
        files[f"{name}_zip"] = saved(content)
        files[f"{name}_legacy"] = saved(content, _use_new_zipfile_serialization=False)
        files[f"{name}_raw2"] = pickle.dumps(content["x"], protocol=2)
        files[f"{name}_raw4"] = pickle.dumps(content["x"], protocol=4)
        files[f"{name}_raw0"] = pickle.dumps(content["x"], protocol=0)
        files[f"{name}_zip4"] = archive(pickle.dumps(call, protocol=4))
        files[f"{name}_tar"] = tar(pickle.dumps(call, protocol=2))
    # A name that the unpickler trusts, on the way to one it must not.
    files["indirect"] = archive(b"\x80\x02ctorch._utils\n_import_dotted_name\nX\x09\x00\x00\x00os.system\x85R.")
    files["nested"] = archive(b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00x\x85R.")
    return files


def exhausting() -> dict[str, bytes]:
    """Files that are small on disk and claim hundreds of gigabytes, or endless work."""
    state = small_module().state_dict()
    stride0 = OrderedDict(state)
    for key in ("W.weight", "W.bias", "norm_out.running_mean", "norm_out.running_var"):
        stride0[key] = torch.zeros(1).expand(1 << 36, *state[key].shape[1:])
    plausible = OrderedDict(state)  # every shape fits the others, so that only the missing bytes give it away
    size = 60_000
    wide = {"W.weight": (size, size, 1), "rnn.layers.0.linear.weight": (3 * size, 10)}
    wide |= {"W.bias": (size,), "rnn.layers.0.linear.bias": (3 * size,)}
    wide |= {"norm_out.running_mean": (size,), "norm_out.running_var": (size,)}
    wide |= {key: (size, *value.shape[1:]) for key, value in state.items() if key.startswith("denseskips")}
    for key, shape in wide.items():
        plausible[key] = torch.ones(1).expand(shape)
    good = saved(state)
    return {
        "stride0": saved(stride0),
        "stride0_plausible": saved(plausible),
        "stride0_legacy": saved(stride0, _use_new_zipfile_serialization=False),
        "bomb": archive(b"\x80\x02}.", {"data/0": bytes(200_000_000)}, zipfile.ZIP_DEFLATED),
        "lists": archive(b"\x80\x02" + b"]" * 4_000_000 + b"."),
        "long_pickle": archive(b"\x80\x02" + b"]" * 8_000_000 + b"."),
        "legacy_lists": saved({}, _use_new_zipfile_serialization=False)[:14] + b"\x80\x02" + b"]" * 5_000_000 + b".",
        "huge_string": archive(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x."),
        "huge_legacy_string": b"\x80\x02\x8d" + struct.pack("<Q", 1 << 61) + b"x.",
        "directory": good[: good.rindex(HEAD) + 12] + struct.pack("<L", 1 << 30) + good[good.rindex(HEAD) + 16 :],
        "comment": good[:-2] + b"\x04\x00abcd",
        "overlapping": overlapping(),
        "storage_legacy": legacy(huge_storage(b"N")),
        "storage_zip": archive(huge_storage(b""), {"data/0": bytes(64)}),
    }


def huge_storage(view: bytes) -> bytes:
    """A pickle of one encoder tensor whose storage claims 256 GB; the legacy format has a field more, the view."""
    return b"\x80\x02}" + item("blocks.0.conv.low_hz_", "0", 1 << 36, view) + b"."


def item(name: str, storage: str, numel: int, view: bytes = b"") -> bytes:
    """Opcodes that put a tensor of one value, out of a storage of `numel`, into the dictionary on the stack."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<L", len(value)) + value.encode()

    claim = b"\x8a\x05" + numel.to_bytes(5, "little")
    where = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(storage) + text("cpu") + claim + view + b"tQ"
    arguments = b"(" + where + b"K\0K\x01K\x01\x86K\x01K\x01\x86\x89ccollections\nOrderedDict\n)Rt"
    return text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs"


def legacy(pickled: bytes) -> bytes:
    """The layout before torch 1.6 around any pickle, with one storage of 64 bytes."""
    magic, protocol, system = saved({}, _use_new_zipfile_serialization=False).split(b".", 3)[:3]
    keys = pickle.dumps(["0"], protocol=2)
    return b".".join((magic, protocol, system, b"")) + pickled + keys + struct.pack("<q", 16) + bytes(64)


def overlapping() -> bytes:
    """Two gigabytes of storages in two megabytes: a zip archive whose directory names one entry a thousand times."""
    count, size = 1000, 2_000_000
    items = (item(f"blocks.{index}.conv.low_hz_", str(index), size // 4) for index in range(count))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}" + b"".join(items) + b".")
        file.writestr("archive/version", "3\n")
        file.writestr("archive/data/0", bytes(size))
        entry = file.getinfo("archive/data/0")
        for index in range(1, count):
            twin = zipfile.ZipInfo(f"archive/data/{index}")
            twin.header_offset, twin.file_size, twin.compress_size = entry.header_offset, size, size
            twin.CRC, twin.create_system, twin.flag_bits = entry.CRC, entry.create_system, entry.flag_bits
            file.filelist.append(twin)
    return buffer.getvalue()

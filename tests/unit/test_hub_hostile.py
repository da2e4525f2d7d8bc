"""Laws of hostile checkpoints (R14, I2, I4): nothing executed, refused in time and memory, in one clean line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from musicpase.errors import ModelError
from musicpase.hub import load_module
from tests.unit import hostile
from tests.unit.models import join, parts, small_folder

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from musicpase.errors import ModelError
from musicpase.hub import load_module
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for path in sorted(Path(sys.argv[1]).iterdir()):
    before, start, message = peak(), time.perf_counter(), None
    try:
        load_module(path)
    except ModelError as error:
        message = str(error)
    print(json.dumps([path.name, message, time.perf_counter() - start, peak() - before, path.stat().st_size]))
"""


@pytest.fixture
def unsafe_loads_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.load

    def load(*arguments: Any, **options: Any) -> Any:
        assert options["weights_only"] is True
        return original(*arguments, **options)

    monkeypatch.setattr(torch, "load", load)


def assert_clean(message: str, name: str) -> None:
    assert name in message
    assert message.isprintable()
    assert "weights_only" not in message


def test_canaries_would_be_created_by_an_unrestricted_reader(tmp_path: Path) -> None:
    """The proof that the files below are armed."""
    import pickle

    canary = tmp_path / "canary"
    pickle.loads(hostile.executing(canary)["ours_raw2"])
    assert canary.exists()


@pytest.mark.usefixtures("unsafe_loads_explode")
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name, content in hostile.executing(canary).items():
        path = tmp_path / f"{name}.ckpt"
        path.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load_module(path)
        assert_clean(str(caught.value), name)
        assert not canary.exists(), name


def test_foreign_names_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.ckpt"
    path.write_bytes(hostile.executing(tmp_path / "canary")["system_zip"])
    with pytest.raises(
        ModelError, match=r"m\.ckpt: refused, its pickle asks for \w+\.system, .*nothing was executed"
    ):
        load_module(path)


def test_hostile_files_are_refused_in_time_and_memory(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name, content in hostile.exhausting().items():
        (files / f"{name}.ckpt").write_bytes(content)
    for name, content in hostile_headers(small_folder(tmp_path / "good") / "model.safetensors").items():
        (files / f"{name}.safetensors").write_bytes(content)
    sparse = files / "sparse.ckpt"
    sparse.write_bytes(b"PK\x03\x04")
    with sparse.open("r+b") as file:
        file.truncate(1 << 40)
    config = tmp_path / "files" / "huge_config"
    small_folder(config)
    values = json.loads((config / "config.json").read_text())
    (config / "config.json").write_text(json.dumps({**values, "channels": [65_536] * 8, "qrnn_dim": 65_536}))
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(files)], capture_output=True, text=True, timeout=120, check=True
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == len(list(files.iterdir()))
    for name, message, seconds, memory, size in rows:
        assert message is not None, f"{name} was loaded"
        assert_clean(message, name)
        assert seconds < 5, name
        assert memory < 2 * min(size, 256 << 20) + (1 << 30), name


def hostile_headers(good: Path) -> dict[str, bytes]:
    """Safetensors files whose header lies."""
    header, data = parts(good)
    key = "W.weight"
    entry = header[key]
    begin, end = entry["data_offsets"]
    other = next(value for name, value in header.items() if name != "__metadata__" and name != key)

    def with_entry(**changes: object) -> bytes:
        return join({**header, key: {**entry, **changes}}, data)

    def deep(text: str) -> bytes:
        return join(text.encode(), b"")

    return {
        "length63": b"\xff" * 7 + b"\x7f" + data,
        "length64": b"\xff" * 8 + data,
        "length_big": (1 << 40).to_bytes(8, "little") + data,
        "overlap": with_entry(data_offsets=[other["data_offsets"][0], other["data_offsets"][0] + end - begin]),
        "gap": join(header, data[:begin] + b"\0\0" + data[begin:]),
        "backwards": with_entry(data_offsets=[end, begin]),
        "negative": with_entry(data_offsets=[begin - end, 0]),
        "shape_overflow": with_entry(shape=[1 << 63, 1 << 63, 2]),
        "shape_zero_overflow": with_entry(shape=[1 << 63, 0]),
        "shape_negative": with_entry(shape=[-6, -7, 1]),
        "shape_bool": with_entry(shape=[True, 42, 1]),
        "shape_float": with_entry(shape=[6.0, 7, 1]),
        "shape_long": with_entry(shape=[1 << 63] * 40_000),
        "shape_text": with_entry(shape="6"),
        "offset_text": with_entry(data_offsets="ab"),
        "offset_null": with_entry(data_offsets=None),
        "offset_huge": with_entry(data_offsets=[1 << 62, (1 << 62) + end - begin]),
        "no_entry": join({**header, key: 3}, data),
        "dtype": with_entry(dtype="F4"),
        "dtype_list": with_entry(dtype=["F16"]),
        "not_object": join([1, 2], data),
        "not_json": join(b"{" * 100, data),
        "deep": deep("[" * 500_000),
        "digits": deep('{"a": ' + "9" * 500_000 + "}"),
        "name": join({"\x1b[31m\nrow" * 3: entry, **header}, data),
        "binary": join(bytes(range(128, 256)), data),
    }


def test_torch_that_cannot_be_trusted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.ckpt"
    path.write_bytes(hostile.saved({}))
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(ModelError, match=r"needs torch >= 2\.10, this is 2\.9\.1\+cpu; .*pip install"):
        load_module(path)

"""float32 that is float32, whatever a process has asked torch for, and as it was before when it is over."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from musicpase.precision import exact_float32

BACKENDS: Any = torch.backends  # whose newer attributes its types do not know
SWITCHES = (
    *(BACKENDS, BACKENDS.cudnn, BACKENDS.cudnn.conv, BACKENDS.cuda.matmul),
    *(BACKENDS.mkldnn, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.matmul),
)


KERNELS = (BACKENDS.cudnn.conv, BACKENDS.cuda.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.matmul)


def look() -> list[Any]:
    return [switch.fp32_precision for switch in SWITCHES]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = look()
    yield
    torch.set_float32_matmul_precision("highest")
    for switch, value in zip(SWITCHES, before, strict=True):
        switch.fp32_precision = value
    assert torch.backends.cudnn.allow_tf32


def of_older_products() -> None:
    torch.set_float32_matmul_precision("medium")


def of_older_convolutions() -> None:
    torch.backends.cudnn.allow_tf32 = True


def of_newer_products() -> None:
    BACKENDS.cuda.matmul.fp32_precision = "tf32"
    BACKENDS.mkldnn.matmul.fp32_precision = "bf16"


def of_newer_convolutions() -> None:
    BACKENDS.cudnn.conv.fp32_precision = "tf32"
    BACKENDS.mkldnn.conv.fp32_precision = "bf16"


def of_matmul_alone() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def of_everything() -> None:
    BACKENDS.fp32_precision = "tf32"


def of_cudnn() -> None:
    BACKENDS.cudnn.fp32_precision = "tf32"


ASKED = [of_older_products, of_older_convolutions, of_newer_products, of_newer_convolutions, of_matmul_alone]
ASKED += [of_everything, of_cudnn]


@pytest.mark.parametrize(
    "ask",
    [of_older_products, of_older_convolutions, of_newer_products, of_newer_convolutions],
    ids=lambda f: f.__name__,
)
def test_whatever_was_asked_for_it_is_exact_inside_and_the_same_after(ask: Callable[[], None]) -> None:
    ask()
    before = look()
    with exact_float32:
        assert [switch.fp32_precision for switch in KERNELS] == ["ieee"] * 4
        x = torch.randn(64, 64)
        torch.testing.assert_close(x @ x, (x.double() @ x.double()).float(), rtol=1e-4, atol=1e-4)
    assert look() == before


def test_it_is_exact_until_the_last_thread_leaves() -> None:
    before, inside, leave = look(), threading.Event(), threading.Event()

    def other() -> None:
        with exact_float32:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with exact_float32:
        thread.start()
        inside.wait()
        assert BACKENDS.cudnn.conv.fp32_precision == "ieee"
    assert BACKENDS.cudnn.conv.fp32_precision == "ieee"
    leave.set()
    thread.join()
    assert look() == before


def test_an_error_inside_turns_it_back() -> None:
    before = look()
    with pytest.raises(ZeroDivisionError), exact_float32:
        raise ZeroDivisionError
    assert look() == before

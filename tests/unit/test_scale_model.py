"""The cost model: what must hold of any queue, and the limit that the closed form takes."""

import importlib
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("scale_model")


def rates(model: Any, **changes: float) -> Any:
    values = {"decode": 500.0, "decode_overhead_s": 0.0, "encode": 50.0, "encode_overhead_s": 0.0, "start_s": 2.0}
    return model.Rates(**{**values, **changes})


def test_the_slowest_resource_decides(model: Any) -> None:
    tracks = [model.Track(100.0, 1000)] * 400
    encode_bound = model.simulate(tracks, model.Node(1, 1), rates(model))
    assert encode_bound.seconds == pytest.approx(2 + 400 * 2, rel=1e-9)  # decoding hides behind encoding
    assert encode_bound.busy["encoding"] == pytest.approx(1)
    assert encode_bound.busy["decoding"] == pytest.approx(0.1)
    decode_bound = model.simulate(tracks, model.Node(1, 1), rates(model, encode=5000.0))
    assert decode_bound.seconds == pytest.approx(2 + 400 * 0.2, rel=1e-9)
    link_bound = model.simulate(tracks, model.Node(4, 4, link=100.0), rates(model))
    assert link_bound.seconds == pytest.approx(2 + 400 * 10 + 2, rel=1e-3)
    files = model.simulate([model.Track(0.001, 1)] * 1000, model.Node(2, 1), rates(model, decode_overhead_s=0.01))
    assert files.seconds == pytest.approx(2 + 1000 * 0.01 / 2, rel=1e-2)


@pytest.mark.parametrize("node", [(1, 1), (4, 1), (1, 4), (16, 8)])
def test_more_of_anything_is_never_slower_and_no_resource_works_more_than_all_the_time(
    model: Any, node: tuple[int, int]
) -> None:
    tracks = [model.Track(10.0 + 37 * (n * n % 11), 100 + n) for n in range(300)]
    base = model.simulate(tracks, model.Node(*node, link=1e4), rates(model))
    assert all(0 < busy <= 1 for busy in base.busy.values())
    for better in (
        model.simulate(tracks, model.Node(2 * node[0], node[1], link=1e4), rates(model)),
        model.simulate(tracks, model.Node(node[0], 2 * node[1], link=1e4), rates(model)),
        model.simulate(tracks, model.Node(*node, link=2e4), rates(model)),
    ):
        assert better.seconds <= base.seconds + 1e-9


def test_strips_cost_the_same_however_full_they_are(model: Any) -> None:
    def computed(*seconds: float) -> list[float]:
        return model.computed_seconds([model.Track(s, 1) for s in seconds], 5.0)  # type: ignore[no-any-return]

    assert computed(10.0, 5.0) == [10.0, 5.0]
    assert computed(2.0) == pytest.approx([5.3])
    assert computed(2.0, 2.0, 2.0) == pytest.approx([0, 0, 5.3 + 5.3])  # the third does not fit
    assert computed(1.0, 1.0, 1.0, 1.0, 1.0) == pytest.approx([0, 0, 0, 0, 5.3])
    assert computed(12.0, 3.5, 7.0) == pytest.approx([10, 5.3, 5 + 5.3 + 5.3])
    long = model.simulate([model.Track(500.0, 1)] * 20, model.Node(1, 1), rates(model, strip_s=5.0))
    assert long == model.simulate([model.Track(500.0, 1)] * 20, model.Node(1, 1), rates(model))


def test_the_closed_form_is_the_limit_of_many_tracks(model: Any) -> None:
    track, some = model.Track(240.0, 8_000_000), rates(model, decode_overhead_s=0.01)
    for node in (model.Node(16, 8), model.Node(1, 8), model.Node(16, 8, link=1e7)):
        exact = model.simulate([track] * 5000, node, some).seconds
        binding, estimate = model.bound(5000, track, node, some)
        assert estimate == pytest.approx(exact, rel=0.01)
        busy = model.simulate([track] * 5000, node, some).busy
        assert binding == max(busy, key=lambda name: busy[name])
    assert model.bound(1e6, track, node, some, nodes=10)[1] == pytest.approx(model.bound(1e5, track, node, some)[1])

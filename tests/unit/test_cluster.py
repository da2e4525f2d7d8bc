"""The cluster, without Ray: who can hold actors, what each of them gets, what a node that cannot join is told."""

import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from musicpase import audio
from musicpase.distributed import cluster, run
from musicpase.distributed.client import to_table
from musicpase.distributed.cluster import Node, Plan, find_nodes, judge, own_versions, plan_actors
from musicpase.errors import ConfigError, MissingExtraError

ONE, TWO = Node("a", "10.0.0.1", 8, 0.0), Node("b", "10.0.0.2", 4, 0.0)
FINE = {"versions": own_versions(), "precision": "fp32"}


def ray_node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "NodeID": "x", "NodeManagerAddress": "10.0.0.9", "Resources": resources}


def test_nodes_that_can_hold_an_actor() -> None:
    nodes = [ray_node(CPU=8), ray_node(CPU=8, GPU=1), ray_node(GPU=4), ray_node(alive=False, CPU=8, GPU=8)]
    assert [node.cpus for node in find_nodes(nodes, 0)] == [8, 8]
    assert [node.gpus for node in find_nodes(nodes, 0.5)] == [1]
    with pytest.raises(ConfigError, match="none of the 3 nodes of the Ray cluster has 2 GPU and 1 CPU for an actor"):
        find_nodes(nodes, 2)


@pytest.mark.parametrize(
    "nodes, options, plan",
    [
        ([ONE, TWO], {}, Plan(12, 1, 0, 1)),
        ([ONE, TWO], {"actors": 3, "workers": 2}, Plan(3, 1, 0, 2)),
        ([ONE, TWO], {"workers": 0}, Plan(12, 1, 0, 0)),
        ([Node("", "", 32, 8), Node("", "", 9, 4)], {"gpus": 1.0}, Plan(12, 2, 1, 2)),
        ([Node("", "", 32, 1)], {"gpus": 0.1}, Plan(10, 3, 0.1, 3)),
        ([Node("", "", 2, 4)], {"gpus": 1.0}, Plan(4, 1, 1, 1)),
    ],
)
def test_what_an_actor_gets(nodes: list[Node], options: dict[str, Any], plan: Plan) -> None:
    assert plan_actors(nodes, **{"actors": None, "gpus": 0.0, "workers": None, **options}) == plan


def test_nodes_that_agree() -> None:
    assert judge({ONE: FINE, TWO: FINE}) == "fp32"


@pytest.mark.parametrize(
    "report, said",
    [
        ({"missing": "musicpase"}, r'node 10.0.0.2 has no musicpase: pip install "musicpase\[ray\]==.*" there'),
        (
            {**FINE, "versions": {**own_versions(), "musicpase": "0.0.9"}},
            "node 10.0.0.2 has musicpase 0.0.9, this machine .*: install the same on all",
        ),
        ({**FINE, "versions": {**own_versions(), "torch": "2.0"}}, "node 10.0.0.2 has torch 2.0, this machine "),
        ({**FINE, "problem": "cannot see /x: No such file"}, "node 10.0.0.2: cannot see /x: No such file"),
        ({"problem": "has not answered"}, "node 10.0.0.2: has not answered"),
        (
            {**FINE, "precision": "bf16"},
            "node 10.0.0.1 computes in fp32, node 10.0.0.2 in bf16: name one with --precision",
        ),
    ],
)
def test_a_node_that_cannot_join_is_named(report: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        judge({ONE: FINE, TWO: report})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("died", ["TaskUnschedulableError", "NodeDiedError"])
def test_a_node_that_died_while_it_was_asked_is_none(monkeypatch: pytest.MonkeyPatch, died: str) -> None:
    names = ("TaskUnschedulableError", "NodeDiedError", "GetTimeoutError", "RayError")
    errors = {name: type(name, (Exception,), {}) for name in names}
    dead = {ONE.id}

    def get(node: str, timeout: float) -> dict[str, Any]:
        if node in dead:
            raise errors[died]
        return FINE

    def remote(function: object) -> Any:
        return SimpleNamespace(
            options=lambda scheduling_strategy, **_: SimpleNamespace(remote=lambda *_: scheduling_strategy)
        )

    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
    ray = SimpleNamespace(
        get=get,
        remote=remote,
        wait=lambda *_, **__: None,
        exceptions=SimpleNamespace(**errors),
        util=SimpleNamespace(scheduling_strategies=strategies),
    )
    monkeypatch.setattr(cluster, "import_ray", lambda: ray)
    plan = plan_actors([ONE, TWO], actors=None, gpus=0, workers=None)
    assert cluster.survey([ONE, TWO], plan, precision="auto", samples=[]) == ([TWO], "fp32")
    dead.add(TWO.id)
    with pytest.raises(ConfigError, match="every node has left the cluster"):
        cluster.survey([ONE, TWO], plan, precision="auto", samples=[])


def test_builds_of_one_version_of_torch_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    assert own_versions()["torch"] == "2.13.0"


@pytest.mark.parametrize(
    "address, said",
    [
        ("10.0.0.1", "--address is '10.0.0.1': it must be host:port of the cluster's head, or auto"),
        ("head:port", "it must be host:port"),
        ("ray://head:10001", "run this command on a machine of the cluster"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
    ],
)
def test_addresses_that_cannot_be(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        cluster.check_address(address)


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ConfigError, match=r"no Ray cluster answers there \(Connection refused\)"):
            cluster.check_address(f"127.0.0.1:{taken.getsockname()[1]}")


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'needs Ray: pip install "musicpase\[ray\]"'):
        cluster.import_ray()


class RayError(Exception):
    """Of a cluster that failed."""


class RayTaskError(RayError):
    """Of our own code on a cluster."""


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    monkeypatch.setattr(run, "import_ray", lambda: SimpleNamespace(put=lambda model: model, exceptions=exceptions))


def embed(monkeypatch: pytest.MonkeyPatch, *attempts: tuple[int, Exception | None]) -> tuple[list[int], list[int]]:
    """Embed ten inputs on a cluster that does so many at each attempt and then fails.

    Returns:
        How many were asked for at each attempt, and what was done.
    """
    plans, asked, done = iter(attempts), list[int](), list[int]()

    def attempt(ray: Any, inputs: pa.Table, *_: Any) -> Iterator[pa.Table]:
        asked.append(len(inputs))
        count, error = next(plans)
        for number in range(count):
            yield inputs.slice(number, 1)
        if error is not None:
            raise error

    monkeypatch.setattr(run, "_embed", attempt)
    inputs = to_table([(number, audio.Source(f"/{number}.wav", "")) for number in range(5, 15)])
    nothing: Any = None
    try:
        for block in run.embed_on_cluster(inputs, nothing, nothing, nothing):
            done += block["input"].to_pylist()
    except RayError as error:
        error.args = (*error.args, asked)
        raise
    return asked, done


def test_what_a_failed_cluster_has_not_done_is_sent_again(fake_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = RayError("lost an object")
    attempts = [(3, lost), (0, lost), (0, lost), (4, lost), (0, lost), (3, None)]
    assert embed(monkeypatch, *attempts) == ([10, 7, 7, 7, 3, 3], list(range(5, 15)))


def test_a_cluster_that_does_nothing_any_more_is_given_up(fake_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RayError, match="third") as caught:
        embed(monkeypatch, (5, RayError()), (0, RayError()), (0, RayError()), (0, RayError("third")))
    assert caught.value.args[-1] == [10, 5, 5, 5]


def test_an_error_of_our_own_is_not_tried_again(fake_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RayTaskError) as caught:
        embed(monkeypatch, (5, RayTaskError()))
    assert caught.value.args[-1] == [10]


@pytest.mark.parametrize(
    "count, plan, size",
    [
        (1_000_000, Plan(16, 1, 0, 1), 32),
        (1_000_000, Plan(8, 8, 1, 8), 1024),
        (100, Plan(5, 1, 0, 1), 5),
        (3, Plan(8, 1, 0, 1), 1),
    ],
)
def test_batches_are_small_where_there_are_few_inputs(count: int, plan: Plan, size: int) -> None:
    assert run.batch_size(count, plan) == size


def test_a_batch_holds_paths_that_every_node_can_open() -> None:
    sources = [audio.Source(path, "") for path in ("a.wav", "/b.wav", "s3://bucket/c.wav", "\udcff.wav")]
    table = to_table(list(enumerate(sources, 7)))
    assert table["input"].to_pylist() == [7, 8, 9, 10]
    first, second, third, last = table["open"].to_pylist()
    assert first.startswith(b"/") and first.endswith(b"/a.wav")
    assert (second, third, last[-5:]) == (b"/b.wav", b"s3://bucket/c.wav", b"\xff.wav")


def test_the_first_line_of_an_error_is_its_cause() -> None:
    wrapped = RuntimeError(
        "\n\x1b[36mray::Embedder()\x1b[39m\nTraceback\nmusicpase.errors.ConfigError: a node that joined"
    )
    assert cluster.first_line(wrapped) == "a node that joined"
    assert cluster.first_line(RuntimeError("\n\none\ntwo")) == "one"
    assert cluster.first_line(RuntimeError()) == "RuntimeError"

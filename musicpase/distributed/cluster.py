"""The cluster: connecting to it, and asking every node, before any work, whether it can do its share."""

import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from musicpase.errors import ConfigError, MissingExtraError, MusicpaseError, OutputError

__all__ = ["Node", "Plan", "connected", "find_nodes", "import_ray", "own_versions", "plan_actors", "survey"]

CONNECT_S = 10.0  # for the head to take a connection; Ray itself tries for minutes
SURVEY_S = 120.0  # for a node to answer: it starts a process that imports torch, perhaps from a cold network disk
OBJECT_STORE = 512 << 20  # bytes, of a cluster started here: weights, and rows on their way


@dataclass(frozen=True)
class Node:
    """A node that could hold an actor."""

    id: str
    address: str
    cpus: int
    gpus: float


@dataclass(frozen=True)
class Plan:
    """How the work is spread: so many actors, each with these resources."""

    actors: int
    cpus: int
    gpus: float
    workers: int  # decoding processes of each


def import_ray() -> Any:
    """The ray package.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use over the network
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError('--engine ray needs Ray: pip install "musicpase[ray]"') from error
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a cluster; what goes wrong in Ray meanwhile becomes one line.

    Args:
        address: `host:port` of the head; `auto` for the cluster that this machine belongs to; `local` starts one on
            this machine, for this run. If None, what the environment variable RAY_ADDRESS says, else `local`.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no such cluster can be reached.
        OutputError: the cluster failed.
    """
    ray = import_ray()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    check_address(address)
    local = {"include_dashboard": False, "object_store_memory": OBJECT_STORE} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, **local)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        what = "start Ray on this machine" if local else f"connect to the Ray cluster {address}"
        raise ConfigError(f"cannot {what}: {first_line(error)}") from error
    try:
        yield
    except ray.exceptions.RayError as error:
        raise OutputError(f"the Ray cluster failed: {first_line(error)}; --resume continues") from error
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Refuse an address behind which there is no head, in bounded time."""
    if address in ("auto", "local"):
        return
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address {address}: Ray's client cannot be used: run this command on a machine of the cluster "
            "(`ray job submit -- musicpase embed ...`) and leave --address out"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"--address is {address!r}: it must be host:port of the cluster's head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"--address {address}: no Ray cluster answers there ({reason})") from error


def find_nodes(nodes: Sequence[Mapping[str, Any]], gpus: float) -> list[Node]:
    """The nodes that can hold an actor with so many GPUs.

    Args:
        nodes: as `ray.nodes()` gives them.
        gpus: of an actor.

    Raises:
        ConfigError: there is none.
    """
    alive = [(node, node["Resources"]) for node in nodes if node["Alive"]]
    found = [
        Node(node["NodeID"], node["NodeManagerAddress"], int(has.get("CPU", 0)), has.get("GPU", 0.0))
        for node, has in alive
        if has.get("CPU", 0) >= 1 and has.get("GPU", 0.0) >= gpus
    ]
    if not found:
        need = f"{gpus:g} GPU and 1 CPU" if gpus else "1 CPU"
        raise ConfigError(f"none of the {len(alive)} nodes of the Ray cluster has {need} for an actor")
    return found


def plan_actors(nodes: Sequence[Node], *, actors: int | None, gpus: float, workers: int | None) -> Plan:
    """How many actors there are, and what each of them gets.

    On CPUs an actor computes in one thread on one core, so that none waits for another. With a GPU it gets its
    share of the cores of the poorest node, to decode with.

    Args:
        nodes: that can hold actors.
        actors: as many as they can hold if None. More may be asked for, of a cluster that grows.
        gpus: of an actor.
        workers: decoding processes of an actor; if None one, with a GPU as many as it has cores.
    """
    if not gpus:
        cpus, room = 1, sum(node.cpus for node in nodes)
    else:
        places = [max(1, int(node.gpus / gpus + 1e-9)) for node in nodes]
        cpus = max(1, min(node.cpus // place for node, place in zip(nodes, places, strict=True)))
        room = sum(places)
    return Plan(actors or room, cpus, gpus, cpus if workers is None else workers)


def own_versions() -> dict[str, str]:
    """The versions that must be the same wherever vectors are computed."""
    import torch

    from musicpase import __version__

    return {"musicpase": __version__, "torch": torch.__version__.partition("+")[0]}  # +cpu, +cu130: which build


def survey(nodes: Sequence[Node], plan: Plan, *, precision: str, samples: Sequence[str]) -> tuple[list[Node], str]:
    """Ask every node whether it can do its share.

    Args:
        nodes: which.
        plan: what an actor gets there.
        precision: as the user asked for it, perhaps "auto".
        samples: paths and URLs of some inputs, which must be seen from everywhere.

    Returns:
        The nodes that are still there, and the precision that all of them compute in.

    Raises:
        ConfigError: a node lacks musicpase or the inputs, or differs from the others; one line that names it.
    """
    ray = import_ray()

    # Defined here, Ray sends it by value: a node without musicpase can run it, and say so.
    def report(device: str, precision: str, samples: list[str]) -> dict[str, Any]:
        try:
            import torch

            from musicpase import __version__
        except ImportError as error:
            return {"missing": error.name}
        found: dict[str, Any] = {"versions": {"musicpase": __version__, "torch": torch.__version__.partition("+")[0]}}
        try:
            from musicpase.audio.access import see
            from musicpase.inference.devices import pick_device, pick_precision

            found["precision"] = pick_precision(precision, pick_device(device))
            for path in samples:
                see(path)
        except Exception as error:
            return {**found, "problem": str(error)}
        return found

    remote = ray.remote(report)
    asked = {
        node: remote.options(
            num_cpus=0,
            num_gpus=plan.gpus,
            max_retries=0,
            scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False),
        ).remote("cuda" if plan.gpus else "cpu", precision, list(samples))
        for node in nodes
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=SURVEY_S)
    reports = {node: answer(ray, reference) for node, reference in asked.items()}
    there = {node: report for node, report in reports.items() if "gone" not in report}
    if not there:
        raise ConfigError("every node has left the cluster while it was asked: is it being shut down?")
    return list(there), judge(there)


def answer(ray: Any, reference: Any) -> dict[str, Any]:
    """What a node has reported."""
    try:
        report: dict[str, Any] = ray.get(reference, timeout=0.1)
        return report
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return {"gone": True}  # it died meanwhile, and is none any more
    except ray.exceptions.GetTimeoutError:
        return {"problem": f"it has not answered for {SURVEY_S:g} s: it is busy or cut off"}
    except ray.exceptions.RayError as error:
        return {"problem": first_line(error)}


def judge(reports: Mapping[Node, Mapping[str, Any]]) -> str:
    """The precision that all nodes compute in, or a ConfigError that names the first that cannot join."""
    versions = own_versions()
    for node, report in reports.items():
        name = f"node {node.address}"
        if "missing" in report:
            raise ConfigError(
                f'{name} has no {report["missing"]}: pip install "musicpase[ray]=={versions["musicpase"]}" there'
            )
        for package, version in versions.items():
            theirs = report.get("versions", versions)[package]
            if theirs != version:
                raise ConfigError(f"{name} has {package} {theirs}, this machine {version}: install the same on all")
        if "problem" in report:
            raise ConfigError(f"{name}: {report['problem']}")
    precisions: dict[str, Node] = {report["precision"]: node for node, report in reports.items()}
    if len(precisions) > 1:
        (one, first), (other, second), *_ = precisions.items()
        raise ConfigError(
            f"node {first.address} computes in {one}, node {second.address} in {other}: name one with --precision"
        )
    return next(iter(precisions))


def first_line(error: BaseException) -> str:
    """What an error of Ray says, without the traceback that it carries along."""
    text = str(getattr(error, "cause", None) or error)  # the error in another process, or one that tells of it
    ours = re.findall(rf"{MusicpaseError.__module__}\.\w+: (.+)", text)
    lines = [*ours[-1:], *(line.strip() for line in text.splitlines() if line.strip())]
    return lines[0] if lines else type(error).__name__

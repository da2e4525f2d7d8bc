"""The process that talks to Ray; `client.py` starts it, and says there why it is one of its own."""

import _thread
import os
import sys
import threading
from typing import Any, BinaryIO

from musicpase.distributed import cluster
from musicpase.distributed.actor import Model, Work
from musicpase.distributed.messages import BLOCK, END, ERROR, SAID, receive, send
from musicpase.distributed.run import embed_on_cluster
from musicpase.errors import ModelError, MusicpaseError
from musicpase.hub import load_module
from musicpase.inference.pooling import Pooling

__all__ = ["main"]


def main() -> None:
    """Take an order and the inputs on stdin, write what comes of them to stdout; end when stdin does."""
    orders, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Ray prints
    try:
        serve(receive(orders)[1], orders, results)
        send(results, END)
    except MusicpaseError as error:
        send(results, ERROR, [type(error).__name__, str(error)])
    except (BrokenPipeError, EOFError, KeyboardInterrupt):  # nobody listens any more
        pass
    except Exception as error:
        send(results, ERROR, ["MusicpaseError", f"{type(error).__name__}: {cluster.first_line(error)}"])
    os._exit(0)  # the thread below may still wait for the end of stdin


def serve(order: dict[str, Any], orders: BinaryIO, results: BinaryIO) -> None:
    """Carry out an order: `client.Driver` says what is in it."""
    module, record = load_module(order["model"], revision=order["revision"])
    if record.sha256 != order["weights_sha256"]:
        raise ModelError(f"{order['model']}: the weights have changed since this run began")
    with cluster.connected(order["address"]):
        nodes = cluster.find_nodes(cluster.import_ray().nodes(), order["gpus"])
        wanted = {name: order[name] for name in ("actors", "gpus", "workers")}
        plan = cluster.plan_actors(nodes, **wanted)
        nodes, precision = cluster.survey(nodes, plan, precision=order["precision"], samples=order["samples"])
        plan = cluster.plan_actors(nodes, **wanted)  # some may have gone
        send(results, SAID, {"actors": plan.actors, "nodes": len(nodes), "precision": precision})
        _, inputs = receive(orders)
        threading.Thread(target=end_with, args=(orders,), daemon=True).start()
        device = "cuda" if plan.gpus else "cpu"
        model = Model(module, record, device, precision, order["batch_seconds"])
        work = Work(
            pooling=Pooling(*order["pooling"]),
            workers=plan.workers,
            threads=plan.cpus,
            max_duration=order["max_duration"],
            hash_files=order["hash_files"],
        )
        for block in embed_on_cluster(inputs, model, work, plan):
            send(results, BLOCK, block)


def end_with(stream: BinaryIO) -> None:
    """When a stream ends, interrupt this process: it takes leave of the cluster, or ends the one it has begun."""
    stream.read()
    _thread.interrupt_main()

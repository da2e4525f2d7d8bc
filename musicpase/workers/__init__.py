"""The pretext tasks: one worker each, with its target, its head and its loss; `catalogue.py` lists them all."""

from musicpase.workers.catalogue import WORKERS, Worker, select_workers
from musicpase.workers.files import WORKERS_NAME, load_workers, save_workers
from musicpase.workers.module import Workers
from musicpase.workers.targets import Statistics, Targets, measure_statistics

__all__ = [
    "WORKERS",
    "WORKERS_NAME",
    "Statistics",
    "Targets",
    "Worker",
    "Workers",
    "load_workers",
    "measure_statistics",
    "save_workers",
    "select_workers",
]

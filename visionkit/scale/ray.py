"""Runs shards on Ray, on one machine or a cluster: each worker holds the model. Only this file imports Ray.

A worker that dies is replaced, and its shard is done again. A shard with which workers keep dying is halved until the
image is alone that kills them; that image gets a row with an error, and all others get theirs.
"""

import os
import secrets
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from visionkit.scale.manifest import Item, read_shard
from visionkit.scale.rows import error_row
from visionkit.scale.shard import Counts, Work, rows_of, run_shard, write_rows
from visionkit.types import DataError, plain

DEATHS = 3  # of workers with one shard, after which it is halved
ALONE = 2  # deaths with one image alone, after which it is given up
ATTEMPTS = 3  # at a shard that ends in an error, such as a store that does not answer
PAUSE = 2.0  # seconds before a shard is tried again, and twice as long each time
PATIENCE = 60.0  # seconds without any worker before a line says so
REACH = 5.0  # seconds for a cluster to take a connection
LOOPBACK = "127.0.0.1"
QUIET = {"log_to_driver": False, "logging_level": "ERROR"}
OBJECTS = 200 * 2**20  # bytes of Ray's object store, through which nothing goes but counts and the rows of halves


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the workers run.

    Args:
        address: HOST:PORT of a running cluster; None starts Ray on this machine, for this run alone.
        workers: how many; None is one for each CPU, or for each share of a GPU.
        gpus: for each worker, such as 0.5; 0 is none.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0


@dataclass(frozen=True)
class _Task:
    """A shard, or the images `start`..`stop` of one that is being halved.

    Args:
        name: of the shard.
        start, stop: None for a whole shard.
        deaths: of workers that had this task.
        errors: with which it ended.
    """

    name: str
    start: int | None = None
    stop: int | None = None
    deaths: int = 0
    errors: int = 0


@dataclass
class _Halved:
    """A shard that is done in pieces: its images, and the rows that there are so far, by the first one's index."""

    items: list[Item]
    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


class _Worker:
    """What runs in a process of Ray's: a predictor that is opened once."""

    def __init__(self, open_predictor: Callable[[], Any], work: Work, gpus: float):
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several workers share a GPU
        self._predictor, self._work = open_predictor(), work

    def runtime(self) -> str:
        return self._predictor.runtime

    def shard(self, name: str) -> Counts:
        return run_shard(self._predictor, self._work, name)

    def rows(self, name: str, start: int, stop: int) -> list[dict[str, Any]]:
        items = read_shard(self._work.manifest, name)[start:stop]
        return rows_of(self._predictor, self._work, name, items, start)


def run_on_ray(
    open_predictor: Callable[[], Any], runtime: str, work: Work, names: Sequence[str], cluster: Cluster
) -> Iterator[Counts]:
    """Predicts shards on Ray's workers.

    Args:
        open_predictor: opens the model in a worker; is pickled.
        runtime: that every worker's predictor must have, so that all rows are made alike.
        work: where the shards are, and where the results go.
        names: of the shards.
        cluster: where to run.

    Yields:
        the counts of each shard, as soon as its results are written.

    Raises:
        DataError: Ray is not installed or not reachable, workers cannot start, or a store does not answer.
    """
    ray = _started(cluster)
    try:
        yield from _Run(ray, open_predictor, runtime, work, cluster).shards(names)
    finally:
        ray.shutdown()  # also ends the workers


def _started(cluster: Cluster) -> Any:
    """Ray, connected. What it takes from the environment, it takes when it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it sends nothing home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # it would warn; see `_Worker`
    if not cluster.address:
        # Whoever reaches Ray's ports may run programs. On Linux it would listen where other machines can join.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise DataError(
            "--engine ray: ray is not installed; it comes with visionkit's extra scale: "
            "pip install 'keras-visionkit[scale]'"
        ) from None
    if cluster.address:
        _connect(ray, cluster.address)
    else:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray would leave one in the home folder
        ray.init(
            address="local",  # and not what RAY_ADDRESS, or another cluster on this machine, would make of None
            num_cpus=cluster.workers,
            include_dashboard=False,
            object_store_memory=OBJECTS,
            _node_ip_address=LOOPBACK,
            **QUIET,
        )
        if ray.util.get_node_ip_address() != LOOPBACK:
            ray.shutdown()
            raise DataError("--engine ray: Ray was imported before visionkit could tell it to stay on this machine")
    return ray


def _connect(ray: Any, address: str) -> None:
    """Connects to a running cluster; says at once if nothing listens there, for which Ray takes minutes."""
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdecimal() and "://" not in host:
            socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
        ray.init(address=address, **QUIET)
    except Exception as error:  # Ray raises many kinds
        if "InvalidAuthToken" in f"{error} {error.__cause__}":
            raise DataError(
                f"--address {address}: the cluster wants its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN as on "
                "its machines"
            ) from error
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"--address {address}: no Ray cluster answers there ({reason})") from error


class _Run:
    """The tasks that wait, and those that run, by the reference under which Ray will answer."""

    def __init__(self, ray: Any, open_predictor: Callable[[], Any], runtime: str, work: Work, cluster: Cluster):
        self._ray, self._open, self._runtime, self._work = ray, open_predictor, runtime, work
        self._gpus = cluster.gpus
        self._kind = ray.remote(_Worker).options(num_cpus=1, num_gpus=cluster.gpus)
        have = ray.cluster_resources()
        share = have.get("GPU", 0) // cluster.gpus if cluster.gpus else have.get("CPU", 1)
        self._workers = cluster.workers or max(1, int(share))
        self._waiting: deque[_Task] = deque()
        self._starting: dict[Any, Any] = {}  # reference -> worker
        self._running: dict[Any, tuple[Any, _Task]] = {}  # reference -> worker and what it does
        self._halved: dict[str, _Halved] = {}
        self._false_starts = 0

    def shards(self, names: Sequence[str]) -> Iterator[Counts]:
        """Runs all shards; see `run_on_ray`."""
        self._waiting.extend(map(_Task, names))
        for _ in range(min(self._workers, len(names))):
            self._start()
        began, told = time.monotonic(), False
        while self._waiting or self._running:
            ready, _ = self._ray.wait([*self._starting, *self._running], num_returns=1, timeout=5)
            for reference in ready:
                if reference in self._starting:
                    self._greet(reference)
                else:
                    yield from self._take(reference)
            if not ready and not self._running and not told and time.monotonic() > began + PATIENCE:
                told = True
                reason = "the cluster has no room for one, or the model takes long to open"
                print(f"still waiting for the first worker: {reason}", file=sys.stderr, flush=True)

    def _start(self) -> None:
        worker = self._kind.remote(self._open, self._work, self._gpus)
        self._starting[worker.runtime.remote()] = worker

    def _greet(self, reference: Any) -> None:
        """Gives a worker that has opened the model its first task."""
        worker = self._starting.pop(reference)
        try:
            runtime = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._false_starts += 1
            if self._false_starts == ATTEMPTS:
                raise DataError(f"a worker cannot start: {_reason(error)}") from error
            self._start()
            return
        self._false_starts = 0
        if runtime != self._runtime:
            raise DataError(
                f"a worker computes with {runtime}, and the results are to be made with {self._runtime}; "
                "name one that all workers have: --runtime keras"
            )
        self._give(worker)

    def _give(self, worker: Any) -> None:
        """Gives an idle worker a task; where none is left, it waits for one that another worker may leave behind."""
        if not self._waiting:
            self._ray.kill(worker)
            return
        task = self._waiting.popleft()
        whole = task.start is None
        reference = worker.shard.remote(task.name) if whole else worker.rows.remote(task.name, task.start, task.stop)
        self._running[reference] = (worker, task)

    def _take(self, reference: Any) -> Iterator[Counts]:
        """Takes what became of a task."""
        worker, task = self._running.pop(reference)
        errors = self._ray.exceptions
        try:
            result = self._ray.get(reference)
        except errors.RayTaskError as error:
            self._retry(task, error)
            self._give(worker)
            return
        except errors.RayError:  # the worker died, or its node did
            self._ray.kill(worker)  # in case that it is only out of reach
            yield from self._bury(task)
            if self._waiting:
                self._start()
            return
        if task.start is None:
            yield result
        else:
            yield from self._add(task.name, task.start, result)
        self._give(worker)

    def _retry(self, task: _Task, error: Any) -> None:
        if task.errors + 1 >= ATTEMPTS:
            raise DataError(_reason(error)) from error
        time.sleep(PAUSE * 2**task.errors)
        self._waiting.append(replace(task, errors=task.errors + 1))

    def _bury(self, task: _Task) -> Iterator[Counts]:
        """Decides what follows from the death of a worker: again, in halves, or an error for the only image."""
        task = replace(task, deaths=task.deaths + 1)
        if task.start is None:
            if task.deaths < DEATHS:
                self._waiting.append(task)
                return
            items = read_shard(self._work.manifest, task.name)
            self._halved[task.name] = _Halved(items)
            task = replace(task, start=0, stop=len(items), deaths=ALONE - 1)
        assert task.start is not None and task.stop is not None
        if task.stop - task.start > 1:
            middle = (task.start + task.stop) // 2
            for start, stop in ((task.start, middle), (middle, task.stop)):
                self._waiting.appendleft(_Task(task.name, start, stop))
        elif task.deaths < ALONE:
            self._waiting.appendleft(task)
        else:
            item = self._halved[task.name].items[task.start]
            error = f"{item.uri}: the process that read it died, {task.deaths} times with this image alone"
            yield from self._add(task.name, task.start, [error_row(item, error)])

    def _add(self, name: str, start: int, rows: list[dict[str, Any]]) -> Iterator[Counts]:
        """Adds rows to those of a halved shard, and writes it when they are all there."""
        halved = self._halved[name]
        halved.rows[start] = rows
        if sum(map(len, halved.rows.values())) == len(halved.items):
            del self._halved[name]
            yield write_rows(self._work, name, [row for _, some in sorted(halved.rows.items()) for row in some])


def _reason(error: Any) -> str:
    """The last line of what a worker reports, which is where Python names the error."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return plain(lines[-1] if lines else type(cause).__name__)

"""Several processes that train together: how each of them is told who they are. Imports no framework."""

import json
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from visionkit.types import DataError

TF, ADDRESSES, COUNT, INDEX = (
    "TF_CONFIG",  # TensorFlow's own
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",  # and those that `keras.distribution.initialize` reads
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)
_VARIABLE = {"tensorflow": TF, "jax": COUNT}  # which says how many processes there are


@dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Args:
        count: how many they are.
        index: of this process, from 0; the first one writes the run.
    """

    count: int = 1
    index: int = 0


def cluster_of(backend: str, wanted: int | str = "auto") -> Cluster:
    """The processes that the environment names for `backend`; this one alone where it names none.

    Args:
        backend: Keras' name for it.
        wanted: the value of --devices, which must be "auto" for several processes: each would otherwise train alone,
            and all of them into one folder.

    Raises:
        DataError: the variables cannot be read, are those of another backend, or do not go with `wanted`.
    """
    clusters = {"tensorflow": _in_tf_config(), "jax": _in_keras_variables()}
    for other, cluster in clusters.items():
        if cluster.count > 1 and other != backend:
            name = _VARIABLE[other]
            raise DataError(
                f"{name} names {cluster.count} processes, but it is not for the backend {backend}: unset {name}, or "
                f"set KERAS_BACKEND={other}; visionkit launch sets what either needs"
            )
    cluster = clusters.get(backend, Cluster())
    if cluster.count > 1 and wanted != "auto":
        name = _VARIABLE[backend]
        raise DataError(f"--devices {wanted}: {name} names {cluster.count} processes; use --devices auto")
    return cluster


def check_batch_size(batch_size: int, count: int, what: str) -> None:
    """Raises a DataError where not each of `count` devices or processes gets as many images of a batch as the others.

    Args:
        batch_size: images of all of them together.
        count: how many share a batch.
        what: they are: "devices" or "processes".
    """
    if batch_size % count:
        below = batch_size - batch_size % count
        sizes = f"{below} or {below + count}" if below else f"{count}"
        shared = f"batches of {batch_size} images cannot be shared evenly by {count} {what}"
        raise DataError(f"{shared}; take a batch size of {sizes}")


def variables(backend: str, addresses: Sequence[str], index: int) -> dict[str, str]:
    """The environment variables by which process `index` knows the cluster, see `cluster_of`.

    Args:
        backend: "tensorflow" or "jax".
        addresses: "host:port" of each process; on JAX, the first one alone is connected to.
        index: of the process, from 0.
    """
    if backend == "tensorflow":
        config = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
        return {TF: json.dumps(config)}
    return {ADDRESSES: addresses[0], COUNT: str(len(addresses)), INDEX: str(index)}


def free_addresses(count: int) -> list[str]:
    """HOST:PORT for so many processes on this machine alone, where nobody listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def _in_tf_config() -> Cluster:
    """The chief, if there is one, comes first."""
    try:
        config = json.loads(os.environ.get(TF) or "{}")
        cluster, task = config.get("cluster", {}), config.get("task", {})
        processes = [(kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, ())))]
        this = (task.get("type"), task.get("index"))
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{TF}: cannot be read ({error}); expected the JSON that docs/devices.md shows") from error
    if len(processes) < 2:
        return Cluster()
    if this not in processes:
        raise DataError(f"{TF}: its task is none of its {len(processes)} processes; docs/devices.md shows an example")
    return Cluster(len(processes), processes.index(this))


def _in_keras_variables() -> Cluster:
    try:
        count, index = int(os.environ.get(COUNT) or 1), int(os.environ.get(INDEX) or 0)
    except ValueError as error:
        raise DataError(f"{COUNT}, {INDEX}: expected two numbers ({error})") from error
    if count < 2:
        return Cluster()
    if not (0 <= index < count and os.environ.get(INDEX) and os.environ.get(ADDRESSES)):
        raise DataError(
            f"{COUNT}={count}: each process also needs {INDEX}, of 0 to {count - 1}, and {ADDRESSES}, the HOST:PORT of "
            "process 0"
        )
    return Cluster(count, index)

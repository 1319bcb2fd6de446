"""A Ray cluster of one node with two CPUs on loopback, as `ray start --head` starts it; it ends with its process."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile

from support.paths import ROOT

HOST = "127.0.0.1"
PYTHONPATH = os.pathsep.join([str(ROOT), str(ROOT / "tests")])  # for workers, which open the tests' predictors


def environment():
    """What a cluster and all who join it have in their environment before they import Ray: a token, and loopback."""
    token = secrets.token_hex(32)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextlib.contextmanager
def ray_cluster():
    """Runs the cluster; yields its address."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # a short path, since Ray makes sockets below it
        address = f"{HOST}:{free_port()}"
        head = start("--head", "--port", address.rpartition(":")[2], "--temp-dir", folder)
        try:
            yield address
        finally:
            end(head)


def start(*words, host=HOST, cpus=2):
    """`ray start` of a node; returns its process once the node is up."""
    common = [
        "--block",
        "--node-ip-address",
        host,
        "--disable-usage-stats",
        "--num-cpus",
        str(cpus),
        "--object-store-memory",
        str(200 * 2**20),
    ]
    ports = ["--min-worker-port", "0", "--max-worker-port", "0"]
    node = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *ports, *words],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in node.stdout:
        lines.append(line)
        if "--block" in line:
            return node
    raise AssertionError(f"Ray did not start: {''.join(lines)}")


def end(node):
    """Ends a node with all its processes, which `ray start --block` watches over."""
    node.terminate()
    node.communicate(timeout=60)


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]

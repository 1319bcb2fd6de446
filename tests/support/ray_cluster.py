"""A Ray cluster of one node with two CPUs on loopback, in a process of its own that ends with its stdin."""

import contextlib
import os
import subprocess
import sys

from support.paths import ROOT

HEAD = """
import os, sys
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
import ray
from support.ray_cluster import stay_on_loopback
stay_on_loopback()
context = ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=200 * 2**20,
                   _node_ip_address="127.0.0.1", log_to_driver=False, logging_level="ERROR")
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""


def stay_on_loopback():
    """Lets this process start or find a cluster at 127.0.0.1; see visionkit/scale/ray.py."""
    from ray._private import services

    services.resolve_ip_for_localhost = lambda host: host


@contextlib.contextmanager
def ray_cluster():
    """Runs the cluster, whose workers can import the tests' support; yields its address."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        address = head.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield address
    finally:
        head.communicate(timeout=60)

"""An S3 of the tests' own on loopback, by moto."""

import contextlib
import logging
import urllib.request

import pytest


@contextlib.contextmanager
def s3_server(bucket):
    """Runs a server with an empty bucket; the environment names it, for this process and those that it starts.

    Yields:
        the server's address, http://127.0.0.1:PORT.
    """
    from moto import server as server_module

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with urllib.request.urlopen(urllib.request.Request(f"{address}/{bucket}", method="PUT")):
        pass
    environment = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        _forget()
        try:
            yield address
        finally:
            server.stop()
            _forget()


def versions(bucket, prefix):
    """The entity tag and the time of change of each object of the server, which is in this process, by its name."""
    from moto.s3.models import s3_backends

    (backend,) = (account["aws"] for account in s3_backends.values() if bucket in account["aws"].buckets)
    keys = backend.buckets[bucket].keys
    return {name: (keys[name].etag, keys[name].last_modified) for name in keys if name.startswith(prefix)}


def _forget():
    from visionkit.scale import store

    store._system.cache_clear()  # it holds connections to a server that is gone

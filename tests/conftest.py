"""What every file of tests shares."""

import gc
import subprocess
import sys

import pytest
from support.disks import mount


@pytest.fixture(scope="module", autouse=True)
def forget():
    """What Keras keeps of a file's models goes with the file: a worker grew to 9 GB in the whole run."""
    yield
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session()
        gc.collect()


@pytest.fixture
def disk(tmp_path):
    """A file system of its own with room for half a MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=512k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)

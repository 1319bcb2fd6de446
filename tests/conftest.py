"""What every file of tests shares."""

import gc
import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def forget():
    """What Keras keeps of a file's models goes with the file: a worker grew to 9 GB in the whole run."""
    yield
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session()
        gc.collect()

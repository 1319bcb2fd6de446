"""What every file of tests shares."""

import ctypes
import gc
import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import hypothesis
import pytest
from support.disks import mount
from support.preloaded import Preloaded

# TensorFlow's own allocator for oneDNN keeps what it once had: a worker would hold the weights of the largest backbones
# to its end. Read when TensorFlow is loaded, here and in every child.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

# Else every training would end with an export; what is about the choice of the runtime makes it itself.
os.environ["VISIONKIT_RUNTIME"] = "keras"

# How long an example takes says nothing on a machine that does other things as well.
hypothesis.settings.register_profile("visionkit", deadline=None)
hypothesis.settings.load_profile("visionkit")

PEAKS = []  # of the workers that have ended, in bytes
# They start many processes, or long ones: a worker that began one of them last would keep the other waiting. Or they
# hold large models, for which a worker has room while it is young.
LONG = {
    "test_backbones.py",
    "test_backbones_jax.py",
    "test_backends.py",
    "test_configs.py",
    "test_deploy_page.py",
    "test_detector_goldens.py",
    "test_devices.py",
    "test_exports.py",
    "test_freezing.py",
    "test_goldens.py",
    "test_ray.py",
    "test_readme.py",
    "test_resume.py",
    "test_saved_model.py",
    "test_weights.py",
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """Collections need not look through what was imported so far, TensorFlow above all: it takes half a second."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory):
    """A state folder of the tests' own, so that they leave the user's key alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def _free(module):
    """Frees what tests left in memory: models in the caches of their file, Keras' graphs, and what malloc keeps."""
    for value in vars(module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session(free_memory=False)  # the collection follows
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="module", autouse=True)
def forget(request):
    """Frees what a file's tests leave in memory.

    Without it a worker holds every backbone of the zoo to the end, 7 GB. What is alive afterwards belongs to imported
    libraries; later collections leave it out, because to look through it takes seconds, once for every file.
    """
    yield
    _free(request.module)
    gc.freeze()


@pytest.fixture
def forget_each(request):
    """Frees what a test leaves in memory, for files whose tests build one large model after the other."""
    yield
    _free(request.module)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    PEAKS.append(getattr(node, "workeroutput", {}).get("peak", 0))


def pytest_terminal_summary(terminalreporter):
    if PEAKS:
        terminalreporter.write_line(f"largest worker: {max(PEAKS) / 1e9:.1f} GB")


@pytest.fixture(scope="session")
def _preloaded():
    process = Preloaded()
    yield process
    process.close()


@pytest.fixture(scope="module")
def preloaded(_preloaded):
    """The processes that visionkit starts, of a file that asks for this, share one start of TensorFlow.

    Of each kind another file makes a real one: test_exports.py, test_readme.py and test_deploy_page.py do.
    """

    def run(words, **options):
        without = "visionkit.export.alone" in words  # it insists on running without TensorFlow
        return subprocess.run(words, **options) if without else _preloaded.run(words, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionkit.processes.subprocess", SimpleNamespace(run=run))
        yield _preloaded


@pytest.fixture
def disk(tmp_path):
    """A file system of its own with room for half a MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=512k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)

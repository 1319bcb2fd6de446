"""File systems of their own, where this user may mount them."""

import shutil
import subprocess

import pytest


def mount(*arguments):
    if not shutil.which("mount"):
        pytest.skip("there is no mount command here")
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")

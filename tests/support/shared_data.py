"""The real data sets that lie beside the checkout; tests that want one skip by its name where it is absent."""

import pytest
from support import paths

SHARED = paths.SHARED / "data"


def needs(name: str):
    return pytest.mark.skipif(not (SHARED / name).is_dir(), reason=f"{name} is not beside the checkout")


def case(name, *values):
    return pytest.param(SHARED / name, *values, marks=needs(name), id=name.split("/")[1])

"""Damaged annotation files of every kind; tests/support/fuzz_readers.py runs as many as one likes."""

import pytest
from support import fuzz_readers

from visionkit.data.readers import voc


def test_damaged_sets_are_read_or_refused_with_a_file_named():
    outcomes = fuzz_readers.fuzz(300, seed=0)
    assert sum(outcomes.values()) == 300
    assert len(outcomes) >= 8, f"the damage is too much alike: {outcomes}"


def test_the_fuzz_notices_a_reader_that_trusts_its_input(monkeypatch):
    monkeypatch.setattr(voc, "number", lambda value, where: float(value))
    monkeypatch.setattr(fuzz_readers, "KINDS", ("voc",))
    with pytest.raises((ValueError, TypeError)) as caught:
        fuzz_readers.fuzz(100, seed=0)
    assert "reproduce: run(" in caught.value.__notes__[0]

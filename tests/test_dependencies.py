"""What `make test` installs: in the versions that were tested, and under licences that suit ours."""

import importlib.util
import re
import sys

import pytest
from packaging.requirements import Requirement
from support.paths import ROOT

LINE = re.compile(r'([a-z0-9-]+)==([\w.]+)( ; python_version == "3\.\d+")?')


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("dependencies", ROOT / "tools" / "maintenance" / "dependencies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def constraints():
    return (ROOT / "constraints.txt").read_text().splitlines()


def test_constraints_are_exact_versions_and_nothing_else(constraints):
    assert constraints[0].startswith("# The versions with which the tests passed")
    for line in constraints[1:]:  # no addresses, no options of pip
        assert LINE.fullmatch(line), line


def test_every_dependency_has_a_tested_version(tool, constraints):
    lines = [Requirement(line) for line in constraints[1:]]
    named = [line.name for line in lines if line.marker is None or line.marker.evaluate()]
    assert len(named) == len(set(named))
    assert tool.needed() - tool.INSTALLER <= set(named)
    assert {"numpy", "keras", "tensorflow-cpu", "jax", "pytest"} <= tool.needed()
    for python in ("3.11", "3.12", "3.13"):
        fitting = [line for line in lines if line.marker is None or line.marker.evaluate({"python_version": python})]
        assert {line.name for line in fitting} == {line.name for line in lines}


def test_make_installs_what_was_tested():
    rule = (ROOT / "Makefile").read_text()
    assert "$(VENV)/ready: pyproject.toml constraints.txt\n" in rule
    assert "pip install --quiet --constraint constraints.txt" in rule


def test_licences_are_listed_and_none_is_the_gpl(tool):
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| (.+) \|$", tool.LICENCES.read_text(), re.MULTILINE))
    del rows["package"]
    for name in tool.needed() - tool.INSTALLER:
        assert rows[name] == tool.licence_of(name), name
    for name, licence in rows.items():
        assert not re.search(r"GPL", licence), f"{name} is under {licence}"


def test_a_licence_that_is_not_stated_is_noticed(tool, monkeypatch, tmp_path):
    for name, stated in {"bare": "", "gnu": "License: GPL-3.0\n"}.items():
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{stated}")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("bare", "gnu"):
        with pytest.raises(ValueError, match=f"{name}: cannot tell its licence"):
            tool.licence_of(name)

"""Each process finds in its environment who trains with it, and anything else there is an error of one line."""

import json
import re

import pytest

from visionkit.train.cluster import ADDRESSES, COUNT, INDEX, TF, Cluster, cluster_of, variables
from visionkit.types import DataError

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in (TF, ADDRESSES, COUNT, INDEX):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_process_reads_what_was_written_for_it(backend, monkeypatch):
    assert cluster_of(backend) == cluster_of("torch") == Cluster(1, 0)
    for index in range(2):
        for name, value in variables(backend, TWO, index).items():
            monkeypatch.setenv(name, value)
        assert cluster_of(backend) == Cluster(2, index)


def test_a_chief_is_the_first_of_the_processes(monkeypatch):
    cluster = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    found = []
    for kind, index in (("chief", 0), ("worker", 0), ("worker", 1)):
        monkeypatch.setenv(TF, json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
        found.append(cluster_of("tensorflow"))
    assert found == [Cluster(3, 0), Cluster(3, 1), Cluster(3, 2)]


@pytest.mark.parametrize(("backend", "other", "name"), [("jax", "tensorflow", TF), ("tensorflow", "jax", COUNT)])
def test_the_variables_of_another_backend_are_an_error(backend, other, name, monkeypatch):
    for variable, value in variables(other, TWO, 0).items():
        monkeypatch.setenv(variable, value)
    said = (
        f"{name} names 2 processes, but it is not for the backend {backend}: unset {name}, or set KERAS_BACKEND={other}"
    )
    for kind in (backend, "torch"):
        with pytest.raises(DataError, match=re.escape(said.replace(f"backend {backend}", f"backend {kind}"))):
            cluster_of(kind)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({TF: "["}, "TF_CONFIG: cannot be read"),
        ({TF: json.dumps({"cluster": {"worker": TWO}})}, "TF_CONFIG: its task is none of its 2 processes"),
        ({COUNT: "two"}, f"{COUNT}, {INDEX}: expected two numbers"),
        ({COUNT: "2", INDEX: "2", ADDRESSES: TWO[0]}, f"{COUNT}=2: each process also needs {INDEX}, of 0 to 1"),
        ({COUNT: "2", INDEX: "1"}, "the HOST:PORT of process 0"),
    ],
)
def test_variables_that_make_no_sense_are_an_error(given, said, monkeypatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=re.escape(said)):
        cluster_of("jax" if COUNT in given else "tensorflow")


def test_one_process_by_itself_is_no_cluster(monkeypatch):
    monkeypatch.setenv(TF, json.dumps({"cluster": {"chief": ["a:1"]}}))
    monkeypatch.setenv(COUNT, "1")
    assert cluster_of("jax", 1) == cluster_of("tensorflow", 1) == Cluster(1, 0)

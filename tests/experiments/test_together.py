"""Several processes that share a search: each trial is carried out once, also when one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from support.on_jax import ON_JAX
from support.paths import ROOT
from support.searching import SPACE, knobs_with, plan, pretending

from visionkit.cli import main
from visionkit.experiments import together
from visionkit.experiments.search import DONE, search
from visionkit.experiments.together import LOST, search_together
from visionkit.train.options import Options
from visionkit.types import DataError


@pytest.fixture
def out(tmp_path, monkeypatch):
    (tmp_path / "ended").mkdir()
    monkeypatch.setattr("visionkit.experiments.search.finish", pretending(0))
    monkeypatch.setattr(together, "HEARTBEAT", 1)
    return tmp_path / "out"


def begun(out):
    """[trial, process, whether it went on] of each training in its order."""
    file = out.parent / "begun.txt"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_a_search_goes_on_in_its_database_with_more_trials(out, tmp_path):
    storage = f"sqlite:///{tmp_path}/search.db"
    first = search_together(plan, knobs_with, SPACE, 3, out, storage)
    assert [row["number"] for row in first["trials"]] == [0, 1, 2]
    again = search_together(plan, knobs_with, SPACE, 8, out, storage)
    assert again["trials"][:3] == first["trials"]
    assert json.loads((out / "search.json").read_text()) == again
    assert [name for name, *_ in begun(out)] == [f"trial-{i}" for i in range(8)]
    assert again["best"]["score"] == max(row["score"] for row in again["trials"] if "score" in row)


def test_a_trial_that_was_interrupted_goes_on_in_its_folder(out, tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path}/search.db"
    monkeypatch.setattr("visionkit.experiments.search.finish", pretending(0, stop_at=["trial-1"] * 5))
    for _ in range(5):  # more often than it may be killed
        with pytest.raises(KeyboardInterrupt):
            search_together(plan, knobs_with, SPACE, 3, out, storage)
    rows = search_together(plan, knobs_with, SPACE, 3, out, storage)["trials"]
    # The database counts each try; a trial keeps the number of its first one, and with it its folder.
    assert [row["number"] for row in rows] == [0, 1, 7] and all("score" in row for row in rows)
    assert [(name, went_on) for name, _, went_on in begun(out)] == [
        ("trial-0", "False"),
        ("trial-1", "False"),
        *[("trial-1", "True")] * 5,
        ("trial-7", "False"),
    ]


def test_a_trial_that_kills_its_processes_is_given_up(out, tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path}/search.db"
    search_together(plan, knobs_with, SPACE, 1, out, storage)
    the_plan = together.plan(plan, knobs_with, SPACE, out, None, Options())
    study = together._open(storage, str(out), the_plan.settings | {"sha256": ""})
    for killed in range(together.KILLS + 1):
        trial = together._take(study, the_plan.kinds, 2)
        assert trial.user_attrs.get(together.KILLED, 0) == killed
        assert (trial.number if killed == 0 else trial.user_attrs[together.OF]) == 1
        study.tell(trial, state=together.open_optuna().trial.TrialState.FAIL)  # as Optuna does for a stale one
        together._after_a_kill(study, study.get_trials()[trial.number])
    rows = search_together(plan, knobs_with, SPACE, 2, out, storage)["trials"]
    assert [row["state"] for row in rows] == [DONE, LOST]


def test_a_database_of_another_search_is_refused(out, tmp_path):
    storage = f"sqlite:///{tmp_path}/search.db"
    search_together(plan, knobs_with, SPACE, 1, out, storage)
    (out / "experiment.json").unlink()
    (out / "search.json").unlink()
    (out / "trial-0" / "history.csv").unlink()
    (out / "trial-0").rmdir()
    with pytest.raises(DataError, match=r"--storage: holds a search .*/out with another space; name another folder"):
        search_together(plan, knobs_with, SPACE.replace("1e1", "1"), 1, out, storage)
    with pytest.raises(DataError, match=r"out: holds an experiment with another study, .* and not None"):
        search(plan, knobs_with, SPACE.replace("1e1", "1"), 1, out)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("search.db", "--storage search.db: expected the URL of a database; for a file write sqlite:///search.db"),
        ("sqlite://search.db", "--storage sqlite://search.db: a file needs three slashes, as in sqlite:///search.db"),
    ],
)
def test_a_file_that_is_no_url_is_refused_with_what_to_write(out, storage, said):
    with pytest.raises(DataError) as caught:
        search_together(plan, knobs_with, SPACE, 1, out, storage)
    assert str(caught.value) == said
    assert not out.exists()


@pytest.mark.parametrize("storage", ["sqlite:////no/such/folder/search.db", "nosuch://host/search"])
def test_a_database_that_cannot_be_opened_is_an_error_of_one_line(out, storage):
    with pytest.raises(DataError, match=r"--storage: the database cannot be opened \(.*\); a file is sqlite:///FILE$"):
        search_together(plan, knobs_with, SPACE, 1, out, storage)


def test_a_seed_and_a_database_exclude_each_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def recipe(lr: float = 0.1):\n    raise AssertionError\n")
    words = ["search", "mine.py", "--space", "lr=1..2", "--storage", "sqlite:///s.db", "--search-seed", "1"]
    assert main(words) == 1
    assert "--search-seed: what several processes draw cannot be repeated" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_share_a_search_and_one_is_killed(tmp_path):
    (tmp_path / "ended").mkdir()
    out, storage, count = tmp_path / "out", f"sqlite:///{tmp_path}/search.db", 12
    script = ROOT / "tests" / "support" / "searching.py"
    environment = os.environ | ON_JAX | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))}
    command = [sys.executable, str(script), str(out), storage, str(count), "1.0"]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    killed, other = both
    try:
        while len([pid for _, pid, _ in begun(out) if pid == str(killed.pid)]) < 2:
            for process in both:
                assert process.poll() is None, f"ended before both took part: {process.communicate()[1]}"
            time.sleep(0.1)
        time.sleep(0.5)  # in the middle of its second trial
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        said = other.communicate(timeout=300)[1]
    finally:
        for process in both:
            process.kill()
    assert other.returncode == 0, said
    rows = json.loads((out / "search.json").read_text())["trials"]
    assert len(rows) == count
    assert all("state" in row and row["state"] != LOST for row in rows)
    names = {f"trial-{row['number']}" for row in rows}
    assert {file.name for file in (tmp_path / "ended").iterdir()} == names  # each ended once, see searching.py
    times = Counter(name for name, *_ in begun(out))
    left = [name for name, pid, _ in begun(out) if pid == str(killed.pid)][-1]
    assert times == Counter({name: 2 if name == left else 1 for name in names})
    assert [left, str(other.pid), "True"] in begun(out)


def test_the_command_line_trains_and_goes_on_with_a_database(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nfrom support.tiny_classifier import recipe\n"
    (tmp_path / "mine.py").write_text(code)
    words = [
        "search",
        "mine.py",
        "--epochs=1",
        "--space",
        "lr=0.01..1:log",
        "--storage",
        "sqlite:///s.db",
        "--out",
        "s",
    ]
    for trials in (1, 2):
        assert main([*words, "--trials", str(trials)]) == 0
    said = capsys.readouterr().out
    assert (said.count("trial-0, one of "), said.count("trial-1, one of 2: lr ")) == (1, 1)
    found = json.loads((tmp_path / "s" / "search.json").read_text())
    assert said.splitlines()[-1] == f"best: visionkit train mine.py --epochs=1 --lr={found['best']['values']['lr']}"
    for row in found["trials"]:
        results = json.loads((tmp_path / "s" / f"trial-{row['number']}" / "results.json").read_text())
        assert (results["top1"], results["knobs"]["lr"]) == (row["score"], float(row["values"]["lr"]))

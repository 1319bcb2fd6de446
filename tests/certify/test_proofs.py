"""The verb certify, and the table that it has in the docs."""

import re
import sys

from support.paths import ROOT

from visionkit.certify.courses import BUILD, LEAST_NORM, Comparison
from visionkit.certify.proofs import KINDS, read_proofs
from visionkit.cli import main


def test_the_table_of_proofs_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools" / "maintenance")
    from certificates import PAGE, page

    text = PAGE.read_text()
    assert page(text) == text, "run: python tools/maintenance/certificates.py"
    sys.modules.pop("certificates")


def test_every_proof_has_a_figure_and_a_date():
    proofs = read_proofs()
    assert proofs and set(proofs) <= set(BUILD)
    for kinds in proofs.values():
        assert set(kinds) <= set(KINDS)
        assert all(figure and re.fullmatch(r"\d{4}-\d\d-\d\d", date) for figure, date in kinds.values())


def test_all_proofs_are_listed(capsys):
    assert main(["certify"]) == 0
    out = capsys.readouterr().out
    assert "retinanet\n  forward          within 1e-4 of the range of raw outputs" in out


def test_an_unknown_name_is_answered_with_the_nearest(capsys):
    assert main(["certify", "retinnet"]) == 1
    assert "model 'retinnet': no certificate; did you mean 'retinanet'" in capsys.readouterr().err


def test_a_course_that_differs_ends_with_1_and_names_the_worst(capsys, monkeypatch):
    found = Comparison("retinanet", 30, {"class_loss": 0.0, "box_loss": 0.02}, {"head.bias": float("nan"), "a": 1.0})
    monkeypatch.setattr("visionkit.certify.courses.certify", lambda name: found)
    assert main(["certify", "retinanet"]) == 1
    out = capsys.readouterr().out
    assert "DIFFERS on tensorflow: after 30 steps the losses differ by 2.0e-02 at most (box_loss)" in out
    assert "the norms of 2 tensors by nan (head.bias); 0.001 is allowed" in out
    assert LEAST_NORM < 1e-4

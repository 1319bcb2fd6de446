"""The figures that the README and the pages quote are those that a results file holds."""

import json

import pytest
from support.figures import MEASURED, as_shown, claims, figures, measured, value_of
from support.pages import COURSE, PAGES
from support.paths import ROOT

HOWTO = sorted((ROOT / "docs" / "howto").glob("*.md"))
MARKED = [ROOT / "docs" / page for page in ("export.md", "segmentation.md", "architectures/nanodet.md")]
QUOTING = [page for page in [ROOT / "README.md", *PAGES] if figures(page)]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", QUOTING, ids=name)
def test_a_page_quotes_what_the_file_holds(page):
    """Fails where a page says something else: write what the file has, or run `make book` where it is out of date."""
    for figure in figures(page):
        assert as_shown(value_of(figure, page), figure) == figure.shown, figure


@pytest.mark.parametrize("page", [ROOT / "README.md", *HOWTO, *COURSE, *MARKED], ids=name)
def test_no_score_is_quoted_that_no_file_holds(page):
    """Put `<!-- from FILE KEY -->` or `<!-- measured EXPRESSION -->` behind it, or name whose figure it is."""
    assert list(claims(page.read_text())) == []


def test_only_figures_that_a_page_quotes_are_filed():
    filed = json.loads(MEASURED.read_text())
    quoted = {page.name: {figure.source for figure in figures(page) if figure.kind == "measured"} for page in COURSE}
    assert {page: set(values) for page, values in filed.items()} == {page: s for page, s in quoted.items() if s}


def test_a_figure_is_computed_in_the_names_of_its_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('It was 23.5 %<!-- measured scores["top1"] --> after\n1.5 min<!-- measured seconds -->.')
    names = {"scores": {"top1": 0.2349}, "seconds": 92}
    values = measured(page, names)
    assert values == {'scores["top1"]': 0.2349, "seconds": 92}
    shown = [as_shown(values[figure.source], figure) for figure in figures(page)]
    assert shown == ["23.5", "1.5"]


def test_a_claim_without_a_source_is_found():
    text = (
        "It reached 0.91. The mAP50 is 0.93<!-- from a.json mAP50 -->.\n\nThe paper reached 0.95.\n\n    mAP50 0.97\n"
    )
    assert list(claims(text)) == ["It reached 0.91."]
    assert list(claims("| SSD | mAP50 0.921 |\n| other | 0.5 |\n")) == ["| SSD | mAP50 0.921 |"]
    assert list(claims("mAP50 asks for an IoU of 0.5. mAP is the mean over IoUs of 0.5 to 0.95.")) == []

"""The pages of docs/ do what they say: their Python is run, and what they show it printing is what it prints."""

import json
import re

import numpy as np
import pytest
from support.backbones import PARAMETERS
from support.pages import BLOCK, COURSE, PAGES, SLOW, is_slow, run
from support.paths import ROOT

import visionkit
from visionkit.backbones import BACKBONES
from visionkit.weights.cards import CARDS

ARCHITECTURES = sorted((ROOT / "docs" / "architectures").glob("*.md"))
IMPORT = re.compile(r"^ *(?:from (visionkit\S*) import (.+)|import (visionkit\S*).*)$", re.M)
FOR_CONTRIBUTORS = {"design.md"}
LOOK_INSIDE = {9, 10, 11, 12, 14, 15, 16, 18}  # pages of the course that compare what they do by hand with visionkit
ROW = re.compile(r"^\| `(\w+)` \| ([\d,]+) \| ([^|]*) \|", re.M)  # | `name` | parameters | top-1 |
FIGURE = re.compile(r"!\[[^]]+\]\(figures/([\w-]+\.(?:png|jpg))\)")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def named(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT / "docs")))


@pytest.mark.usefixtures("forget_each")
@named(PAGES)
def test_the_page_runs(page, tmp_path, monkeypatch):
    if is_slow(page):
        pytest.skip(f"{page.name} is slow: `make book` runs it")
    monkeypatch.chdir(tmp_path)
    run(page)


def test_a_page_that_shows_something_else_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Two lines.\n\n```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:3: shows\n3\nand prints\n2"):
        run(page)


def test_only_pages_of_the_course_are_slow():
    assert {page for page in PAGES if is_slow(page)} <= set(COURSE)
    assert not [page.name for page in PAGES if SLOW in page.read_text() and not is_slow(page)]


def test_the_overview_lists_the_pages_of_the_course_in_order():
    listed = re.findall(r"\]\(course/([^)]+)\)", (ROOT / "docs" / "README.md").read_text())
    assert listed == [page.name for page in COURSE]
    for page in COURSE:  # the title has the page's number
        number = page.name.partition("-")[0]
        assert re.search(rf"^# {number} · \S", page.read_text(), re.M), page.name


def test_every_figure_of_the_course_is_drawn_by_its_page_and_small():
    shown = {}
    for page in COURSE:
        for name in FIGURE.findall(page.read_text()):
            assert f'"{name}"' in page.read_text(), f"{page.name} shows {name} and does not draw it"
            shown[name] = (ROOT / "docs" / "course" / "figures" / name).stat().st_size
    assert shown, "no figures"
    assert not {name for name, size in shown.items() if size > 60_000}
    assert {file.name for file in (ROOT / "docs" / "course" / "figures").iterdir()} == set(shown)


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        assert (page.parent / link).exists(), link


def test_every_architecture_has_its_numbers_on_a_page():
    """Parameters as test_goldens.py and test_backbones.py count them, published top-1 as the cards have it."""
    rows = [row for page in ARCHITECTURES for row in ROW.findall(page.read_text())]
    assert sorted(name for name, *_ in rows) == sorted(BACKBONES)
    for name, parameters, top1 in rows:
        golden = ROOT / "tests" / "golden" / f"{name}.npz"
        counted = np.load(golden)["parameters"] if golden.exists() else PARAMETERS[name][1]
        assert int(parameters.replace(",", "")) == counted, name
        cards = [card for card in CARDS.values() if card.architecture == name and card.top1]
        shown = [float(number) for number in re.findall(r"\d+\.\d+", top1)]
        assert shown == [card.top1 for card in cards], name


def test_measured_numbers_are_those_that_are_filed():
    """Recipes, pages that name a recipe, and the results in docs/results say the same."""
    for file in sorted((ROOT / "docs" / "results").glob("*.json")):
        entry = json.loads(file.read_text())
        if "top1" in entry["scores"] and entry["seed"] == 0:
            name, percent = f"configs/{entry['recipe']}.py", f"{100 * entry['scores']['top1']:.2f} %"
            assert f"top-1 {percent}" in (ROOT / name).read_text(), file.name
            assert all(percent in page.read_text() for page in ARCHITECTURES if name in page.read_text()), file.name


def private_names(text):
    """What a page for users names of visionkit that is not public."""
    found = []
    for module, names, alone in IMPORT.findall(text):
        imported = [name.partition(" as ")[0].strip() for name in names.split(",")]
        if alone != "visionkit" and not (module == "visionkit" and set(imported) <= set(visionkit.__all__)):
            found.append(module or alone)
    found += [f"vk.{name}" for name in re.findall(r"\bvk\.([a-zA-Z]\w*)", text) if name not in visionkit.__all__]
    modules = re.findall(r"\bvisionkit((?:\.\w+)+)", text)
    return found + [f"visionkit{name}" for name in modules if is_module(name.split(".")[1])]


def is_module(name):
    return any((ROOT / "visionkit" / file).exists() for file in (name, f"{name}.py"))


def looks_inside(page):
    return page in COURSE and int(page.name.partition("-")[0]) in LOOK_INSIDE


@named([page for page in PAGES if page.name not in FOR_CONTRIBUTORS and not looks_inside(page)])
def test_pages_for_users_name_nothing_private(page):
    assert private_names(page.read_text()) == []


@named([page for page in PAGES if looks_inside(page)])
def test_only_pages_that_must_look_inside(page):
    assert private_names(page.read_text())


def test_the_readme_names_nothing_private():
    assert private_names((ROOT / "README.md").read_text()) == []


def test_a_private_name_is_found():
    assert private_names("    from visionkit.models import MODELS\n") == ["visionkit.models", "visionkit.models"]
    assert private_names("from visionkit import SSD, Nothing\n") == ["visionkit"]
    assert private_names("call `visionkit.train.run.run` or vk.run(x)") == ["vk.run", "visionkit.train.run.run"]
    text = "import visionkit as vk\nfrom visionkit import SSD\nvk.SSD(), visionkit.json\n"
    assert private_names(text) == []

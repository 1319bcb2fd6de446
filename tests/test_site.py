"""The documentation site: its pages, their links, and the API. `make docs` builds it, which CI does after the tests."""

import importlib.util
import re

import pytest
from support.paths import ROOT

import visionkit


@pytest.fixture
def site(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("site_tool", ROOT / "tools" / "maintenance" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BUILD", tmp_path / "docs")
    return module


def test_every_page_is_in_the_navigation_and_every_link_leads_to_one(site):
    site.stage()
    site.check_navigation()
    pages = sorted(site.BUILD.rglob("*.md"))
    assert len(pages) > 50
    for page in pages:
        if "source" not in page.relative_to(site.BUILD).parts:
            for link in site.LINK.findall("".join(site.FENCE.split(page.read_text())[::2])):
                assert (page.parent / link).exists(), f"{page.relative_to(site.BUILD)}: {link}"
    shown = site.BUILD / "source" / "configs" / "fcn_camvid.py.md"  # docs/segmentation.md links to it
    assert (ROOT / "configs" / "fcn_camvid.py").read_text() in shown.read_text()


def test_a_page_that_the_navigation_lacks_is_named(site):
    site.stage()
    (site.BUILD / "lost.md").write_text("# Lost\n")
    with pytest.raises(SystemExit, match=r"zensical.toml: nav lacks lost.md"):
        site.check_navigation()


def test_every_public_name_is_on_a_page_of_the_api(site):
    found = re.findall(r"heading: vk\.(\w+)", "\n".join(site.api_pages().values()))
    assert sorted(found) == sorted(set(visionkit.__all__) - {"__version__"})
    assert len(found) == len(set(found))

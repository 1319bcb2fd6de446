"""`make notebooks` writes pages as notebooks: their cells run in order and give the outputs that are stored."""

import contextlib
import importlib.util
import io
import json

import pytest
from support.pages import COURSE
from support.paths import ROOT

import visionkit


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("notebooks_tool", ROOT / "tools" / "maintenance" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs_of(cell):
    return "".join("".join(output["text"]) for output in cell["outputs"])


def test_the_cells_of_a_notebook_run_and_print_what_is_stored(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "course" / "5-softmax-regression.md"
    notebook = json.loads(tool.write(page, tmp_path).read_text())
    names, printing = {"__name__": "__main__"}, 0
    _, *cells = notebook["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec("".join(cell["source"]), names)
            if cell["outputs"]:
                assert printed.getvalue() == outputs_of(cell)
                printing += 1
    assert printing == 1
    assert names["scores"]["top1"] > 0.95


def test_the_first_cell_installs_by_the_right_name(tool):
    first = "".join(tool.notebook("# Title\n")["cells"][0]["source"])
    assert f"keras_visionkit-{visionkit.__version__}-py3-none-any.whl" == tool.WHEEL
    assert f'%pip install --quiet "{tool.WHEEL}[demo]"' in first
    assert "another project" in first


def test_text_commands_links_and_figures_become_cells(tool):
    page = (
        "<!-- slow: run by make book -->\n# Title\n\nSee [page 4](4-x.md#there), [arXiv](https://arxiv.org/abs/1) and "
        "0.98<!-- measured x -->.\n\n```console\n$ visionkit env\n```\n\n![Two curves](figures/curves.png)\n"
    )
    _, text, command, figure = tool.notebook(page)["cells"]
    assert "".join(text["source"]) == "# Title\n\nSee page 4, [arXiv](https://arxiv.org/abs/1) and 0.98."
    assert command["source"] == ["!visionkit env"]
    assert figure["source"] == ["*Two curves*"]


def test_every_page_of_the_course_and_five_how_tos_become_valid_notebooks(tool, tmp_path):
    pages = [*COURSE, *(ROOT / "docs" / "howto" / f"{name}.md" for name in tool.HOWTO)]
    assert len(tool.HOWTO) == 5
    for page in pages:
        notebook = json.loads(tool.write(page, tmp_path).read_text())
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        ids = [cell["id"] for cell in notebook["cells"]]
        assert len(set(ids)) == len(ids) > 2, page.name
        for cell in notebook["cells"]:
            extra = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
            assert set(cell) == {"cell_type", "metadata", "source", "id"} | extra
            if cell["cell_type"] == "code" and not "".join(cell["source"]).lstrip("# \n").startswith(("!", "keras-")):
                compile("".join(cell["source"]), page.name, "exec")

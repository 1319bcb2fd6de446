"""Every public function and class says what it takes, returns and raises, in which shapes, and from which paper."""

import pytest
from support.docstrings import Place, lacks, maths, place, public
from support.paths import ROOT

import visionkit

PUBLIC, MATHS = public(), maths()


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_of_a_public_name_leaves_nothing_out(name):
    assert lacks(name, PUBLIC[name]) == []


@pytest.mark.parametrize("name", MATHS)
def test_the_docstring_of_box_maths_and_losses_leaves_nothing_out(name):
    assert lacks(name, MATHS[name], first_lines=True) == []


def test_all_that_is_public_is_looked_at():
    dicts = {name for name in visionkit.__all__ if name.isupper() and name not in PUBLIC}
    assert dicts == {"BACKBONES", "DILATED", "EXPORTERS", "MODELS", "READERS", "RECIPES"}
    assert set(visionkit.__all__) == set(PUBLIC) | dicts | {"__version__"}
    assert {"boxes.iou", "losses.smooth_l1", "nms.nms", "npboxes.from_voc"} <= set(MATHS)


FLAWED = '''"""Some network."""


def network(image: np.ndarray, size: int) -> Tensor:
    """Makes a network of `image`."""
    if size < 1:
        raise ValueError(f"size: expected 1 or more, found {size}")
    return image


def other(image):
    """Another network. See `_hidden`."""


class Net:
    def __init__(self, width: int):
        self.width = width

    def draw(self) -> str:
        """A picture of it."""
        return "picture"

    def serving(self) -> int:  # is described in Task
        return 1
'''


def test_what_is_left_out_is_named(tmp_path, monkeypatch):
    file = tmp_path / "visionkit" / "models" / "flawed.py"
    file.parent.mkdir(parents=True)
    file.write_text(FLAWED)
    inherited = place("Task", "visionkit.models.task")
    monkeypatch.setattr("support.docstrings.ROOT", tmp_path)
    monkeypatch.setattr("support.docstrings.public", lambda: PUBLIC)
    found = {name: place(name, "visionkit.models.flawed") for name in ("network", "other", "Net")}
    monkeypatch.setattr("support.docstrings.place", lambda name, module: inherited)
    assert lacks("network", found["network"]) == [
        "network: names no paper, nor do the first lines of flawed.py",
        "network: does not say what size is",
        "network: does not give the shape of image",
        "network: does not say when it raises ValueError",
        "network: does not say what it returns, Tensor",
    ]
    assert "other: refers to _hidden, which is not public" in lacks("other", found["other"])
    assert lacks("Net", found["Net"]) == [
        "Net: has no docstring",
        "Net: names no paper, nor do the first lines of flawed.py",
        "Net(): does not say what width is",
        "Net.draw: does not say what it returns, str",
    ]


def test_a_paper_in_the_first_lines_of_the_file_is_enough():
    found = PUBLIC["SSD"]
    assert isinstance(found, Place) and found.file == ROOT / "visionkit" / "models" / "ssd.py"
    assert "arXiv" in found.around

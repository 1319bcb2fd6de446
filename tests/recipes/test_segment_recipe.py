"""The recipe `segment` builds each of the segmenters, on a dilated backbone where that suits it."""

import numpy as np
import pytest
from support import tiny_data
from support.tiny import tiny_backbone

from visionkit.backbones import BACKBONES, DILATED
from visionkit.models import FCN, LRASPP, DeepLabV3, UNet
from visionkit.recipes.segment import segment
from visionkit.recipes.shared import check_model
from visionkit.types import DataError


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Three pictures of 30x40 with maps; "mine" is a tiny backbone, and its dilated form has no C5."""
    for name in "abc":
        tiny_data.picture(tmp_path / "images" / f"{name}.jpg")
        tiny_data.mask(tmp_path / "masks" / f"{name}.png", np.arange(30 * 40).reshape(30, 40) % 2)
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    monkeypatch.setitem(BACKBONES, "mine", lambda: tiny_backbone())
    monkeypatch.setitem(DILATED, "mine", lambda: tiny_backbone(levels=("C3", "C4")))
    return tmp_path


@pytest.mark.parametrize(
    "model, kind, levels",
    [(None, FCN, 3), ("fcn", FCN, 3), ("deeplabv3", DeepLabV3, 2), ("lraspp", LRASPP, 2), ("unet", UNet, 3)],
)
def test_a_model_by_name(scenes, model, kind, levels, capsys):
    recipe = segment(scenes, model=model, backbone="mine", image_size=68)
    assert type(recipe.model) is kind
    assert recipe.model.image_size == (51, 68)  # the proportions of 30x40, no multiples of 32
    assert len(recipe.model.backbone.output) == levels
    assert f"{model or 'fcn'} on mine at 51x68" in capsys.readouterr().out


def test_finest_is_for_those_that_have_a_choice(scenes):
    unet = segment(scenes, model="unet", backbone="mine", image_size=64, finest="C2").model
    assert unet.get_config()["finest"] == "C2"
    fcn = segment(scenes, backbone="mine", image_size=64, finest="C4").model
    assert fcn.get_config()["levels"] == ["C4", "C5"]
    with pytest.raises(DataError, match="--finest C3: lraspp has a fixed finest level; leave it out, or take fcn or"):
        segment(scenes, model="lraspp", backbone="mine", finest="C3")


def test_a_model_for_another_task_is_refused(scenes):
    with pytest.raises(DataError, match="model 'ssd' is for the task detect, not segment; name another"):
        segment(scenes, model="ssd", backbone="mine")
    with pytest.raises(DataError, match="model 'unet' is for the task segment, not detect"):
        check_model("unet", "detect", "instance")
    with pytest.raises(DataError, match="model 'unett': no such model; did you mean 'unet'"):
        segment(scenes, model="unett", backbone="mine")

"""Which keypoint is which in a mirror image."""

import pytest

from visionkit.skeletons import COCO_PERSON, SIGMA, sigmas_of, skeleton_of


@pytest.mark.parametrize(
    ("names", "mirrored"),
    [
        (["nose", "left_eye", "right_eye"], (0, 2, 1)),
        (["Right Hand", "Left Hand", "tip"], (1, 0, 2)),
        (["L-hip", "R-hip"], (1, 0)),
        (["eye (LEFT)", "eye (RIGHT)"], (1, 0)),
        (["centre"], (0,)),
        (["left_eye", "nose"], None),  # whose partner is missing
        (["0", "1", "2"], None),
        (["tail", "bright", "cleft"], None),  # no words of their own
        ([], None),
    ],
)
def test_left_and_right_are_told_by_the_names(names, mirrored):
    assert skeleton_of(names).mirrored == mirrored


def test_mirroring_cocos_person_twice_changes_nothing():
    mirrored = COCO_PERSON.mirrored
    assert [mirrored[k] for k in mirrored] == list(range(17))
    assert [COCO_PERSON.names[k] for k in mirrored[:3]] == ["nose", "right_eye", "left_eye"]
    assert len(COCO_PERSON.limbs) == 19


def test_sigmas_are_cocos_for_its_keypoints():
    from pycocotools.cocoeval import Params

    assert sigmas_of(COCO_PERSON) == pytest.approx(Params("keypoints").kpt_oks_sigmas.tolist())
    assert sigmas_of(skeleton_of(["nose", "tail"])) == [0.026, SIGMA]

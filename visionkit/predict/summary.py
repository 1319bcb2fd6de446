"""What a run over a folder of images, or over a video, reports when it ends."""

from dataclasses import dataclass, field

from visionkit.predict.inputs import Failure


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """What became of the images of a folder, or of the frames of a video.

    Args:
        done: number of images that are in the results.
        rows: rows of results: objects from a detector, images from a classifier, classes per image from a segmenter.
        failed: the images that could not be read.
        earlier: how many of `done` were already done by an earlier run.
        corrected: labels and masks in the output folder that were left alone because somebody has added or changed
            them since an earlier run.
    """

    done: int
    rows: int
    failed: list[Failure]
    earlier: int = 0
    corrected: list[str] = field(default_factory=list)

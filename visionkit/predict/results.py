"""What the methods of a prediction do: a picture, a pandas table, COCO's records, objects of `supervision`."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from visionkit import images, npboxes
from visionkit.predict.draw import draw_classification, draw_detections, draw_segmentation
from visionkit.types import Classification, DataError, Detections, Result, SegmentationMap


def plot(result: Result, image: np.ndarray | None = None, score: float = 0.3, top: int = 3) -> Image.Image:
    """Draws a prediction into its image.

    Args:
        result: the prediction.
        image: uint8 `[H, W, 3]` RGB; by default the image that the result knows, or its file.
        score: detections below it are not drawn.
        top: how many classes of a classification are named.

    Raises:
        DataError: the file cannot be read.
        ValueError: the result knows no image and none is given, or `image` is of another size.
    """
    image = _image_of(result) if image is None else image
    if image is None:
        raise ValueError(f"{result.id}: the result has no file; call plot(image) with its image")
    if image.shape[:2] != tuple(result.image_size):
        raise ValueError(f"{result.id}: expected an image of {tuple(result.image_size)}, found {image.shape[:2]}")
    if isinstance(result, Detections):
        return Image.fromarray(draw_detections(image, result, _names(result, result.labels), score))
    if isinstance(result, Classification):
        return Image.fromarray(draw_classification(image, result, _names(result, [len(result.scores) - 1]), top))
    assert isinstance(result, SegmentationMap)
    return Image.fromarray(draw_segmentation(image, result.segmentation, _names(result, result.segmentation)))


def png(result: Result) -> bytes | None:
    """The picture of `plot` as PNG, for notebooks; None if there is no image, so that they show the text instead."""
    try:
        image = _image_of(result)
    except (DataError, OSError):  # the file has gone
        return None
    if image is None or image.shape[:2] != tuple(result.image_size):
        return None
    stream = io.BytesIO()
    plot(result, image).save(stream, "PNG")
    return stream.getvalue()


def to_pandas(result: Result) -> Any:
    """A table: of a detector a row for each object, of a classifier for each class, best first, of a segmenter for each
    class that occurs, largest first.

    Returns:
        A `pandas.DataFrame` with the columns `id`, `class`, and `score`, `x1`, `y1`, `x2`, `y2`; or `score`; or
        `pixels` and `share`.

    Raises:
        ModuleNotFoundError: pandas is not installed; visionkit does not depend on it.
    """
    import pandas  # pyright: ignore[reportMissingImports, reportMissingModuleSource] -- optional

    if isinstance(result, Detections):
        columns = {"class": result.names, "score": result.scores}
        columns |= dict(zip(("x1", "y1", "x2", "y2"), result.boxes.T, strict=True))
    elif isinstance(result, Classification):
        order = np.argsort(-result.scores, kind="stable")
        columns = {"class": [result.name_of(k) for k in order.tolist()], "score": result.scores[order]}
    else:
        assert isinstance(result, SegmentationMap)
        labels, pixels = np.unique(result.segmentation, return_counts=True)
        order = np.argsort(-pixels, kind="stable")
        names = [result.name_of(k) for k in labels[order].tolist()]
        columns = {"class": names, "pixels": pixels[order], "share": pixels[order] / result.segmentation.size}
    return pandas.DataFrame({"id": [result.id] * len(columns["class"]), **columns})


def to_coco(detections: Detections, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """The objects in COCO's result format: `COCO(annotations).loadRes(records)` reads those of all images.

    Args:
        detections: of one image.
        image_id: of that image in COCO's annotations.
        category_ids: of the class ids 0..K-1; by default 1..K, as visionkit writes COCO.

    Returns:
        A dict for each object: `image_id`, `category_id`, `bbox` [x, y, width, height], `score`, and `segmentation`,
        run lengths, if there are masks, or `keypoints`, x, y and a logit of each in one list, if there are any.
    """
    xywh = npboxes.to_xywh(detections.boxes).astype(float).tolist()
    records: list[dict[str, Any]] = []
    for i, (label, score) in enumerate(zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)):
        category = label + 1 if category_ids is None else category_ids[label]
        record: dict[str, Any] = {"image_id": image_id, "category_id": category, "bbox": xywh[i], "score": score}
        if detections.masks is not None:
            code: dict[str, Any] = dict(rle.encode(np.asfortranarray(detections.masks[i])))
            record["segmentation"] = {"size": code["size"], "counts": code["counts"].decode("ascii")}
        if detections.keypoints is not None:
            record["keypoints"] = detections.keypoints[i].astype(float).ravel().tolist()
        records.append(record)
    return records


def to_supervision(result: Result) -> Any:
    """The same as an object of the package `supervision`.

    Returns:
        Of a detector `supervision.Detections`, with class names in `data["class_name"]`, where its annotators look; of
        a segmenter the same, with a mask for each class that occurs; of a classifier `supervision.Classifications`.

    Raises:
        ModuleNotFoundError: the package is not installed; visionkit does not depend on it.
    """
    import supervision  # pyright: ignore[reportMissingImports]  (optional, and not among the development packages)

    if isinstance(result, Classification):
        labels = np.arange(len(result.scores))
        return supervision.Classifications(class_id=labels, confidence=result.scores)
    if isinstance(result, Detections):
        boxes, labels, scores, masks = result.boxes, result.labels, result.scores, result.masks
    else:
        assert isinstance(result, SegmentationMap)
        labels, scores = np.unique(result.segmentation), None
        masks = result.segmentation == labels[:, None, None]
        boxes = npboxes.of_masks(masks.astype(np.uint8))
    return supervision.Detections(
        xyxy=boxes,
        mask=None if masks is None else masks.astype(bool),
        confidence=scores,
        class_id=labels.astype(int),
        data={"class_name": np.array([result.name_of(k) for k in labels.tolist()], dtype=str)},
    )


def _image_of(result: Result) -> np.ndarray | None:
    if result.image is not None:
        return result.image
    return None if result.file is None else images.read_image(result.file)


def _names(result: Result, labels: Any) -> list[str]:
    """Names of the class ids 0..K-1, or as many numbers as `labels` need."""
    return list(result.class_names) or [str(k) for k in range(int(np.max(labels, initial=-1)) + 1)]

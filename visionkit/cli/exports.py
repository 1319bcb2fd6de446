"""The verb export. Heavy imports are inside the functions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from visionkit.types import DataError


def export(
    model: Path,
    /,
    *,
    out: Path,
    to: str = "saved_model",
    check: Path | None = None,
    images: int = 20,
    calibrate: Path | None = None,
    data: Path | None = None,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    licence: str | None = None,
) -> None:
    """Freeze a model for deployment, and prove in a fresh process that it gives the same answers.

    The folder can be given to detect, classify, segment and evaluate in place of the model; export_report.json in it
    holds what was compared. A style network can be exported to keras_file and to saved_model.

    Args:
        model: a run folder, a .keras file, hf://OWNER/NAME on the Hugging Face Hub, or published weights by name.
        out: the folder for the export, new or empty.
        to: the format: keras_file, saved_model, onnx, openvino, openvino_bf16, litert, litert_float16 or litert_int8.
        check: images to compare on; without them drawn ones, which seldom hold anything to detect.
        images: how many of them.
        calibrate: (litert_int8) images like those to come, of which up to 100 are used.
        data: labelled data: the metric before and after goes into the report, and a fall fails the export.
        split: the part of the data to score, such as test; by default all of it.
        classes: (segment) file that names the values of the data's class maps; see finetune.
        void: (segment) the value of the class maps that is not scored, besides 255.
        licence: of the weights, in place of the model's own.
    """
    for name, value in (("split", split), ("classes", classes), ("void", void)):
        if data is None and value is not None:
            raise DataError(f"--{name} is about --data, which is not given")
    from visionkit.export.export_model import export_model
    from visionkit.guarantee.promise import FILE
    from visionkit.open_model import as_keras_file

    with as_keras_file(model) as file:
        score = None if data is None else _scorer(file, data, split, classes, void)
        print(export_model(file, to, out, check, images, calibrate, licence, score))
    if (model / FILE).is_file():
        print(f"the run's guarantee holds for its own answers: visionkit guarantee {out} DATA makes one for the export")


def _scorer(
    model: Path, data: Path, split: str | None, classes: Path | None, void: int | None
) -> Callable[[Path], dict[str, Any]]:
    """A function of an export's folder that returns its metric and the model's, scored as evaluate does.

    Raises:
        DataError: the data cannot be read or have other classes; now, and not after the export is written.
    """
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import MONITOR, class_ids
    from visionkit.evaluate.scores import evaluate as score
    from visionkit.open_model import open_predictor
    from visionkit.predict.predictor import Predictor

    def opened(folder: Path) -> Predictor:
        predictor = open_predictor(folder)
        predictor.sizes = (predictor.image_size,)  # the only one that an export has
        return predictor

    before = opened(model)
    dataset, metric = open_dataset(data, split, before.task, classes, void), MONITOR[before.task]
    class_ids(before, dataset)

    def scores(exported: Path) -> dict[str, Any]:
        after = opened(exported)
        return {
            "metric": metric,
            "data": f"{data} ({split})" if split else str(data),
            "before": score(before, dataset)[metric],
            "after": score(after, dataset)[metric],
        }

    return scores

"""The verb export. Heavy imports stand inside."""

from pathlib import Path

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
):
    """Freeze a model for deployment, and prove in a fresh process that it says the same.

    The folder can be given to detect, classify, segment and evaluate in place of the model; export_report.json in it
    holds what was compared.

    Args:
        model: a run folder or a .keras file.
        out: the folder for the export, new or empty.
        to: the format: keras_file, saved_model, onnx, openvino, openvino_bf16, litert, litert_float16 or litert_int8.
        check: images to compare on; without them nothing is compared, and that is said.
        images: how many of them.
        calibrate: (litert_int8) images like those to come, of which up to 100 are used.
        data: labelled data: the metric before and after goes into the report, and a fall fails the export.
        split: the part of the data to score, such as test; by default all of it.
        classes: (segment) file that names the values of the data's class maps; see finetune.
        void: (segment) the value of those that is not scored, besides 255.
        licence: of the weights, in place of what the model says.
    """
    about = {"split": split, "classes": classes, "void": void}
    if data is None and (given := [name for name, value in about.items() if value is not None]):
        raise DataError(f"--{given[0]} is about --data, which is not given")
    from visionkit.export.export_model import export_model
    from visionkit.open_model import keras_path

    file = keras_path(model)
    score = None if data is None else _scorer(file, data, split, classes, void)
    print(export_model(file, to, out, check, images, calibrate, licence, score))


def _scorer(model: Path, data: Path, split: str | None, classes: Path | None, void: int | None):
    """A function of an export's folder that gives its metric and the model's, by the path that evaluate takes.

    Raises:
        DataError: now, and not when the export is written, where the data cannot be read or are of other classes.
    """
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import MONITOR, class_ids
    from visionkit.evaluate.scores import evaluate as score
    from visionkit.open_model import open_predictor

    before = open_predictor(model)
    dataset, metric = open_dataset(data, split, before.task, classes, void), MONITOR[before.task]
    class_ids(before, dataset)
    about = {"metric": metric, "data": f"{data}{f' ({split})' if split else ''}"}

    def scores(exported: Path) -> dict:
        after = open_predictor(exported)
        return about | {"before": score(before, dataset)[metric], "after": score(after, dataset)[metric]}

    return scores

"""The verb export. Heavy imports stand inside."""

from pathlib import Path


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
        licence: of the weights, in place of what the model says.
    """
    from visionkit.export import export_model
    from visionkit.open_model import keras_path

    file = keras_path(model)
    score = None if data is None else lambda folder: _scores_of_both(file, folder, data, split)
    print(export_model(file, to, out, check, images, calibrate, licence, score))


def _scores_of_both(model: Path, exported: Path, data: Path, split: str | None) -> dict:
    """The metric of a model and of its export, by the path that evaluate takes."""
    from visionkit.data.recognise import open_dataset
    from visionkit.open_model import open_predictor
    from visionkit.train.evaluate import MONITOR
    from visionkit.train.evaluate import evaluate as score

    before, after = open_predictor(model), open_predictor(exported)
    dataset, metric = open_dataset(data, split, before.task), MONITOR[before.task]
    scores = {"metric": metric, "data": f"{data}{f' ({split})' if split else ''}"}
    return scores | {"before": score(before, dataset)[metric], "after": score(after, dataset)[metric]}

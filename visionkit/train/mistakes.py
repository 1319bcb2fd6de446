"""What `visionkit evaluate --curves DIR` leaves behind: where a detector's threshold should lie, and its mistakes."""

from pathlib import Path

from visionkit.data.dataset import Dataset
from visionkit.images import write_image
from visionkit.metrics import curves
from visionkit.metrics.classification import confusion_picture
from visionkit.predict.draw import draw_mistake


def write_mistakes(pairs: curves.Pairs, class_names: list[str], dataset: Dataset, folder: Path) -> dict[str, dict]:
    """Writes pr.png, f1.png, confusion.png, thresholds.csv and pictures of the worst mistakes in worst/.

    A picture's name says what it shows: 03-false-IMAGE.jpg is the fourth worst detection of nothing, 03-missed-... an
    object that was not found. The confusion matrix and the mistakes are those at each class's best threshold.

    Args:
        pairs: of `DetectionMetric`, image i of `dataset` with what was found there.
        class_names: the model's.
        dataset: where the images come from.
        folder: is made where it does not exist.

    Returns:
        For each class with objects `{"threshold", "F1", "precision", "recall"}` at its best threshold.
    """
    found = curves.curves(pairs, len(class_names))
    best = [curve.best for curve in found]
    thresholds = [row["threshold"] for row in best]
    folder.mkdir(parents=True, exist_ok=True)
    curves.curves_pictures(found, class_names, folder / "pr.png", folder / "f1.png")
    matrix = curves.confusion(pairs, len(class_names), thresholds)
    names = [*class_names, "(background)"]
    confusion_picture(matrix, names, folder / "confusion.png", title="objects, at each class's best threshold")
    table = {name: row for name, row, curve in zip(class_names, best, found, strict=True) if curve.objects}
    lines = ["class,threshold,F1,precision,recall"]
    lines += [",".join([f'"{name}"', *(f"{value:.4f}" for value in row.values())]) for name, row in table.items()]
    (folder / "thresholds.csv").write_text("\n".join(lines) + "\n")
    for kind, errors in zip(("false", "missed"), curves.worst(pairs, thresholds), strict=True):
        for number, error in enumerate(errors):
            sample = pairs[error.image][0]
            score = "" if error.score is None else f" {error.score:.2f}"
            text = f"{kind}: {class_names[error.label]}{score}"
            picture = draw_mistake(dataset[error.image].image, error.box, text, sample, class_names)
            name = sample.id.replace("/", "_")
            write_image(folder / "worst" / f"{number:02d}-{kind}-{name}.jpg", picture)
    return table

"""The verb compare. Heavy imports are inside the function."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts

from visionkit.cli.learned import learned_of
from visionkit.types import DataError, plain

_Paths = Annotated[list[Path], cyclopts.Parameter(negative=())]


def compare(
    models_and_data: _Paths,
    /,
    *,
    out: Path = Path("comparison.html"),
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    json: Path | None = None,
    trust: bool = False,
) -> None:
    """Compare two or three models on the same images: visionkit compare A B DATA

    Says which is better, by how much, and whether chance could have done it: the difference with its 95 % interval, the
    p-value of a permutation test, the same for each class, the speed and the size. The page shows the images about
    which the models differ most. Models with other classes are refused.

    Args:
        models_and_data: two or three models (run folders, .keras files, exports, or published weights by name), and
            at the end labelled data that none of them has learned from, in any layout that finetune takes.
        out: the page.
        split: the part of the data, such as test or train+val; by default all of it.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that is not scored, besides 255.
        json: also write the numbers to this file.
        trust: open an exported SavedModel even if it does more than compute: it could read and write files.
    """
    *models, data = models_and_data
    if len(models) not in (2, 3):
        raise DataError(f"expected two or three models and then the data, found {len(models_and_data)} in all")
    if not data.exists():
        raise DataError(f"{data}: no such folder; the data come last, as in visionkit compare A B DATA")
    if (data / "knobs.json").is_file():
        raise DataError(f"{data}: is a run; the data come last, as in visionkit compare A B DATA")
    if len({model.resolve() for model in models}) < len(models):
        raise DataError("a model was named twice; name different models")
    for file in (out, json):
        if file:
            if file.is_dir():
                raise DataError(f"{file}: is a folder; name the file to write")
            file.parent.mkdir(parents=True, exist_ok=True)
    from visionkit.open_model import open_predictor

    predictors = [open_predictor(model, trust=trust) for model in models]
    from visionkit.compare.contest import check_alike, hold
    from visionkit.compare.page import page
    from visionkit.data.recognise import open_dataset
    from visionkit.files import write_bytes, write_json

    names = [str(model) for model in models]
    check_alike(names, predictors)
    dataset = open_dataset(data, split, predictors[0].task, classes, void)
    for model, predictor in zip(models, predictors, strict=True):
        if n := learned_of(model, data, split, predictor.task, dataset):
            text = f"{model} has learned from {n} of these {len(dataset)} images, so it looks better than on new ones"
            print(plain(f"warning: {text}; compare on others"), file=sys.stderr)
    contest = hold(names, predictors, [_bytes(model) for model in models], dataset)
    write_bytes(out, page(contest).encode())
    if json:
        write_json(json, contest.to_json())
    for sentence in contest.verdicts():
        print(plain(sentence))
    print(f"page: {out}")


def _bytes(model: Path) -> int | None:
    """The size of a model's files; None for published weights."""
    file = model / "model.keras"
    if file.is_file():
        return file.stat().st_size
    if model.is_dir():
        return sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    return model.stat().st_size if model.is_file() else None

"""The verb next. Heavy imports are inside the function."""

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit.types import BOX_TASKS, DataError, plain

PRINTED = 10  # photos


def next_photos(
    run: Path,
    photos: Path,
    /,
    *,
    n: Annotated[int, cyclopts.Parameter(name=["-n", "--n"])] = 50,
    data: Path | None = None,
    score: float = 0.3,
    html: Path = Path("next.html"),
    json: Path | None = None,
    to: Literal["cvat", "labelstudio"] | None = None,
    tasks: Path | None = None,
) -> None:
    """Choose the photos that are worth labelling next: those about which a model is unsure, and which differ.

    The page shows them in their order, and why each was chosen. Where finished runs beside RUN have learned the same
    from other numbers of images, the command also says whether more labels still help.

    Args:
        run: the folder of a run, a .keras file, hf://OWNER/NAME or published weights; an export will not do.
        photos: a file, a folder, a glob or a .txt list of photos.
        n: how many photos to choose.
        data: what is labelled already, in any layout that finetune takes: these images are left out, and the chosen
            ones should differ from them.
        score: from which detections count as objects; those near it are the doubtful ones, and those from it on become
            the boxes of --to.
        html: the page.
        json: also write the photos to this file.
        to: (detect) also write the photos for a labelling program, with the model's boxes to be corrected.
        tasks: the new folder for --to.
    """
    if (to is None) != (tasks is None):
        raise DataError("--to names the program's format and --tasks the new folder: give both, or neither")
    if tasks:
        from visionkit.data.convert import check_new

        check_new(tasks, photos)
    for file in (html, json):
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
    from visionkit.open_model import open_predictor

    predictor = open_predictor(run)
    if to and predictor.task not in BOX_TASKS:
        raise DataError("--to writes boxes; the page and --json list the photos")
    from visionkit.data.recognise import open_dataset
    from visionkit.files import write_bytes, write_json
    from visionkit.next_photos.curve import advice
    from visionkit.next_photos.find import next_photos as find
    from visionkit.next_photos.page import page

    task = "detect" if predictor.task in BOX_TASKS else predictor.task
    dataset = open_dataset(data, None, task) if data else None
    selection = find(predictor, photos, n, dataset, score)
    words, flat = advice(run, n)
    write_bytes(html, page(selection, str(run), words, flat, score).encode())
    if json:
        write_json(json, selection.to_json() | {"model": str(run), "advice": words, "flat": flat})
    for failure in selection.failures:
        print(plain(f"left out: {failure.error}"))
    labelled = f", {selection.labelled} of them labelled already and left out" if selection.labelled else ""
    print(f"{selection.photos} photos{labelled}")
    if words:
        print(plain(words))
    print(f"{n} photos, if you label more:" if flat else f"label these {n} next:")
    for choice in selection.chosen[:PRINTED]:
        print(plain(f"  {choice.file}: {choice.in_words()}"))
    print(f"page: {html}")
    if to and tasks:
        from visionkit.next_photos.tasks import write_tasks

        print(plain(write_tasks(selection, predictor.class_names, to, tasks)))

"""Whether a run has learned from the images that it is to be judged by."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionkit.data.dataset import Dataset


def learned_from(run: Path, data: Path, split: str | None) -> str:
    """The parts of `data` that a run seems to have learned from, as its knobs tell: "train+val"; "" if none.

    A relative path in the knobs is looked for where a training may have been started: in the working folder, and in
    the folders above the run. Where the folder that it names is found, `data` has to be that one, whatever either is
    called. A run that was moved away from its data leaves only the folder's name to go by.

    Args:
        run: a run folder, or another model, of which nothing is known.
        data: the data.
        split: the part that is to be used, or None for all.
    """
    knobs = _knobs(run)
    given = knobs.get("data") or knobs.get("data_dir")
    if not given:
        return ""
    learned = (knobs.get("learn_from") or "train").split("+")
    used = None if split is None else set(split.split("+"))
    here, places = data.resolve(), _places(run, Path(given))
    if places:
        shared = any(_shares(here, place, used, set(learned)) for place in places)
    else:
        shared = here.name == Path(given).name and (used is None or bool(used & set(learned)))
    return "+".join(learned) if shared else ""


def other_images(data: Path, learned: str) -> str:
    """What to give in place of `data`, of which a run has learned from the parts `learned`; see `learned_from`."""
    from visionkit.data.recognise import splits

    parts = [name for name in splits(data) if not _with_halves(name) & _with_halves(learned)]
    if parts:
        return f"name another part with --split ({', '.join(parts)}), or another folder"
    return "it has no other part, so give a folder of images that it has not learned from"


def is_another_part(run: Path, data: Path, split: str | None, task: str) -> bool:
    """Whether path and names tell that a run has learned from other parts of `data` only; no image is looked at.

    Images that two parts share are a matter for `visionkit doctor`.

    Args:
        run: a run folder, or another model.
        data: the data.
        split: the part that is to be used, or None for all.
        task: of the model.
    """
    knobs = _knobs(run)
    if not split or not knobs.get("data") or _places(run, Path(knobs["data"])) != [data.resolve()]:
        return False
    if _starts(run, knobs):  # which may have learned from any part
        return False
    from visionkit.data.recognise import splits
    from visionkit.recipes.shared import named_part

    learned = knobs.get("learn_from") or named_part(splits(data, task))
    return bool(learned) and not _with_halves(split) & _with_halves(learned)


def _with_halves(parts: str) -> set[str]:
    """The names in "train+val", of trainval with its halves."""
    names = set(parts.split("+"))
    return names | {"train", "val"} if "trainval" in names else names


def learned_images(run: Path, task: str, dataset: "Dataset") -> int:
    """How many images of a data set `finetune` has learned from in a run, wherever they lie now: the same bytes count.

    What the run that it started from (--from) had learned from counts too. 0 as well where nothing is known: of another
    model, of a run of a recipe, and where the data of the run is gone. The annotations of the run's data, of which
    reading takes longest, are read only if some of the images lie there, or copies of them.

    Args:
        run: a run folder, or another model.
        task: of the model.
        dataset: the images that it is to be judged by.
    """
    knobs = _knobs(run)
    if not knobs.get("data"):
        return 0
    from visionkit.next_photos.find import without_copies
    from visionkit.recipes.shared import learned_part
    from visionkit.types import DataError

    files = [record.file for record in dataset.records if record.file is not None]
    options = {key: knobs[key] for key in ("seed", "void", "learn_from") if knobs.get(key) is not None}
    if knobs.get("classes"):
        options["classes"] = Path(knobs["classes"])
    found = [0]
    for place in _places(run, Path(knobs["data"])):
        with suppress(DataError, OSError):  # it is not the data, or no longer
            if _may_be_in(files, place):
                found.append(len(files) - len(without_copies(files, learned_part(place, task, **options))))
    found += [learned_images(start, task, dataset) for start in _starts(run, knobs)]
    return max(found)


def learned_of(run: Path, data: Path, split: str | None, task: str, dataset: "Dataset") -> int:
    """`learned_images`, but 0 without looking where `is_another_part`; the arguments are those of both."""
    return 0 if is_another_part(run, data, split, task) else learned_images(run, task, dataset)


def tells_its_data(run: Path) -> bool:
    """Whether `run` is a run folder whose knobs name the data that it learned from."""
    knobs = _knobs(run)
    return bool(knobs.get("data") or knobs.get("data_dir"))


def _may_be_in(files: list[Path], place: Path) -> bool:
    """Whether one of the files, or a copy of one, lies in the data of a run; True if only the annotations can tell."""
    if not place.is_dir():  # a data.yaml, whose images may lie anywhere; those of a folder lie in it
        return True
    if any(place in file.resolve().parents for file in files):
        return True
    from visionkit.image_files import IMAGE_SUFFIXES, files_below
    from visionkit.next_photos.find import copies_of

    return bool(copies_of(files, [file for file in files_below(place) if file.suffix.lower() in IMAGE_SUFFIXES]))


def _knobs(run: Path) -> dict[str, Any]:
    """The knobs of a run; {} of another model."""
    if not (run / "knobs.json").is_file():
        return {}
    from visionkit.data.files import read_json
    from visionkit.limits import JSON

    return read_json(run / "knobs.json", JSON)


def _starts(run: Path, knobs: dict[str, Any]) -> list[Path]:
    """The run folders that a run may have started from (--from)."""
    if not knobs.get("start"):
        return []
    return [place for place in _places(run, Path(knobs["start"])) if (place / "knobs.json").is_file()]


def _places(run: Path, given: Path) -> list[Path]:
    """The folders that the path in a run's knobs may mean, as far as they exist; of an absolute path one at most."""
    bases = (Path(), *run.resolve().parents[:-1])
    return list(dict.fromkeys((base / given).resolve() for base in bases if (base / given).exists()))


def _shares(here: Path, there: Path, used: set[str] | None, learned: set[str]) -> bool:
    """Whether the part `used` of the data in `here` has images of the parts `learned` of the data in `there`."""
    if here == there:
        return used is None or bool(used & learned)
    if there in here.parents:  # such as data/test, when the run was given data
        return bool(set(here.relative_to(there).parts) & learned)
    if here in there.parents:
        return used is None or bool(used & set(there.relative_to(here).parts))
    return False

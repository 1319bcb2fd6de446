"""Whether a run has learned from the images that it is to be judged by."""

from pathlib import Path


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
    if not (run / "knobs.json").is_file():
        return ""
    from visionkit.data.files import read_json
    from visionkit.limits import JSON

    knobs = read_json(run / "knobs.json", JSON)
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

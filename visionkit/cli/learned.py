"""Whether a run has learned from the images that it is to be judged by."""

from pathlib import Path


def learned_from(run: Path, data: Path, split: str | None) -> str:
    """The parts of `data` that a run seems to have learned from, as its knobs tell: "train+val"; "" if none.

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
    learned = (knobs.get("learn_from") or "train").split("+")
    given = knobs.get("data") or knobs.get("data_dir")
    shared = split is None or set(split.split("+")) & set(learned)
    return "+".join(learned) if given and Path(given).name == data.resolve().name and shared else ""

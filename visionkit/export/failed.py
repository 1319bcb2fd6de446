"""Failed exports, kept beside the folder that was wanted: `OUT.failed`, with a list of what was put into it.

The list is what allows the next export to remove it: nothing else there is ever removed.
"""

import json
import os
from pathlib import Path

LIST = "failed_export.json"


def keep_failed(part: Path, out: Path) -> Path:
    """Moves a failed export beside `out`; returns where to, which is `OUT.failed` unless something else is there."""
    (part / LIST).write_text(json.dumps(sorted(_files(part))) + "\n", encoding="utf-8")
    kept, number = out.with_name(f"{out.name}.failed"), 1
    while os.path.lexists(kept):
        number += 1
        kept = out.with_name(f"{out.name}.failed-{number}")
    part.rename(kept)
    return kept


def remove_failed(out: Path) -> None:
    """Removes the files that `keep_failed` put into `OUT.failed`, and then the folders that are empty."""
    kept = out.with_name(f"{out.name}.failed")
    if kept.is_symlink() or not (kept / LIST).is_file():
        return
    try:
        listed = json.loads((kept / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(listed, list):
        return
    for name in _files(kept) & {LIST, *filter(lambda name: isinstance(name, str), listed)}:
        (kept / name).unlink()
    for folder, _, _ in os.walk(kept, topdown=False):
        if not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def _files(folder: Path) -> set[str]:
    """Paths of the files below `folder`, relative to it; links to folders are not followed."""
    found = set()
    for parent, _, names in os.walk(folder):
        found |= {str((Path(parent) / name).relative_to(folder)) for name in names}
    return found

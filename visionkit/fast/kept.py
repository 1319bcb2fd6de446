"""Where fast forms are kept, and how one is recognised as that of a model.

A run has them in its folder `fast`; those of single .keras files and of published weights, or of a run that cannot be
written to, are in the cache. Beside the export `RUNTIME/` is `RUNTIME.json`, a `Fast`.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import visionkit
from visionkit.fast.choice import version_of
from visionkit.files import sha256_of

FOLDER = "fast"


@dataclass(frozen=True, kw_only=True)
class Fast:
    """What is known about the fast form of a model.

    Args:
        key: `Source.key` of the model that it was made from.
        refused: why it is not used, such as what differs from the model; "" where it is.
        precision: in which it computes, "float32" or "bfloat16".
        images: on so many it was compared with the model.
        scores: what decided about the precision: {"metric", "images", "float32", "bfloat16"}; {} where nothing was
            scored.
    """

    key: str
    refused: str = ""
    precision: str = "float32"
    images: int = 0
    scores: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model of which there may be a fast form.

    Args:
        name: for messages.
        digest: of its weights and their configuration.
        beside: the folder for forms that belongs to it, if any.
    """

    name: str
    digest: str
    beside: Path | None = None

    def key(self, runtime: str) -> str:
        """By which a form is known to be of this model, of this visionkit and of the installed runtime."""
        parts = (self.digest, visionkit.__version__, runtime, version_of(runtime))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def places(self, runtime: str) -> list[Path]:
        """The folders in which a form may be, or may be written to, the best first."""
        cached = cache_folder() / self.key(runtime)[:16]
        return [cached] if self.beside is None else [self.beside, cached]


def source_of(model: Path) -> Source:
    """Of a run folder or a .keras file, which must exist."""
    file = model / "model.keras" if model.is_dir() else model
    return Source(name=str(model), digest=sha256_of(file), beside=model / FOLDER if model.is_dir() else None)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/visionkit/fast`, by default under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionkit" / "fast"


def note(folder: Path, runtime: str) -> Path:
    """The file that holds the `Fast` of `folder/RUNTIME`."""
    return folder / f"{runtime}.json"


def find(source: Source, runtime: str) -> tuple[Path, Fast] | None:
    """The folder of forms that has one of this model, or the note that it was refused; None if there is neither."""
    for folder in source.places(runtime):
        fast = _read(note(folder, runtime))
        if fast and fast.key == source.key(runtime) and (fast.refused or (folder / runtime).is_dir()):
            return folder, fast
    return None


def _read(file: Path) -> Fast | None:
    try:
        return Fast(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):  # none, or one of another version of visionkit
        return None

"""`hf://OWNER/NAME[@REVISION]`: how a model on the Hugging Face Hub is named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from visionkit.types import DataError

_WORD = r"\w(?:[\w.-]{0,94}\w)?"
_ADDRESS = re.compile(rf"(?:hf:/{{1,2}})?({_WORD}/{_WORD})(?:@(\w[\w./+-]{{0,199}}))?", re.ASCII)


@dataclass(frozen=True)
class Address:
    """A model on the Hub.

    Args:
        repo: "OWNER/NAME".
        revision: a branch, a tag or a commit; None is the newest commit of the branch main.
    """

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_address(model: Path | str) -> bool:
    """Whether `model` names a model on the Hub; pathlib, which the command line uses, makes one slash of two."""
    return str(model).startswith("hf:/")


def parse(text: Path | str) -> Address:
    """Reads an address; hf:// may be missing.

    Raises:
        DataError: it is none. Names that could lead out of a folder are none.
    """
    found = _ADDRESS.fullmatch(str(text))
    if not found or ".." in str(text) or str(text).endswith(("/", ".")):
        what = "a model on the Hugging Face Hub"
        raise DataError(f"{str(text)[:80]}: expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, {what}")
    return Address(found[1], found[2])

"""A dict whose error for an unknown name is helpful, for the tables of backbones and models."""

from collections.abc import Mapping
from typing import Any

from visionkit.types import nearest


class ByName(dict[str, Any]):
    """A dict that answers a name that it lacks with the nearest that it has.

    Args:
        what: the things are, for the message, e.g. "model".
        entries: name -> thing.
    """

    def __init__(self, what: str, entries: Mapping[str, Any]):
        super().__init__(entries)
        self.what = what

    def __missing__(self, name: object) -> Any:
        raise KeyError(f"no {self.what} {name!r}{nearest(str(name), self)}")

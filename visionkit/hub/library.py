"""huggingface_hub as visionkit uses it: without telemetry, offline where that is asked for, and errors of one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from visionkit.environment import is_offline
from visionkit.export.exported import need
from visionkit.hub.address import Address
from visionkit.types import DataError, in_words

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def hub() -> Any:
    """The library's `HfApi`. It knows the user's token, the cache, and the Hub's address (HF_ENDPOINT) by itself.

    Raises:
        DataError: the library is not installed.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported
    return need("huggingface_hub", "hub").HfApi(library_name="visionkit")


def stays_offline() -> bool:
    """Whether the network must not be tried: --offline, VISIONKIT_OFFLINE=1 or HF_HUB_OFFLINE=1."""
    return is_offline() or need("huggingface_hub.constants", "hub").is_offline_mode()


@contextmanager
def in_one_line(address: Address) -> Iterator[None]:
    """Turns what the library raises while the block runs into a DataError that names the model and what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        text = f"its owner grants access on request: ask for it on the repository's page, and {LOG_IN}"
        raise DataError(f"{address}: {text}") from error
    except errors.RepositoryNotFoundError as error:
        text = f"there is no such repository, or it is private and this token may not read it: {LOG_IN}"
        raise DataError(f"{address}: {text}") from error
    except errors.RevisionNotFoundError as error:
        raise DataError(f"{address}: the repository has no such branch, tag or commit") from error
    except errors.LocalEntryNotFoundError as error:
        if stays_offline():
            raise DataError(f"{address}: not in the cache (offline: the network was not tried)") from error
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise DataError(f"{address}: not in the cache, and the Hub did not answer: {reason}") from error
    except errors.EntryNotFoundError as error:
        raise DataError(f"{address}: holds no model.keras; visionkit opens models that vk.push wrote") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        advice = f"; {LOG_IN} as somebody who may do this" if status in (401, 403) else ""
        raise DataError(f"{address}: the Hub answered {status}: {in_words(error)}{advice}") from error
    except DataError:
        raise
    except Exception as error:  # of the HTTP library, which differs between versions, or of the disk
        raise DataError(f"{address}: {in_words(error) or type(error).__name__}") from error

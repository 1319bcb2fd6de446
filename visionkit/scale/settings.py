"""settings.json of an output folder: what its results were made with, so that no other results come among them."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from visionkit.files import would_be_lost
from visionkit.scale import store
from visionkit.types import DataError

FILE = "settings.json"
FORM = "visionkit scale 1"  # which kind of file it is
# Options that another run into the same folder has to repeat, by what the command line calls them.
OPTIONS = {
    "model": "MODEL",
    "task": "MODEL",
    "class_names": "MODEL",
    "runtime": "--runtime",
    "sources": "IMAGES",
    "shard": "--shard",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the results in a folder depend on.

    Args:
        model: a digest of its weights and their configuration.
        task: of the model.
        class_names: of the model.
        options: of the verb, by their names: `score` and `tile` of detect, for example.
        runtime: what computes.
        sources: what was listed, see `manifest.items_of`.
        shard: images in each.
        listed: when, in UTC; also names the folder of the manifest.
        manifest: its digest.
        shards, images, size: how many it has, and their bytes.
    """

    model: str
    task: str
    class_names: list[str]
    options: dict[str, Any]
    runtime: str
    sources: list[str]
    shard: int
    listed: str = ""
    manifest: str = ""
    shards: int = 0
    images: int = 0
    size: int = 0
    form: str = field(default=FORM)


def read_settings(out: str) -> Settings | None:
    """The settings of a folder; None where there are none.

    Raises:
        DataError: the file is not ours.
    """
    uri = store.join(out, FILE)
    try:
        content = json.loads(store.read(uri))
    except FileNotFoundError:
        return None
    except ValueError:
        raise would_be_lost(uri) from None
    if not isinstance(content, dict) or content.get("form") != FORM:
        raise would_be_lost(uri)
    known = {entry.name for entry in fields(Settings)}
    try:
        return Settings(**{key: value for key, value in content.items() if key in known})
    except TypeError:
        raise would_be_lost(uri) from None


def write_settings(out: str, settings: Settings) -> None:
    """Writes settings.json; from then on the manifest that it names is that of the folder."""
    store.write(store.join(out, FILE), (json.dumps(asdict(settings), indent=2) + "\n").encode())


def check_same(out: str, earlier: Settings, now: Settings) -> None:
    """Checks that a run may add to the results of an earlier one.

    Raises:
        DataError: it would give other results.
    """
    pairs = [(option, getattr(earlier, key), getattr(now, key)) for key, option in OPTIONS.items()]
    for key in now.options:
        pairs.append((f"--{key.replace('_', '-')}", earlier.options.get(key), now.options[key]))
    for option, was, wanted in pairs:
        if was == wanted:
            continue
        what = "results of another model" if option == "MODEL" else f"made with {option} {_shown(was)}"
        raise DataError(f"{out}: {what}, now {_shown(wanted)}; choose another --out, or repeat what was given then")


def with_manifest(settings: Settings, listed: str, manifest: Any) -> Settings:
    """The settings, once the images are listed."""
    return replace(
        settings,
        listed=listed,
        manifest=manifest.digest,
        shards=len(manifest.names),
        images=manifest.images,
        size=manifest.size,
    )


def _shown(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"...{text[-77:]}"  # paths differ at their ends

"""Pushes a model to the Hugging Face Hub: its .keras file, its results and a model card, and nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit import limits
from visionkit.calibrate import record
from visionkit.environment import import_keras_quietly
from visionkit.files import write_json
from visionkit.guarantee import stored
from visionkit.hub.address import Address, parse
from visionkit.hub.card import About, is_unchanged, without_paths, write_card
from visionkit.hub.fetch import NAME
from visionkit.hub.library import hub, in_one_line, stays_offline
from visionkit.types import DataError, in_words

if TYPE_CHECKING:
    from visionkit.models.task import Task

CARD, RESULTS = "README.md", "results.json"


def push(
    model: Task | Path | str,
    repo: str,
    *,
    private: bool = True,
    licence: str | None = None,
    message: str = "Pushed by visionkit",
) -> str:
    """Pushes a model to the Hugging Face Hub, where `open_predictor("hf://OWNER/NAME")` finds it.

    What travels: model.keras, without the optimizer's state; results.json of a run, with the scores on its test split,
    in which paths are shortened to their last part; and README.md, a model card written from both. A card that was
    edited on the Hub is left as it is. Earlier versions stay in the repository's history.

    Args:
        model: a run folder, a .keras file or a model in memory.
        repo: OWNER/NAME on the Hub; it is made if it does not exist.
        private: whether a repository that is made can be seen by its owner alone. Look at it, then open it to others in
            its settings. An existing one keeps what it is.
        licence: of the weights, as an SPDX name, in place of the model's own.
        message: of the commit.

    Returns:
        The address with the commit, `hf://OWNER/NAME@COMMIT`, which always opens this version.

    Raises:
        DataError: the model cannot be opened, or the Hub cannot be reached or refuses it; one line.
    """
    address = parse(repo)
    if address.revision:
        raise DataError(f"{address}: a model is pushed to the branch main; leave @{address.revision} out")
    api = hub()
    if stays_offline():
        raise DataError(f"{address}: cannot be pushed offline")
    import_keras_quietly()
    from visionkit.export import keras_file

    task: Any = model
    results: dict[str, Any] = {}
    if isinstance(model, str | Path):
        task, results = keras_file.load_task(model), _results(Path(model))
    own = task.licence
    task.licence = licence or own
    try:
        with tempfile.TemporaryDirectory() as temporary:
            keras_file.save(task, temporary)
            files = {NAME: Path(temporary) / NAME}
            if results:
                files[RESULTS] = Path(temporary) / RESULTS
                write_json(files[RESULTS], results)
            files[CARD] = Path(temporary) / CARD
            about = About(address=str(address), model=task, results=results, promises=_promises(model))
            files[CARD].write_text(write_card(about), "utf-8")
            with in_one_line(address):
                return _upload(api, address, files, private, message)
    finally:
        task.licence = own


def _results(folder: Path) -> dict[str, Any]:
    """results.json of a run without what tells about the machine, and test.json as its `test`; {} if there is none.

    Args:
        folder: of the run; or a file, beside which nothing is looked for.
    """
    results = _json(folder / RESULTS)
    if not results:
        return {}
    results["knobs"] = without_paths(results.get("knobs", {}))
    if test := _json(folder / "test.json"):
        results["test"] = test
    return results


def _promises(model: Any) -> list[str]:
    """What a run's folder says of its scores and of its guarantee, a line each; [] of other models."""
    if not isinstance(model, str | Path) or not Path(model).is_dir():
        return []
    return [record.in_one_line(Path(model)), stored.in_one_line(Path(model))]


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{file}: cannot be read ({in_words(error)})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a JSON object")
    return content


def _upload(api: Any, address: Address, files: dict[str, Path], private: bool, message: str) -> str:
    from huggingface_hub import CommitOperationAdd

    api.create_repo(address.repo, private=private, exist_ok=True)
    if _is_edited(api, address):
        print(f"{address}: {CARD} was edited on the Hub and is kept")
        del files[CARD]
    operations = [CommitOperationAdd(name, str(file)) for name, file in files.items()]
    commit = api.create_commit(address.repo, operations, commit_message=message)
    return str(Address(address.repo, commit.oid))


def _is_edited(api: Any, address: Address) -> bool:
    """Whether the repository has a card that is not as visionkit wrote it."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        size = api.hf_hub_download(address.repo, CARD, dry_run=True).file_size
        if size > limits.TEXT:  # of a page that visionkit wrote, a thousandth
            return True
        return not is_unchanged(Path(api.hf_hub_download(address.repo, CARD)).read_text("utf-8", "replace"))
    except RemoteEntryNotFoundError:
        return False

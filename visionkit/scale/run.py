"""A run over many images: list them, predict the shards that have no results yet, and write what was asked for."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from visionkit.files import would_be_lost
from visionkit.predict.ahead import ahead
from visionkit.predict.progress import progress_bar
from visionkit.scale import store
from visionkit.scale.collect import check_formats, collect, files_of
from visionkit.scale.manifest import items_of, names_in, write_manifest
from visionkit.scale.settings import Settings, check_same, read_settings, with_manifest, write_settings
from visionkit.scale.shard import PICTURES, RESULTS, Counts, Work, read_counts, read_rows
from visionkit.types import DataError

MANIFEST = "manifest"
SHOWN = 20  # errors that a summary quotes
_SHARD = re.compile(r"\d{8,}-[0-9a-f]{12}")  # what names of shards look like

Engine = Callable[[Work, Sequence[str]], Iterator[Counts]]  # runs shards, and yields the counts of each when it is done


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run has to do.

    Args:
        work: where its shards and results are.
        settings: what the results are made with.
        names: of all shards, in order.
        pending: of those that have no results yet.
    """

    work: Work
    settings: Settings
    names: list[str]
    pending: list[str]


@dataclass(frozen=True, kw_only=True)
class ScaleSummary:
    """What became of all images.

    Args:
        done: how many are in the results.
        rows: what was found in them: objects, or classes in maps, or classes, or pictures.
        earlier: images, broken ones included, that were done by an earlier run.
        failed: how many could not be read.
        errors: the first of the lines that say why.
    """

    done: int
    rows: int
    earlier: int
    failed: int
    errors: list[str]


def prepare(out: str, settings: Settings, formats: Sequence[str], relist: bool, retry_errors: bool) -> Plan:
    """Lists the images, unless an earlier run has, and finds out which shards are left.

    Args:
        out: URI of the output folder.
        settings: of this run; those of an earlier one must be the same.
        formats: which files will be written in the end, see `collect.files_of`.
        relist: list the images again; shards that list the same images again keep their results.
        retry_errors: do shards again that hold images that could not be read.

    Raises:
        DataError: the folder holds other results, or files that are not from an earlier run.
    """
    check_formats(formats, settings.task)
    earlier = read_settings(out)
    if earlier:
        check_same(out, earlier, settings)
        settings = earlier
    else:
        for file in files_of(formats, settings.task):
            if store.exists(store.join(out, file)):
                raise would_be_lost(store.join(out, file))
    if relist or not earlier:
        listed = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        folder = store.join(out, MANIFEST, listed)
        manifest = write_manifest(items_of(settings.sources), folder, settings.shard)
        settings = with_manifest(settings, listed, manifest)
        write_settings(out, settings)
        if earlier:
            store.delete_folder(store.join(out, MANIFEST, earlier.listed))
    folder = store.join(out, MANIFEST, settings.listed)
    work = Work(out=out, manifest=folder, task=settings.task, score=settings.options.get("score"))
    names = names_in(work.manifest)
    if len(names) != settings.shards:
        raise DataError(f"{work.manifest}: holds {len(names)} of {settings.shards} shards; --relist writes it anew")
    return Plan(work=work, settings=settings, names=names, pending=_pending(work, names, retry_errors))


def run(plan: Plan, engine: Engine, progress: bool) -> None:
    """Runs what is pending.

    Raises:
        DataError: see the engine.
        Unreachable: a store does not answer.
    """
    with progress_bar(progress) as bar:
        shown = bar.add_task(plan.settings.task, total=plan.settings.images)
        bar.advance(shown, plan.settings.images - _images_in(plan, plan.pending))
        for counts in engine(plan.work, plan.pending) if plan.pending else ():
            bar.advance(shown, counts.images)


def finish(plan: Plan, formats: Sequence[str]) -> ScaleSummary:
    """Writes the files of `formats`, and counts what is in the results."""
    root = plan.settings.sources[0] if len(plan.settings.sources) == 1 else None
    if root is not None and not store.is_folder(root):
        root = None
    collect(plan.work, plan.names, root, plan.settings.class_names, formats)
    images = found = failed = 0
    errors: list[str] = []
    for name, counts in _counted(plan.work, plan.names):
        images, found, failed = images + counts.images, found + counts.results, failed + counts.errors
        if counts.errors and len(errors) < SHOWN:
            errors += [row["error"] for row in read_rows(plan.work.result(name)) if row["error"] is not None]
    return ScaleSummary(
        done=images - failed,
        rows=found,
        earlier=plan.settings.images - _images_in(plan, plan.pending),
        failed=failed,
        errors=errors[:SHOWN],
    )


def _pending(work: Work, names: Sequence[str], retry_errors: bool) -> list[str]:
    """The shards without results. Results of shards that are no longer listed are deleted: they are of old versions."""
    results, listed = store.join(work.out, RESULTS), set(names)
    done = {name for name in names_in(results) if _SHARD.fullmatch(name)}
    for name in sorted(done - listed):
        store.delete(work.result(name))
        if work.task == "stylize":
            store.delete_folder(store.join(work.out, PICTURES, name))
    done &= listed
    if retry_errors:
        for name in [name for name, counts in _counted(work, sorted(done)) if counts.errors]:
            store.delete(work.result(name))
            done.remove(name)
    return [name for name in names if name not in done]


def _counted(work: Work, names: Sequence[str]) -> Iterator[tuple[str, Counts]]:
    return ahead(names, lambda name: (name, read_counts(work.result(name))), depth=32, threads=8)


def _images_in(plan: Plan, names: Sequence[str]) -> int:
    """How many images some shards hold: all are full, but for the last one."""
    settings = plan.settings
    missing = settings.shards * settings.shard - settings.images if plan.names[-1] in names else 0
    return len(names) * settings.shard - missing

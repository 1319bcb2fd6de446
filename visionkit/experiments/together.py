"""One search by several processes, which share its trials in a database.

Each process takes the next trial from the database (Optuna's RDBStorage), trains it in its own run folder and writes
down how it went. While it trains, it leaves a sign of life every `HEARTBEAT` seconds. A trial without one for `STALE`
seconds is taken back: it is put into the queue again with the same knobs, and whoever takes it goes on in the same run
folder, from the last checkpoint. Trials that are still trained count as bad ones when the next is drawn ("constant
liar"), so that two processes do not try the same.
"""

import contextlib
import datetime
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from visionkit.experiments.runs import begin
from visionkit.experiments.search import (
    DONE,
    RANDOM,
    Watch,
    as_text,
    carry_out,
    in_one_line,
    open_optuna,
    plan,
    table,
)
from visionkit.files import as_json, locked, sha256_of
from visionkit.train.options import Options
from visionkit.train.recipe import Recipe
from visionkit.types import DataError

HEARTBEAT, STALE = 30, 120  # seconds
KILLS = 3  # a trial that ended so many processes is not tried again
LOST = "failed: the processes that trained it were killed"
# What a trial in the database says of itself: its row in search.json once it has ended; the number of the trial that it
# tries again; how many processes it has ended; and that it was drawn beyond those that are wanted.
ROW, OF, KILLED, BEYOND = "row", "of", "killed", "beyond"


def search_together(
    recipe_function: Callable[..., Recipe],
    knobs_with: Callable[[dict[str, str]], dict],
    space: str,
    trials: int,
    out: Path,
    storage: str,
    recipe_file: Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> dict:
    """Like `search`, with other processes that call it with the same arguments at the same time, or later.

    It returns when all trials have ended, those of the other processes too. What is drawn depends on who ends when, so
    it does not repeat.

    Args:
        storage: the URL of a database as SQLAlchemy takes it, such as sqlite:///search.db, which is made if need be.
        out: see `search`; a trial that was killed goes on from its checkpoint if all processes see the same folder,
            and begins anew if not.
        recipe_function, knobs_with, space, trials, recipe_file, options: see `search`; `trials` counts those of all.

    Raises:
        DataError: see `search`; or the database cannot be used, or holds another search of that `out`.
    """
    _check_url(storage)
    if options.precision == "auto":
        raise DataError(
            "--precision auto: processes that share a search could choose differently; name a precision, float32 or "
            "mixed_bfloat16"
        )
    the_plan = plan(recipe_function, knobs_with, space, out, recipe_file, options)
    name = str(out)
    out.mkdir(parents=True, exist_ok=True)
    with _turn(out):
        begin(out, recipe_function, recipe_file, the_plan.settings | {"study": name})
        sha256 = sha256_of(recipe_file) if recipe_file else ""
        study = _open(storage, name, the_plan.settings | {"sha256": sha256})  # two would make its tables at once
    waiting = False
    while True:
        trial = _take(study, the_plan.kinds, trials)
        if trial is not None:
            _train(study, trial, the_plan, knobs_with, out, trials)
        elif all("state" in row for row in _rows(study)):
            break
        else:
            if not waiting:
                print("waiting for the trials of the other processes, to go on with what they leave")
            time.sleep(min(HEARTBEAT, 5))
        waiting = trial is None
    with _turn(out):
        return table(the_plan.metric, _rows(study), out)


def _check_url(storage: str) -> None:
    """Raises a DataError for what is no URL of a database, such as the name of a file alone."""
    scheme, separator, rest = storage.partition("://")
    if not (scheme and separator):
        raise DataError(f"--storage {storage}: expected the URL of a database; for a file write sqlite:///{storage}")
    if scheme == "sqlite" and not rest.startswith("/"):  # what is behind two slashes would be a host
        raise DataError(f"--storage {storage}: a file needs three slashes, as in sqlite:///{rest}")


def _open(storage: str, name: str, settings: dict) -> Any:
    """The study `name` in a database, which is made where there is none."""
    optuna = open_optuna()
    from sqlalchemy.pool import NullPool

    # A file's connections wait for each other, and none is kept open: opening one costs nothing.
    of_a_file = {"connect_args": {"timeout": 60}, "poolclass": NullPool}
    with _quietly(optuna):
        try:
            database = optuna.storages.RDBStorage(
                storage,
                engine_kwargs=of_a_file if storage.startswith("sqlite") else {},
                heartbeat_interval=HEARTBEAT,
                grace_period=STALE,
                heartbeat_stale_trial_callback=_after_a_kill,
            )
        except Exception as error:  # of SQLAlchemy or of the database's own package
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError(f"--storage: the database cannot be opened ({reason}); a file is sqlite:///FILE") from error
        study = optuna.create_study(
            storage=database,
            study_name=name,
            load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=RANDOM),
        )
    settings = as_json(settings)
    before = study.user_attrs.get("settings")
    if before is None:
        study.set_user_attr("settings", settings)
    elif before != settings:
        other = next(key for key in before | settings if before.get(key) != settings.get(key))
        raise DataError(f"--storage: holds a search {name} with another {other}; name another folder with --out")
    return study


def _take(study: Any, kinds: dict[str, Any], trials: int) -> Any:
    """The next trial, for this process alone, or None if no more are to be begun now."""
    optuna = open_optuna()
    _take_back(study)
    while True:
        queued = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
        if not queued and len(_numbers(study)) >= trials:
            return None
        with _quietly(optuna):
            trial = study.ask()
        study._storage.record_heartbeat(trial._trial_id)
        _draw(trial, kinds)
        if OF in trial.user_attrs or len([n for n in _numbers(study) if n < trial.number]) < trials:
            return trial
        # Another process has taken the last one, or what was queued, in the meantime.
        trial.set_user_attr(BEYOND, True)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _take_back(study: Any) -> None:
    """Has Optuna look for trials that have shown no sign of life; see `_after_a_kill`."""
    optuna = open_optuna()
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        # Its process may have been killed before the first sign, without which Optuna would wait for ever.
        seen = f"seen {trial.number}"
        if not trial.params and _seconds_since(trial.datetime_start) > STALE and seen not in study.user_attrs:
            study.set_user_attr(seen, True)
            study._storage.record_heartbeat(trial._trial_id)
    with _quietly(optuna):
        optuna.storages.fail_stale_trials(study)


def _draw(trial: Any, kinds: dict[str, Any]) -> None:
    for name, kind in kinds.items():
        if hasattr(kind, "choices"):
            trial.suggest_categorical(name, kind.choices)
        elif isinstance(kind.low, int):
            trial.suggest_int(name, kind.low, kind.high, log=kind.log)
        else:
            trial.suggest_float(name, kind.low, kind.high, log=kind.log)


@contextlib.contextmanager
def _quietly(optuna: Any) -> Iterator[None]:
    """Without the warnings that signs of life are experimental, and that `Study.optimize` would give them by itself.

    It does not let a trial be given back when this process is interrupted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")
        yield


def _seconds_since(moment: datetime.datetime) -> float:
    return (datetime.datetime.now() - moment).total_seconds()


def _train(
    study: Any, trial: Any, the_plan: Any, knobs_with: Callable[[dict[str, str]], dict], out: Path, trials: int
) -> None:
    """Carries out a trial and writes down how it went."""
    optuna = open_optuna()
    number = trial.user_attrs.get(OF, trial.number)
    row = {"number": number, "values": as_text(trial.params), "scores": {}}
    again = ", again" if OF in trial.user_attrs else ""
    print(f"trial-{number}, one of {trials}{again}: {in_one_line(row['values'])}")
    watch = Watch(trial, row, the_plan.metric)
    try:
        with _alive(study, trial):
            carry_out(the_plan.train, knobs_with(row["values"]), out / f"trial-{number}", watch, first=number == 0)
    except BaseException:  # Ctrl-C, or something that is wrong with this machine: others, or a later call, may do it
        with contextlib.suppress(ValueError):  # others took this process for dead, and the trial back
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            _queue_again(study, trial, trial.user_attrs.get(KILLED, 0))
        raise
    states = {DONE: optuna.trial.TrialState.COMPLETE}
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # others took this process for dead
        trial.set_user_attr(ROW, row)
        state = states.get(row["state"], optuna.trial.TrialState.PRUNED)
        study.tell(trial, row.get("score") if row["state"] == DONE else None, state=state)


@contextlib.contextmanager
def _alive(study: Any, trial: Any) -> Iterator[None]:
    """Inside this context the trial has its signs of life, from a thread."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            with contextlib.suppress(Exception):  # a database that cannot be reached now can be at the next beat
                study._storage.record_heartbeat(trial._trial_id)

    study._storage.record_heartbeat(trial._trial_id)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _after_a_kill(study: Any, trial: Any) -> None:
    """What Optuna calls, in one of the processes, for a trial that has shown no sign of life."""
    killed = trial.user_attrs.get(KILLED, 0) + 1
    if killed <= KILLS:
        print(f"trial-{trial.user_attrs.get(OF, trial.number)}: its process has ended, so it is taken back")
        _queue_again(study, trial, killed)


def _queue_again(study: Any, trial: Any, killed: int) -> None:
    number = trial.user_attrs.get(OF, trial.number)
    study.enqueue_trial(trial.params, user_attrs={OF: number, KILLED: killed})


def _numbers(study: Any) -> set[int]:
    """Of all trials, each of them once however often it was tried."""
    every = study.get_trials(deepcopy=False)
    return {trial.user_attrs.get(OF, trial.number) for trial in every if BEYOND not in trial.user_attrs}


def _rows(study: Any) -> list[dict]:
    """The rows of search.json; that of a trial which has not ended, and may be tried again, has no state."""
    rows = {}
    for trial in study.get_trials(deepcopy=False):
        if BEYOND in trial.user_attrs:
            continue
        number = trial.user_attrs.get(OF, trial.number)
        row = {"number": number, "values": as_text(trial.params), "scores": {}}
        if ROW in trial.user_attrs and trial.state.is_finished():
            row = trial.user_attrs[ROW]
        # A process that fails a trial queues it again at once; but it, too, may have been killed in between.
        elif trial.state.is_finished() and (
            trial.user_attrs.get(KILLED, 0) >= KILLS or _seconds_since(trial.datetime_complete) > STALE
        ):
            row["state"] = LOST
        rows[number] = row
    return [rows[number] for number in sorted(rows)]


@contextlib.contextmanager
def _turn(out: Path) -> Iterator[None]:
    """`locked`, for which another process is waited for: it has the folder for a moment only."""
    until = time.monotonic() + 60
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(out))
                break
            except DataError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield

"""Where a study is kept: an SQLite file, a journal file, a database, and how it is opened."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchbp.errors import DataError, missing_extra

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_TABLES = {"studies", "trials", "version_info"}  # of Optuna's, among others
_HEARTBEAT_S = 30
_GRACE_S = 120
_BUSY_S = 60  # how long a worker waits for another one's writing
_PROBE_S = 5.0
_NEW_S = 2.0  # enough for another one to make its tables

Stale = Callable[["Study", "FrozenTrial"], None]


def open_storage(place: str | Path | BaseStorage, retry: Stale) -> BaseStorage:
    """The storage of Optuna that a place stands for.

    Args:
        place: a path, of a journal if it ends in .journal or .log, of an SQLite file otherwise;
            a URL of a database; or a storage of Optuna.
        retry: hears of trials of a database whose worker has not been heard of for minutes.

    Raises:
        DataError: a locked database, a file that is something else, a URL that cannot be opened.
        MissingExtraError: optuna is not installed.
    """
    import_optuna()
    if not isinstance(place, str | Path):
        return place
    if "://" in str(place):
        return _open_url(str(place), retry)
    path = Path(place)
    if not path.parent.is_dir():
        raise _cannot_open(path, f"the folder {path.parent} is not there", "make the folder first")
    if path.suffix in (".journal", ".log"):
        return _open_journal(path)
    with _one_at_a_time(path):
        check_sqlite(path)
        return _open_url(f"sqlite:///{path}", None)


def check_sqlite(path: Path) -> None:
    """Refuses a file that is no database of Optuna's, before Optuna puts its tables into it.

    Raises:
        DataError: it is locked, no database, or one of another program.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_PROBE_S)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            mend = "end the program that holds it, or wait until it has done"
            raise _cannot_open(path, "the database is locked", mend) from error
        mend = "give a new path, or end it in .journal if it is a journal file"
        raise _cannot_open(path, str(error), mend) from error
    if tables and not tables >= _TABLES:
        raise _cannot_open(
            path,
            f"it is a database of something else, with the tables {', '.join(sorted(tables)[:5])}",
            "give a new path; nothing was written into this one",
        )


def import_optuna() -> Any:
    """The module optuna.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise missing_extra("optuna", "tune") from error
    return optuna


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna without its lines for each trial; the study tells them itself."""
    logging = import_optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Workers that start together make the tables of a new file one after the other."""
    from filelock import FileLock

    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire()
    except OSError as error:
        mend = "give a path in a folder that can be written"
        raise _cannot_open(path, str(error), mend) from error
    try:
        yield
    finally:
        lock.release()


def _open_url(url: str, retry: Stale | None) -> BaseStorage:
    """A database; with a heartbeat where its workers may be on many machines."""
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    connect = {"connect_args": {"timeout": _BUSY_S}} if url.startswith("sqlite") else {}
    beats: dict[str, Any] = {}
    if retry is not None:
        beats = {"heartbeat_interval": _HEARTBEAT_S, "grace_period": _GRACE_S}
        beats["heartbeat_stale_trial_callback"] = retry

    def open_once() -> BaseStorage:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the heartbeat is called experimental
            return RDBStorage(url, engine_kwargs=connect, **beats)

    try:
        try:
            return open_once()
        except SQLAlchemyError:  # another worker may be making the tables of a new database
            time.sleep(_NEW_S)
            return open_once()
    except (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        mend = "see that the server runs, the URL is right and its driver is installed"
        raise _cannot_open(url, reason, mend) from error


def _open_journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _cannot_open(path, "it is not a journal of Optuna's", "give a new path") from error
    except OSError as error:
        raise _cannot_open(path, str(error), "give a path that can be written") from error


def _cannot_open(place: str | Path, reason: str, mend: str) -> DataError:
    return DataError(
        f"Study: expected a storage of Optuna's at {place}, but {reason}.\n  To mend it: {mend}."
    )

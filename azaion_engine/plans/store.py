"""PlanStore: finds the TensorRT plan that fits this machine, or builds it once and keeps it.

A plan is stored at `{directory}/{model name}-{12 hex of model and configuration}/{file name}`, as TensorRT's bytes and
nothing else, with its manifest in `{file name}.json` beside it.

A crash at any moment is harmless: a plan is loaded only when the manifest beside it has the wanted key *and* the size
and SHA-256 of exactly these bytes. Both files are written in full under temporary names and fsynced before either is
renamed, the plan first. A kill or a power cut therefore leaves a matching pair, or a pair whose hashes differ, which is
rebuilt. The lock is the operating system's (flock): it ends with the process that held it.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from platformdirs import user_cache_dir

from azaion_engine.errors import CacheError, PlanError
from azaion_engine.plans.agreement import Agreement
from azaion_engine.plans.manifest import PlanKey, PlanManifest
from azaion_engine.plans.stored_plan import StoredPlan, UnusableError, stored_plans
from azaion_engine.system.patient_lock import PatientLock

_MAX_NAME = 80
_ADVICE = "free space there, make the folder writable, or set cache_dir to one that is"

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class StoreOutcome:
    """How `PlanStore.get_or_build` got the engine.

    Attributes:
        action: Whether a stored plan was loaded or a new one built.
        reason: Reason for the action, as logged.
        seconds: Time from the call to the ready engine, including the wait for other processes.
        path: Path of the plan; None when it could not be stored.
        agreement: How far its boxes agreed with ONNX Runtime's after the build; None if they were not compared.
    """

    action: Literal["loaded", "built"]
    reason: str
    seconds: float
    path: Path | None
    agreement: Agreement | None = None


class CheckedPlan(NamedTuple):
    """A plan that was compared after its build.

    Attributes:
        plan: The serialised plan.
        agreement: How far its boxes agree with ONNX Runtime's.
    """

    plan: bytes
    agreement: Agreement


class PlanStore:
    """Plans on disk, shared by all processes of a machine; one build at a time per file."""

    def __init__(self, directory: Path | None = None) -> None:
        """Sets the folder; does not access the disk.

        Args:
            directory: Folder of the plans; None means the user's cache folder.
        """
        self.directory = Path(user_cache_dir("azaion-engine", appauthor=False) if directory is None else directory)

    def get_or_build(
        self,
        model_name: str,
        filename: str,
        key: PlanKey,
        build: Callable[[], bytes | CheckedPlan],
        load: Callable[[bytes], T],
    ) -> tuple[T, StoreOutcome]:
        """Loads the stored plan that fits `key`, or builds, loads and stores a new one.

        If the disk cannot be written, the engine still starts: it exists in memory only, and a warning gives advice. A
        plan is stored only after `load` accepted it.

        Args:
            model_name: Part of the folder's name; any text, unsafe characters are replaced.
            filename: Name of the plan's file, as `TensorRTEngine.get_engine_filename` gives it.
            key: The key that a stored plan must have.
            build: Builds the plan; may take minutes; called at most once.
            load: Turns a plan into an engine; raises PlanError when the plan is unusable here.

        Returns:
            What `load` returned, and the outcome.

        Raises:
            PlanError: `load` refused the newly built plan.
            ValueError: `filename` is not a plain file name.
        """
        started = time.monotonic()
        path = self.directory / f"{_safe_name(model_name)}-{key.folder_hash()}" / _checked(filename)

        def loaded(reason: str) -> tuple[T, StoreOutcome]:
            engine, agreement = _load_stored(path, key, load)
            outcome = StoreOutcome("loaded", reason, time.monotonic() - started, path, agreement)
            logger.info("loaded the plan %s in %.1f s: %s", path, outcome.seconds, reason)
            return engine, outcome

        with suppress(UnusableError):  # checked again under the lock: another process may be writing now
            return loaded("the stored plan fits")
        with _build_lock(path) as locked:
            try:
                return loaded("another process built it meanwhile")
            except UnusableError as error:
                reason, level = str(error), error.level
            logger.log(level, "building the plan %s, this may take minutes: %s", path, reason)
            if locked:
                _remove_leftovers(path)
            build_started = time.monotonic()
            made = build()
            plan, agreement = made if isinstance(made, CheckedPlan) else (made, None)
            build_seconds = time.monotonic() - build_started
            engine = load(plan)
            kept = _keep(path, plan, PlanManifest.of_plan(key, plan, build_seconds, agreement))
        logger.info("built the plan %s in %.1f s, %d bytes", path, build_seconds, len(plan))
        return engine, StoreOutcome("built", reason, time.monotonic() - started, path if kept else None, agreement)

    def plans(self) -> list[StoredPlan]:
        """Lists the stored plans, usable or not."""
        return stored_plans(self.directory)

    def remove(self, plan: StoredPlan) -> int:
        """Deletes a plan and its manifest, and their folder when it is empty then.

        Returns:
            Bytes freed.

        Raises:
            CacheError: The plan is being built now, or a file cannot be deleted.
        """
        path, freed = plan.path, 0
        try:
            lock = PatientLock(_beside(path, ".lock"))
            if not lock.try_acquire():
                raise CacheError(f"{path} is being built by {_who(path)}")
            try:
                for file in (plan.manifest_path, path):
                    with suppress(FileNotFoundError):
                        size = file.stat().st_size
                        file.unlink()
                        freed += size
            finally:
                lock.release()
            # Safe: at worst, a process that waits for the deleted lock file builds at the same time as another one.
            _beside(path, ".lock").unlink(missing_ok=True)
            with suppress(OSError):  # plans of other GPUs are still in it
                path.parent.rmdir()
        except (OSError, NotImplementedError) as error:
            raise CacheError(f"cannot remove {path}: {error}") from error
        return freed


def _safe_name(name: str) -> str:
    # Replacing is enough: the hash after the name makes the folder unique, the name is only for readers.
    return re.sub(r"\.{2,}|[^A-Za-z0-9._-]+", "_", name).strip("._-")[:_MAX_NAME] or "model"


def _checked(filename: str) -> str:
    if filename in ("", ".", "..") or re.search(r"[/\\\0]", filename):
        raise ValueError(f"expected a plain file name, given {filename!r}")
    return filename


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


# --- reading ------------------------------------------------------------------------------------


def _load_stored(path: Path, key: PlanKey, load: Callable[[bytes], T]) -> tuple[T, Agreement | None]:
    stored = StoredPlan(path)
    plan = stored.read_fitting(key)
    try:
        return load(plan), stored.read_manifest().agreement
    except PlanError as error:
        raise UnusableError(f"stored plan refused by TensorRT: {error}") from error


# --- writing ------------------------------------------------------------------------------------


def _keep(path: Path, plan: bytes, manifest: PlanManifest) -> bool:
    temporary: list[Path] = []
    try:
        targets = (path, StoredPlan(path).manifest_path)
        # Write both in full before the first rename: if the disk fills up, the older plan stays intact.
        for target, data in zip(targets, (plan, manifest.to_json()), strict=True):
            temporary.append(_beside(target, f".{os.getpid()}-{secrets.token_hex(4)}.tmp"))
            with open(temporary[-1], "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for source, target in zip(temporary, targets, strict=True):
            os.replace(source, target)
        _sync_directory(path.parent)
        return True
    except OSError as error:
        message = "cannot keep the plan at %s (%s): it lives in memory, the next start builds it again; %s"
        logger.warning(message, path, error, _ADVICE)
        return False
    finally:
        for file_left in temporary:
            with suppress(OSError):  # already renamed, or the disk fails anyway
                file_left.unlink()


def _sync_directory(directory: Path) -> None:
    # Makes the new names survive a power cut. Ignore errors: where folders cannot be synced (Windows, some network
    # file systems), the worst result is a rebuild.
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    # Under the lock no other process writes here, so every temporary file is from a build that was killed.
    with suppress(OSError):
        for entry in list(path.parent.iterdir()):
            if entry.name.startswith(f"{path.name}.") and entry.name.endswith(".tmp"):
                logger.info("removing %s, left by a build that was killed", entry)
                entry.unlink(missing_ok=True)


# --- locking ------------------------------------------------------------------------------------


@contextmanager
def _build_lock(path: Path) -> Iterator[bool]:
    """Holds the build lock of `path`; yields False where locking fails: the build continues without a lock."""
    lock = _acquire(path)
    if lock is None:
        yield False
        return
    # In a separate file: some versions of filelock truncate the lock file at every attempt to lock it.
    note = _beside(path, ".lock.holder")
    try:
        with suppress(OSError):
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            note.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}", encoding="utf-8")
        yield True
    finally:
        with suppress(OSError):
            note.unlink()
        lock.release()


def _acquire(path: Path) -> PatientLock | None:
    def waiting(elapsed: float) -> None:
        logger.info("waiting for the plan %s, %.0f s until now; it is being built by %s", path, elapsed, _who(path))

    lock_path = _beside(path, ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = PatientLock(lock_path)
        lock.acquire(waiting)
        return lock
    except (OSError, NotImplementedError) as error:  # NotImplementedError: older filelock without flock
        message = "cannot lock %s (%s): building without a lock, other processes may build the same plan too; %s"
        logger.warning(message, lock_path, error, _ADVICE)
        return None


def _who(path: Path) -> str:
    try:
        return _beside(path, ".lock.holder").read_text(encoding="utf-8") or "another process"
    except (OSError, ValueError):
        return "another process"

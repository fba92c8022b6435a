"""Records: what each model is to serve, and its history, kept where Ray Serve keeps its own state."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from datetime import datetime, timezone
from typing import Any, Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from deployments.versions.version import Version, Wanted

MOST_ENTRIES = 20
"""Entries of a model's history that are kept: the newest, and those that say what serves and what served before."""

_NAMESPACE = "azaion"

EntryState = Literal["opening", "canary", "serving", "retired", "failed", "rolled_back"]


class Entry(BaseModel):
    """One version in the history of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    state: EntryState
    since: AwareDatetime = Field(description="When it got into this state.")
    share: float = Field(0.0, description="Part of the requests that it answers as a canary, 0 to 1.")
    least: float = Field(0.0, description="Part of all boxes that must agree with the version before it, 0 to 1.")
    message: str = Field("", description="Why it failed.")
    agreement: str = Field("", description="How far a built engine agrees with ONNX Runtime.")
    comparison: str = Field("", description="How far its boxes agreed with those of the version before it.")
    changes: str = Field(
        "", description="Other classes or class ids, or another input size, than the version before it."
    )

    def now(self, state: EntryState, **told: Any) -> Entry:
        """Returns the entry in another state from now on, with what is told of it."""
        return self.model_copy(update={"state": state, "since": _now(), **told})

    def opens(self, version: Version) -> bool:
        """Returns whether it says that a version is on its way."""
        return self.state == "opening" and self.version.id == version.id

    def told(self, **told: Any) -> Entry:
        """Returns the entry with what is told of it, in the same state."""
        return self.model_copy(update=told)


class Record(BaseModel):
    """One model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    configured: Version = Field(description="What the configuration named when it was last looked at.")
    wanted: Wanted
    history: tuple[Entry, ...] = Field(description="Oldest first.")
    deployments: int = Field(0, description="How often the application was deployed anew for a version.")

    @classmethod
    def first(cls, configured: Version, version: Version, before: Record | None = None, failure: str = "") -> Record:
        """Returns the record of a model whose application begins with a version.

        Args:
            configured: What the configuration names.
            version: The version.
            before: The record of an earlier application.
            failure: Why the version of that one could not be served; empty if it was.
        """
        entry = Entry(version=version, state="serving", since=_now())
        ended = (each for each in before.history if not each.opens(version)) if before is not None else ()
        history = tuple(_ended(each, failure) for each in ended)
        deployments = before.deployments + 1 if before is not None else 0
        wanted = Wanted(serving=version)
        history = _shortened((*history, entry), wanted)
        return cls(configured=configured, wanted=wanted, history=history, deployments=deployments)

    def with_entry(self, entry: Entry, *, new: bool = False, **changed: Any) -> Record:
        """Returns the record with an entry in the place of its version's last one, or behind all others.

        Args:
            entry: The entry.
            new: Whether it stands behind all others although its version has been deployed before.
            **changed: Other fields.
        """
        history = list(self.history)
        places = [index for index, each in enumerate(history) if each.version.id == entry.version.id]
        if places and not new:
            history[places[-1]] = entry
        else:
            history.append(entry)
        shortened = _shortened(history, changed.get("wanted", self.wanted))
        return self.model_copy(update={"history": shortened, **changed})

    def entry_of(self, version: Version) -> Entry:
        """Returns the last entry of a version; one without history is new."""
        found = [entry for entry in self.history if entry.version.id == version.id]
        return (
            found[-1].model_copy(update={"version": version})
            if found
            else Entry(version=version, state="opening", since=_now())
        )

    @property
    def before(self) -> Version | None:
        """The version that served before the serving one; None if there was none."""
        place = _place_before(self.history, self.wanted)
        return None if place is None else self.history[place].version

    def describe(self, failure: str = "") -> dict[str, Any]:
        """Returns what `/models` tells of the versions: the canary and the history, the newest first.

        Args:
            failure: Why the version that is to serve cannot; empty if it does.
        """
        canary = self.wanted.candidate if self.wanted.share > 0 else None
        return {
            "version": self.wanted.serving.id,
            "canary": None if canary is None else {"version": canary.id, "share": self.wanted.share},
            "history": [_described(entry, failure) for entry in reversed(self.history)],
        }


class KeyValue(Protocol):
    """Text by name."""

    def get(self, name: str) -> str | None:
        """Returns a text; None if there is none."""
        ...

    def put(self, name: str, text: str) -> None:
        """Keeps a text."""
        ...


class RayKeyValue:
    """Ray's internal key-value store, which Serve's controller keeps its state in, too; it lives as long as the GCS."""

    def get(self, name: str) -> str | None:
        """Returns a text; None if there is none."""
        from ray.experimental.internal_kv import _internal_kv_get

        found = _internal_kv_get(name, namespace=_NAMESPACE)
        return None if found is None else found.decode()

    def put(self, name: str, text: str) -> None:
        """Keeps a text."""
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(name, text, True, namespace=_NAMESPACE)


class Records:
    """The records of all models by the names of their applications."""

    def __init__(self, store: KeyValue) -> None:
        """Creates the records over a store."""
        self._store = store

    def get(self, application: str) -> Record | None:
        """Returns the record of an application; None if it has none."""
        text = self._store.get(_name(application))
        return Record.model_validate_json(text) if text else None

    def put(self, application: str, record: Record) -> None:
        """Keeps the record of an application."""
        self._store.put(_name(application), record.model_dump_json())

    def forget(self, application: str) -> None:
        """Drops the record of an application that is deleted."""
        self._store.put(_name(application), "")

    def own_applications(self, catalog: str) -> frozenset[str] | None:
        """Returns the applications that a catalogue has written down as its own; None if it has written none."""
        text = self._store.get(_own_name(catalog))
        return None if text is None else frozenset(json.loads(text))

    def put_own_applications(self, catalog: str, names: Set[str]) -> None:
        """Writes down the applications that are a catalogue's own; done before they are deployed."""
        self._store.put(_own_name(catalog), json.dumps(sorted(names)))

    def models(self, catalog: str) -> frozenset[str]:
        """Returns the models that a catalogue has written down; they may have records without an application."""
        text = self._store.get(_models_name(catalog))
        return frozenset(json.loads(text) if text else ())

    def put_models(self, catalog: str, names: Set[str]) -> None:
        """Writes down the models of a catalogue."""
        self._store.put(_models_name(catalog), json.dumps(sorted(names)))


def _place_before(history: Sequence[Entry], wanted: Wanted) -> int | None:
    """Returns the place of the version that served before the serving one."""
    return max(
        (i for i, each in enumerate(history) if each.state == "retired" and each.version.id != wanted.serving.id),
        default=None,
    )


def _shortened(history: Sequence[Entry], wanted: Wanted) -> tuple[Entry, ...]:
    """Returns a history of `MOST_ENTRIES` at most, without the oldest entries that nothing needs."""
    last = {each.version.id: place for place, each in enumerate(history)}
    needed = {last.get(version) for version in wanted.versions} | {_place_before(history, wanted)}
    needed |= {place for place, each in enumerate(history) if each.state == "serving"}
    needed.discard(None)
    newest = [place for place in reversed(range(len(history))) if place not in needed]
    kept = needed.union(newest[: MOST_ENTRIES - len(needed)])
    return tuple(each for place, each in enumerate(history) if place in kept)


def _ended(entry: Entry, failure: str) -> Entry:
    """Returns an entry of a model's history whose application starts anew with another version."""
    if entry.state == "serving":
        return entry.now("failed", message=failure) if failure else entry.now("retired")
    return entry.now("rolled_back") if entry.state in ("opening", "canary") else entry


def _described(entry: Entry, failure: str) -> dict[str, Any]:
    if failure and entry.state == "serving":
        entry = entry.told(state="failed", message=failure)
    told = entry.model_dump(mode="json", exclude={"version", "share", "least"})
    return {"version": entry.version.id, "file": entry.version.model, **told}


def _name(application: str) -> str:
    return f"model of {application}"


def _own_name(catalog: str) -> str:
    return f"applications of {catalog}"


def _models_name(catalog: str) -> str:
    return f"models of {catalog}"


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)

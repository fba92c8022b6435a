"""Records: what `/models` tells of one model's versions."""

from __future__ import annotations

from deployments.catalog.records import MOST_ENTRIES, Record
from deployments.versions.version import Version, Wanted

OLD, NEW = (Version(model=f"{name}.onnx", sha256=name * 64) for name in "ab")


def test_a_version_that_cannot_be_served_is_not_told_to_serve() -> None:
    record = Record.first(OLD, OLD)
    assert record.describe()["history"][0]["state"] == "serving"
    [told] = record.describe("no detector")["history"]
    assert (told["file"], told["state"], told["message"]) == ("a.onnx", "failed", "no detector")


def test_a_candidate_is_told_as_a_canary_when_it_has_a_share() -> None:
    record = Record.first(OLD, OLD)
    opening = record.model_copy(update={"wanted": Wanted(serving=OLD, candidate=NEW)})
    assert opening.describe()["canary"] is None
    canary = record.model_copy(update={"wanted": Wanted(serving=OLD, candidate=NEW, share=0.1)})
    assert canary.describe()["canary"] == {"version": NEW.id, "share": 0.1}
    assert canary.describe()["version"] == OLD.id


def _refused_often(record: Record) -> Record:
    for number in range(3 * MOST_ENTRIES):
        version = Version(model="bad.onnx", sha256=f"{number:064}"[::-1])
        record = record.with_entry(record.entry_of(version).now("failed"), new=True)
    return record


def test_however_many_versions_are_refused_the_history_has_what_serves_and_what_served_before() -> None:
    record = Record.first(NEW, NEW, Record.first(OLD, OLD))
    record = _refused_often(record)
    assert [entry.state for entry in record.history] == ["retired", "serving"] + ["failed"] * (MOST_ENTRIES - 2)
    assert record.before == OLD
    assert record.history[-1].version.sha256 == f"{3 * MOST_ENTRIES - 1:064}"[::-1]


def test_however_many_versions_are_refused_the_history_has_a_canary() -> None:
    wanted = Wanted(serving=OLD, candidate=NEW, share=0.1)
    record = Record.first(OLD, OLD)
    record = record.with_entry(record.entry_of(NEW).now("canary", share=0.1), wanted=wanted)
    record = _refused_often(record)
    assert record.entry_of(NEW).state == "canary"
    assert len(record.history) == MOST_ENTRIES


def test_a_history_of_versions_that_all_served_keeps_the_newest() -> None:
    versions = [Version(model="each.onnx", sha256=f"{number:064}"[::-1]) for number in range(3 * MOST_ENTRIES)]
    record = Record.first(OLD, OLD)
    for version in versions:
        record = Record.first(OLD, version, record)
    assert [entry.version for entry in record.history] == versions[-MOST_ENTRIES:]

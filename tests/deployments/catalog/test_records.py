"""Records: what `/models` tells of one model's versions."""

from __future__ import annotations

from deployments.catalog.records import Record
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

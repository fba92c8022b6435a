"""Check: what one check of `azaion doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "absent", "warning", "problem"]
"""`absent`: missing but not required: the machine shows no GPU, or the part only makes it faster. `warning`: it runs,
but slowly, for a while, or open to others. `problem`: it does not run, or everybody can run code here."""

MARKS: dict[Status, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "absent": ("-", "dim"),
    "warning": ("!", "yellow"),
    "problem": ("!!", "red"),
}
"""Mark and style of a status in a table."""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: What was checked.
        status: Outcome.
        found: What was found.
        advice: What to do about it; else empty.
    """

    name: str
    status: Status
    found: str
    advice: str = ""

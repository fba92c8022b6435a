"""StoredPlan: a TensorRT plan on disk with its manifest beside it, and what keeps it from being used."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from azaion_engine.plans.manifest import PlanKey, PlanManifest, differences


class UnusableError(Exception):
    """Why what is on disk is not used; a first build is news (INFO), a rebuild is a warning."""

    def __init__(self, reason: str, level: int = logging.WARNING) -> None:
        super().__init__(reason)
        self.level = level


@dataclass(frozen=True)
class StoredPlan:
    """A place on disk for a plan; neither it nor its manifest need be there.

    Attributes:
        path: The plan; its manifest is `{path}.json`.
    """

    path: Path

    @property
    def manifest_path(self) -> Path:
        """Where the manifest lies."""
        return self.path.with_name(self.path.name + ".json")

    def read_manifest(self) -> PlanManifest:
        """Reads what the plan was built from.

        Raises:
            UnusableError: There is none, or it cannot be read.
        """
        try:
            data = self.manifest_path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if os.path.exists(self.path):
                raise UnusableError("manifest missing: nothing says what the plan there was built from") from None
            raise UnusableError("no engine stored yet for this model and GPU", logging.INFO) from None
        except OSError as error:
            raise UnusableError(f"manifest unreadable: {error}") from error
        try:
            return PlanManifest.from_json(data)
        except ValueError as error:
            raise UnusableError(f"manifest unusable: {error}") from error

    def read_plan(self, manifest: PlanManifest) -> bytes:
        """Reads the plan that a manifest describes.

        Raises:
            UnusableError: It is missing, or these are other bytes than the manifest says.
        """
        try:
            plan = self.path.read_bytes()
        except FileNotFoundError:
            raise UnusableError("plan missing beside its manifest") from None
        except OSError as error:
            raise UnusableError(f"plan unreadable: {error}") from error
        if fault := manifest.fault_of(plan):
            raise UnusableError(fault)
        return plan

    def read_fitting(self, wanted: PlanKey) -> bytes:
        """Reads the plan if it was built from exactly this.

        Raises:
            UnusableError: Says every field in which it differs, or what is wrong with the files.
        """
        manifest = self.read_manifest()
        if differing := differences(wanted, manifest.key):
            raise UnusableError("; ".join(differing))
        return self.read_plan(manifest)


def stored_plans(directory: Path) -> list[StoredPlan]:
    """Lists the engines under a cache folder by path; a manifest without a plan counts too, it is left to be seen."""
    plans = {*directory.glob("*/*.engine"), *(path.with_suffix("") for path in directory.glob("*/*.engine.json"))}
    return [StoredPlan(path) for path in sorted(plans)]

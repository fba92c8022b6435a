"""StoredPlan: a TensorRT plan on disk with its manifest beside it; reading checks that it can be used."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from azaion_engine.plans.manifest import PlanKey, PlanManifest, differences


class UnusableError(Exception):
    """The reason why a stored plan is not used, and its log level: INFO for a first build, WARNING for a rebuild."""

    def __init__(self, reason: str, level: int = logging.WARNING) -> None:
        super().__init__(reason)
        self.level = level


@dataclass(frozen=True)
class StoredPlan:
    """The path of a plan and its manifest; neither file need exist.

    Attributes:
        path: Path of the plan; its manifest is `{path}.json`.
    """

    path: Path

    @property
    def manifest_path(self) -> Path:
        """Path of the manifest."""
        return self.path.with_name(self.path.name + ".json")

    def read_manifest(self) -> PlanManifest:
        """Reads the plan's manifest.

        Raises:
            UnusableError: The manifest is missing or cannot be read.
        """
        try:
            data = self.manifest_path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if os.path.exists(self.path):
                raise UnusableError("manifest missing: nothing says what the plan there was built from") from None
            raise UnusableError("no plan stored yet for this model and GPU", logging.INFO) from None
        except OSError as error:
            raise UnusableError(f"manifest unreadable: {error}") from error
        try:
            return PlanManifest.from_json(data)
        except ValueError as error:
            raise UnusableError(f"manifest unusable: {error}") from error

    def read_plan(self, manifest: PlanManifest) -> bytes:
        """Reads the plan that a manifest describes.

        Raises:
            UnusableError: The plan is missing, unreadable, or does not match the manifest.
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
        """Reads the plan if it was built from exactly this key.

        Raises:
            UnusableError: The message names every field that differs, or the fault of the files.
        """
        manifest = self.read_manifest()
        if differing := differences(wanted, manifest.key):
            raise UnusableError("; ".join(differing))
        return self.read_plan(manifest)


def stored_plans(directory: Path) -> list[StoredPlan]:
    """Lists the plans in a cache folder by path; includes manifests without a plan, to make them visible."""
    plans = {*directory.glob("*/*.engine"), *(path.with_suffix("") for path in directory.glob("*/*.engine.json"))}
    return [StoredPlan(path) for path in sorted(plans)]

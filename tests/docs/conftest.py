from __future__ import annotations

from tests.azaion_cli.conftest import azaion

__all__ = ["azaion"]

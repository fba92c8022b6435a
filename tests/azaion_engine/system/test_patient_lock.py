from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from azaion_engine.system import patient_lock
from azaion_engine.system.patient_lock import PatientLock


def test_who_waits_says_so_at_once_and_again_until_the_lock_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_lock, "WAIT_REPORT_S", 0.01)
    first, second, waited = PatientLock(tmp_path / "lock"), PatientLock(tmp_path / "lock"), []
    first.acquire(lambda _: pytest.fail("nobody else has it"))
    twice = threading.Event()

    def waiting(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) >= 2:
            twice.set()

    with ThreadPoolExecutor(1) as other:
        acquired = other.submit(second.acquire, waiting)
        assert twice.wait(10)
        first.release()
        acquired.result(10)
        assert waited == sorted(waited)
        assert not first.try_acquire()
        other.submit(second.release).result(10)
    assert first.try_acquire()
    first.release()

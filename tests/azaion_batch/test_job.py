"""Jobs: what a run does, what the next one leaves out; the stages run in this process."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from azaion_batch import job as job_module
from azaion_batch.cluster import SECOND_PASS, TASK_CPUS, WORKERS_OF_GPU, Workers
from azaion_batch.documents import write_document
from azaion_batch.job import Job, parts_of, planned_job
from azaion_batch.parts import Part, Writer
from azaion_batch.plan import Chunk
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages.detecting import Detecting
from azaion_batch.stages.reading import Reader
from azaion_batch.storage import Place
from azaion_engine import Detector
from azaion_engine.errors import ConfigurationError
from tests.azaion_batch.conftest import Run, rows_in, write_picture


def test_rows_are_what_the_detector_finds(run: Run, pictures: Path, tiny: Path, tmp_path: Path) -> None:
    parts = run([pictures], tmp_path / "out")
    assert sorted(part.pictures for part in parts) == [1, 4, 4]
    rows = rows_in(tmp_path / "out")
    assert [row["source"] for row in rows] == [str(pictures / f"{index}.png") for index in range(9)]
    with Detector.open(model=str(tiny), engine="onnx", confidence=0, threads=1) as detector:
        for row in rows:
            [found] = detector.detect(row["source"])
            assert (row["width"], row["height"]) == (found.picture_width, found.picture_height)
            np.testing.assert_allclose(np.array(row["boxes"]), found.boxes, atol=1e-3)
            np.testing.assert_allclose(row["confidences"], found.confidences, atol=1e-5)
            assert row["class_ids"] == found.class_ids.tolist()
            assert row["class_names"] == [found.class_name(one) for one in found.class_ids.tolist()]
            assert row["error"] is None


def test_the_second_run_does_what_is_missing(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert len(run([pictures], out, most=1)) == 1
    assert len(run([pictures], out)) == 2
    assert run([pictures], out) == []
    assert len(rows_in(out)) == 9


def test_pictures_that_came_later_are_added_and_others_not_done_again(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([pictures], out)
    for index in (10, 11):
        write_picture(pictures / f"0{index}.png", index)  # sorts before the others: chunks stay what they were
    [part] = run([pictures], out)
    assert part.pictures == 2
    assert len({row["source"] for row in rows_in(out)}) == len(rows_in(out)) == 11


def test_chunks_are_the_plan_s_whatever_the_second_run_asks_for(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([pictures], out, most=1)
    run([pictures], out, part_pictures=2)
    assert len(rows_in(out)) == 9


def test_a_part_that_is_written_twice_is_one(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([pictures], out)
    before = rows_in(out)
    kept = tmp_path / "kept"
    shutil.copytree(out / "plan", kept / "plan")
    shutil.copytree(out / "parts", kept / "parts")
    for part in list((kept / "parts").iterdir())[:2]:
        part.unlink()
    run([pictures], kept)
    assert rows_in(kept) == before
    assert {part.name for part in (kept / "parts").iterdir()} == {part.name for part in (out / "parts").iterdir()}


def test_another_model_or_setting_is_other_work(
    run: Run, pictures: Path, settings: BatchSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([pictures], out)
    others = BatchSettings.of(settings.detector.model_copy(update={"confidence": 0.5}))
    assert sum(part.pictures for part in run([pictures], out, settings=others)) == 9
    assert run([pictures], out) == []
    assert {row["settings"] for row in rows_in(out)} == {settings.key(), others.key()}


def test_what_changes_no_box_changes_no_key(settings: BatchSettings) -> None:
    same = settings.detector.model_copy(update={"threads": 3, "batch_size": 4, "cache_dir": Path("/elsewhere")})
    assert BatchSettings.of(same).key() == settings.key()
    assert BatchSettings.of(settings.detector, classes=("car",)).key() != settings.key()


def test_a_failure_is_a_row(run: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "3.png").write_bytes(b"broken")
    (pictures / "4.png").write_bytes((pictures / "5.png").read_bytes()[:200])
    parts = run([pictures], tmp_path / "out")
    assert sum(part.pictures for part in parts) == 7
    failed = {Path(row["source"]).name: row for row in rows_in(tmp_path / "out") if row["error"] is not None}
    assert {name: row["error_code"] for name, row in failed.items()} == {
        "3.png": "not_a_picture",
        "4.png": "picture_undecodable",
    }
    assert failed["3.png"]["boxes"] == []
    told = {source for part in parts for source, _, _ in part.told}
    assert told == {row["source"] for row in failed.values()}


def test_failures_are_done_again_if_asked(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = (pictures / "3.png").read_bytes()
    (pictures / "3.png").unlink()
    (pictures / "3.png").symlink_to(tmp_path / "nowhere")
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(f"pictures/{index}.png" for index in range(9)))
    run([listed], out)
    assert [row["error_code"] for row in rows_in(out) if row["error"]] == ["picture_undecodable"]
    (pictures / "3.png").unlink()
    (pictures / "3.png").write_bytes(whole)
    assert run([listed], out) == []
    assert len(run([listed], out, retry_failed=True)) == 1
    assert len(rows_in(out)) == 9
    assert not [row for row in rows_in(out) if row["error"]]


def test_what_could_not_be_read_as_a_table_loses_no_row_later(run: Run, pictures: Path, tmp_path: Path) -> None:
    listed, table = tmp_path / "list.txt", tmp_path / "table.parquet"
    listed.write_text("table.parquet\n")
    table.write_bytes(b"half of it")
    run([listed], tmp_path / "out")
    rows = [(pictures / f"{index}.png").read_bytes() for index in range(3)]
    pq.write_table(pa.table({"bytes": rows}), table)
    [part] = run([listed], tmp_path / "out")
    assert part.pictures == 3


def test_one_content_under_two_names_is_two_rows(run: Run, pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "1.png", pictures / "1 again.png")
    run([pictures], tmp_path / "out")
    first, second = [row for row in rows_in(tmp_path / "out") if Path(row["source"]).name.startswith("1")]
    assert first["boxes"] == second["boxes"]
    assert first["source"] != second["source"]


def test_a_part_that_is_damaged_or_empty_is_never_taken_for_one(
    run: Run, settings: BatchSettings, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([pictures], out)
    before = rows_in(out)
    first, second, third = sorted((out / "parts").iterdir())
    first.write_bytes(b"")  # what a power cut may leave
    assert len(run([pictures], out)) == 1
    second.write_bytes(second.read_bytes()[:100])
    entries = find_entries([str(pictures)], Search())
    assert len(run([pictures], out, retry_failed=True)) == 1
    third.write_bytes(third.read_bytes()[:100])
    with (
        planned_job(Place.of(str(out)), settings, RunSettings(), entries) as job,
        pytest.raises(ConfigurationError, match=f"{third.name} is damaged"),
    ):
        write_document(job, "jsonl")
    third.unlink()
    run([pictures], out)
    assert rows_in(out) == before


@pytest.mark.parametrize("column", ["source", "boxes.list.element.list.element", "error"])
@pytest.mark.parametrize("place", ["header", "values"])
def test_a_part_with_damaged_values_is_named_and_done_again(
    run: Run, settings: BatchSettings, pictures: Path, tmp_path: Path, column: str, place: str
) -> None:
    out = tmp_path / "out"
    run([pictures], out, part_pictures=9)
    before = rows_in(out)
    [part] = (out / "parts").iterdir()
    group = pq.ParquetFile(part).metadata.row_group(0)
    [of_column] = [one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == column]
    start = of_column.dictionary_page_offset or of_column.data_page_offset
    at = start if place == "header" else start + of_column.total_compressed_size - 2
    data = bytearray(part.read_bytes())
    data[at] ^= 0xFF
    part.write_bytes(data)
    with (
        planned_job(Place.of(str(out)), settings, RunSettings(), find_entries([str(pictures)], Search())) as job,
        pytest.raises(ConfigurationError, match=f"{part.name} is damaged: .*; run again with --retry-failed$"),
    ):
        write_document(job, "jsonl")
    assert len(run([pictures], out, retry_failed=True)) == 1
    assert rows_in(out) == before


def test_a_plan_with_names_that_lead_elsewhere_is_refused(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([pictures], out)
    [plan] = (out / "plan").iterdir()
    lines = [json.loads(line) for line in plan.read_text().splitlines()]
    lines[0]["id"] = "../../elsewhere"
    plan.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(ConfigurationError, match="is damaged: expected 32 hex digits"):
        run([pictures], out)


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_an_output_that_is_a_file_is_refused(run: Run, pictures: Path, tmp_path: Path, below: str) -> None:
    (tmp_path / "out").write_text("notes")
    with pytest.raises(ConfigurationError, match="out: expected a folder, given"):
        run([pictures], f"{tmp_path}/out{below}")


def test_two_runs_at_once_are_refused(settings: BatchSettings, pictures: Path, tmp_path: Path) -> None:
    out = Place.of(str(tmp_path / "out"))
    with (
        planned_job(out, settings, RunSettings(), find_entries([str(pictures)], Search())),
        pytest.raises(ConfigurationError, match="another run writes into"),
        planned_job(out, settings, RunSettings(), ()),
    ):
        pass


def test_an_engine_that_cannot_be_opened_ends_the_job_with_its_error(
    pictures: Path, tmp_path: Path, settings: BatchSettings
) -> None:
    wrong = BatchSettings(settings.detector.model_copy(update={"model_sha256": "0" * 64}), "0" * 64)
    with planned_job(
        Place.of(str(tmp_path / "out")), wrong, RunSettings(), find_entries([str(pictures)], Search())
    ) as job:
        batch = Reader(1 << 20)(pa.table({"work": [job.left[0].to_line()]}))
        [row] = Detecting(wrong, threads=1)(batch).to_pylist()
        [written] = Writer(job.out)(pa.Table.from_pylist([row])).to_pylist()
    assert "is not the model that was deployed" in str(pickle.loads(written["failure"]))
    assert not list((tmp_path / "out").glob("parts/*"))


def test_a_part_that_cannot_be_written_and_a_bug_end_the_job(
    settings: BatchSettings, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Place, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    [entry, *_] = find_entries([str(pictures)], Search())
    batch = Reader(1 << 20)(pa.table({"work": [Chunk("0" * 32, (entry,)).to_line()]}))
    detecting = Detecting(settings, threads=1)
    rows = detecting(batch)
    monkeypatch.setattr(Place, "write", full)
    [written] = Writer(Place.of(str(tmp_path)))(rows).to_pylist()
    assert "No space left" in str(pickle.loads(written["failure"]))
    monkeypatch.setattr(Detector, "detect_each", lambda *given, **how: 1 / 0)
    [row] = detecting(batch).to_pylist()
    assert "ZeroDivisionError" in str(pickle.loads(row["failure"]))


@pytest.mark.parametrize(
    ("workers", "alone"),
    [
        (Workers(1, 1, 0, 1), Workers(1, TASK_CPUS, 0, 1)),
        (Workers(2 * WORKERS_OF_GPU, 1, 0.32, 1, shared=True), Workers(2, TASK_CPUS, SECOND_PASS, 1)),
    ],
    ids=["cpu", "gpu"],
)
def test_what_dying_workers_left_out_is_done_alone(
    settings: BatchSettings,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: Workers,
    alone: Workers,
) -> None:
    asked: list[tuple[list[str], Workers, int]] = []

    def rows(chunks: list[Chunk], job: Job, workers: Workers, model: bytes | None, calls: int, retries: int) -> Any:
        asked.append(([chunk.id for chunk in chunks], workers, calls))
        for chunk in chunks:
            if chunk is job.chunks[0] or (chunk is job.chunks[1] and calls > 1):
                continue  # the first kills its workers, and the second with them
            yield {"part": json.dumps(Part(chunk.id, 1, 0, 0, ())), "failure": None}

    monkeypatch.setattr(job_module, "_rows", rows)
    entries = find_entries([str(pictures)], Search())
    with planned_job(Place.of(str(tmp_path / "out")), settings, RunSettings(part_pictures=2), entries) as job:
        parts = list(parts_of(job, workers))
    ids = [chunk.id for chunk in job.chunks]
    assert asked == [(ids, workers, 2), (ids[:2], alone, 1)]
    assert [part.id for part in parts] == [*ids[2:], ids[1]]

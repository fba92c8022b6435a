"""Buckets: sources and output in S3 (moto's server), Google Cloud Storage (gcp-storage-emulator) and Azure, over HTTP.

Azure's server is Azurite, Microsoft's own emulator, where `npm install azurite` has put `azurite-blob` on the PATH, or
where AZAION_AZURITE says.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from azaion_batch.documents import write_document
from azaion_batch.job import planned_job
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.files import Search
from azaion_batch.sources.finding import find_entries
from azaion_batch.stages import windows
from azaion_batch.storage import Place, file_system
from azaion_engine.errors import ConfigurationError, InvalidParameterError
from azaion_engine.scenes.files import SceneWishes
from tests.azaion_batch.conftest import Run, rows_in
from tests.running_serve import free_port


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Options of an S3 address that lead to a server here with the bucket `archive`."""
    server = pytest.importorskip("moto.server", reason="needs moto[server]")
    port = free_port()
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    running.start()
    request(port, "PUT", "/archive")
    yield f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    running.stop()


@pytest.fixture(scope="module")
def gcs() -> Iterator[str]:
    """The same for Google Cloud Storage."""
    pytest.importorskip("gcp_storage_emulator", reason="needs gcp-storage-emulator")
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]
    # A process of its own: pyarrow holds Python's lock while it opens an object.
    with subprocess.Popen(
        [*command, "--in-memory", "--default-bucket", "archive"], stderr=subprocess.DEVNULL
    ) as running:
        wait_for(port)
        yield f"?endpoint_override=127.0.0.1:{port}&scheme=http"
        running.kill()


@pytest.fixture(scope="module")
def azure() -> Iterator[str]:
    """The same for Azure; the container's account has a key of this run."""
    server = os.environ.get("AZAION_AZURITE") or shutil.which("azurite-blob")
    if server is None:
        pytest.skip("needs azurite-blob on the PATH: npm install azurite")
    port, key = free_port(), base64.b64encode(secrets.token_bytes(64)).decode()
    command = [server, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent"]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"tester:{key}"}
    with (
        subprocess.Popen(
            [*command, "--skipApiVersionCheck", "--disableTelemetry"], env=environment, stdout=subprocess.DEVNULL
        ) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        wait_for(port)
        patch.setenv("AZURE_STORAGE_ACCOUNT", "tester")
        patch.setenv("AZURE_STORAGE_KEY", key)
        at = f"storage_authority=127.0.0.1:{port}"
        options = f"?blob_{at}&dfs_{at}&blob_storage_scheme=http&dfs_storage_scheme=http"
        file_system(f"az://archive{options}")[0].create_dir("archive")
        yield options
        running.kill()


def wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while not answers(port):
        assert time.monotonic() < until
        time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def request(port: int, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path)
    assert connection.getresponse().status == 200


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=["s3", "gcs", "azure"])
def bucket(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Start and options of an address in a bucket."""
    starts = {"s3": "s3://archive", "gcs": "gs://anonymous@archive", "azure": "az://archive"}
    return starts[request.param], request.getfixturevalue(request.param)


def upload(pictures: Path, start: str, options: str, folder: str) -> None:
    for path in sorted(pictures.iterdir()):
        Place.of(f"{start}/{folder}/{path.name}{options}").write(path.read_bytes())


def rows_at(out: Place) -> list[dict[str, Any]]:
    parts = [Place(out.root, file.path) for file in (out / "parts").files()]
    rows = [row for part in parts for row in pq.read_table(io.BytesIO(part.read())).to_pylist()]
    return sorted(rows, key=lambda row: str(row["source"]))


def test_an_archive_in_a_bucket_is_as_one_on_a_disk(
    run: Run, pictures: Path, tmp_path: Path, bucket: tuple[str, str]
) -> None:
    start, options = bucket
    (pictures / "3.png").write_bytes(b"broken")
    (pictures / "not a picture.txt").write_text("notes")
    upload(pictures, start, options, "day 1/north")
    run([pictures], tmp_path / "local")
    out = f"{start}/results/first{options}"
    assert sum(part.pictures for part in run([f"{start}/day 1{options}"], out, most=1)) == 3
    assert sum(part.pictures for part in run([f"{start}/day 1{options}"], out)) == 5
    assert run([f"{start}/day 1{options}"], out) == []
    rows, expected = rows_at(Place.of(out)), rows_in(tmp_path / "local")
    assert [row["source"] for row in rows] == [f"{start}/day 1/north/{index}.png" for index in range(9)]
    assert [row["name"] for row in rows] == [f"north/{index}.png" for index in range(9)]
    for row, own in zip(rows, expected, strict=True):
        assert (row["boxes"], row["error"]) == (own["boxes"], own["error"])


def test_patterns_lists_and_parquet_files_in_a_bucket(
    pictures: Path, bucket: tuple[str, str], tmp_path: Path, run: Run
) -> None:
    start, options = bucket
    upload(pictures, start, options, "day2")
    Place.of(f"{start}/day2/some.txt{options}").write(b"1.png\n2.png\n")
    import pyarrow as pa

    sink = io.BytesIO()
    pq.write_table(pa.table({"bytes": [(pictures / "4.png").read_bytes()]}), sink)
    Place.of(f"{start}/day2/rows.parquet{options}").write(sink.getvalue())
    given = [f"{start}/day2/{name}{options}" for name in ("some.txt", "[56].png", "rows.parquet")]
    found = [entry.source.removeprefix(f"{start}/day2/") for entry in find_entries(given, Search())]
    assert found == ["1.png", "2.png", "5.png", "6.png", "rows.parquet#0"]
    assert [entry.source for entry in find_entries([f"{start}/**/7.png{options}"], Search())][-1:] == [
        f"{start}/day2/7.png"
    ]
    for name in ("0.parquet", "_temporary/0/0.parquet"):  # as Spark leaves them
        Place.of(f"{start}/table.parquet/{name}{options}").write(sink.getvalue())
    table = list(find_entries([f"{start}/table.parquet{options}"], Search()))
    assert [entry.source for entry in table] == [f"{start}/table.parquet/0.parquet#0"]
    by_pattern = list(find_entries([f"{start}/day2/s*.txt{options}"], Search()))
    assert [entry.source for entry in by_pattern] == [f"{start}/day2/{name}.png" for name in (1, 2)]
    run(given, tmp_path / "out")
    assert [row["error"] for row in rows_in(tmp_path / "out")] == [None] * 5


def test_what_is_there_under_a_name_with_brackets_is_no_pattern(s3: str) -> None:
    for name in ("img[1].png", "img1.png", "f [1]/a.png", "f [1]/list.txt", "f 1/b.png"):
        lines = b"a.png\n*.png\nb.png\n../img[1].png\n" if name.endswith(".txt") else b"x"
        Place.of(f"s3://archive/brackets/{name}{s3}").write(lines)

    def found(name: str) -> list[str]:
        entries = find_entries([f"s3://archive/brackets/{name}{s3}"], Search())
        return [f"{entry.kind} {entry.source.removeprefix('s3://archive/brackets/')}" for entry in entries]

    assert found("img[1].png") == ["picture img[1].png"]
    assert found("im[ag][1].png") == ["picture img1.png"]
    assert found("f [1]") == ["picture f [1]/a.png"]
    in_list = ["picture f [1]/a.png", "unreadable f [1]/b.png", "picture img[1].png"]
    assert found("f [1]/list.txt") == in_list


def test_names_that_pyarrow_lists_and_does_not_take_are_rows_with_errors(
    run: Run, s3: str, tmp_path: Path, settings: BatchSettings
) -> None:
    port = int(s3.partition("127.0.0.1:")[2].partition("&")[0])
    for name in ("clip.mp4", "one.tif"):
        request(port, "PUT", f"/archive/twice//{name}")
    wishes = SceneWishes(bands=(1,))
    wished = BatchSettings.of(settings.detector, scenes=wishes)
    run([f"s3://archive/twice{s3}"], tmp_path / "out", settings=wished, search=Search(scenes=wishes))
    rows = {row["source"]: row["error"] for row in rows_in(tmp_path / "out")}
    assert list(rows) == [f"s3://archive/twice//{name}" for name in ("clip.mp4", "one.tif")]
    assert all("cannot be read: Empty path component" in why for why in rows.values())


def test_a_pattern_of_a_list_in_a_bucket_leads_out_of_the_list_s_folder(s3: str) -> None:
    for name in ("a/1.png", "a/c/list.txt", "abc/2.png"):
        lines = b"../*.png\n../../abc/*.png\n../../a*/2.png\ncaf\xe9.png\n" if name.endswith(".txt") else b"x"
        Place.of(f"s3://archive/out/{name}{s3}").write(lines)
    entries = list(find_entries([f"s3://archive/out/a/c/list.txt{s3}"], Search()))
    assert [(entry.kind, entry.source.removeprefix("s3://archive/out/")) for entry in entries] == [
        ("picture", "a/1.png"),
        ("picture", "abc/2.png"),
        ("unreadable", "a/c/caf\\xe9.png"),
    ]


def test_lines_of_a_list_that_name_nothing_in_a_bucket_are_rows(run: Run, s3: str, tmp_path: Path) -> None:
    Place.of(f"s3://archive/list.txt{s3}").write(b"missing.png\nmissing/*.png\nno folder/\n")
    (tmp_path / "list.txt").write_text(f"s3://archive/day/missing.png{s3}\n")
    run([f"s3://archive/list.txt{s3}", tmp_path / "list.txt"], tmp_path / "out")
    assert [(row["source"], row["error"]) for row in rows_in(tmp_path / "out")] == [
        (f"s3://archive/{name}", f"no picture or video: 's3://archive/{name}'")
        for name in ("day/missing.png", "missing.png", "missing/*.png", "no folder")
    ]


def test_objects_that_cannot_follow_the_wishes_for_scenes_say_so(s3: str) -> None:
    for name in ("a.tif", "b.jpg", "c"):
        Place.of(f"s3://archive/wishes/{name}{s3}").write(b"x")
    entries = find_entries([f"s3://archive/wishes/*{s3}"], Search(scenes=SceneWishes(gsd=0.1)))
    assert [(entry.name, entry.kind) for entry in entries] == [
        ("wishes/a.tif", "tiled"),
        ("wishes/b.jpg", "unreadable"),
        ("wishes/c", "tiled"),
    ]


def test_videos_and_scenes_in_a_bucket_are_as_those_on_a_disk(
    run: Run, tmp_path: Path, bucket: tuple[str, str], settings: BatchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, options = bucket
    from tests.azaion_engine.files.test_sources import write_video
    from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff

    monkeypatch.setattr(windows, "SHARE_BYTES", 3 * 3 * 64 * 64)
    (tmp_path / "given").mkdir()
    video = write_video(tmp_path / "given" / "clip.avi")
    map_ = {"crs": "EPSG:32633", "transform": UTM33}
    scene = write_tiff(tmp_path / "given" / "scene.tif", noise(height=300, width=400), overviews=(2,), **map_)
    Place.of(f"{start}/day3/broken.tif{options}").write(b"no TIFF")
    for path in (video, scene):
        Place.of(f"{start}/day3/{path.name}{options}").write(path.read_bytes())
    wishes = SceneWishes(bands=(1,))
    of_scenes = BatchSettings.of(settings.detector, scenes=wishes)
    run([f"{start}/day3{options}"], tmp_path / "out", settings=of_scenes, search=Search(scenes=wishes))
    broken, *rows = rows_in(tmp_path / "out")
    assert "not a TIFF" in broken["error"]
    run([tmp_path / "given"], tmp_path / "own", settings=of_scenes, search=Search(scenes=wishes))
    expected = rows_in(tmp_path / "own")
    assert [row["frame"] for row in rows] == [*range(6), None]
    for row, own in zip(rows, expected, strict=True):
        assert (row["boxes"], row["error"], row["name"]) == (own["boxes"], None, own["name"])
    entries = find_entries([f"{start}/day3{options}"], Search(scenes=wishes))
    with planned_job(Place.of(str(tmp_path / "out")), of_scenes, RunSettings(), entries) as job:
        assert job.left == []
        document = json.loads(Path(write_document(job, "geojson").path).read_text())
    assert all(one["geometry"] for one in document["features"] if one["properties"]["source"].endswith("scene.tif"))


def test_an_empty_prefix_and_a_missing_bucket_say_so(s3: str) -> None:
    with pytest.raises(InvalidParameterError, match="no picture or video"):
        list(find_entries([f"s3://archive/nothing/here{s3}"], Search()))
    with pytest.raises((OSError, InvalidParameterError)):
        list(find_entries([f"s3://no-such-bucket/{s3}"], Search()))


@pytest.mark.parametrize(
    "address",
    ["s3://name:hunter2@archive/day", "az://archive/day?sas_token=hunter2", "s3://archive?secret_key=hunter2"],
)
def test_a_key_in_an_address_is_refused_since_plans_would_have_it(address: str) -> None:
    with pytest.raises(InvalidParameterError, match="expected it in the environment") as raised:
        list(find_entries([address], Search()))
    assert "hunter2" not in str(raised.value)


def test_azure_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    with pytest.raises(ConfigurationError, match="AZURE_STORAGE_ACCOUNT"):
        list(find_entries(["az://container/folder"], Search()))
    with pytest.raises(ConfigurationError, match="unexpected keyword argument 'colour'"):
        list(find_entries(["az://container/folder?account_name=tester&colour=red"], Search()))


def test_two_servers_with_a_bucket_of_one_name_are_refused(pictures: Path, s3: str) -> None:
    upload(pictures, "s3://archive", s3, "two")
    start = "s3://archive/two"
    one, same = f"{start}{s3}", f"{start}{s3}&allow_bucket_creation=false"
    other = one.replace("127.0.0.1", "localhost")
    assert list(find_entries([one, same], Search())) == list(find_entries([one], Search()))
    with pytest.raises(InvalidParameterError, match=r"^s3://archive: expected one server's bucket in a run, given two"):
        list(find_entries([one, other], Search()))

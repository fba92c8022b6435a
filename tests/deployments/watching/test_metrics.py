"""Metrics that Prometheus scrapes from Ray, and that the dashboard queries only those."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from azaion_engine.detector import Detector
from azaion_engine.plans.store import StoreOutcome
from deployments.settings import ServiceSettings
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_nvml import make_nvml
from tests.deployments.access.keys_made import add_key
from tests.running_serve import Deployed, serve_with_gpus
from tests.stand_in import POISON, grey_picture, open_stand_in

DASHBOARD = Path(__file__).parents[3] / "configs" / "grafana_dashboard.json"
GPU = PhysicalGpu("NVIDIA H200", "GPU-aaaa", "0000:1B:00.0", 140 * 2**30)


def open_on_a_fake_gpu(settings: ServiceSettings) -> Detector:
    """Opens a stand-in in the replica, with a fake driver and NVML, and an engine said to come from the cache."""
    fake = FakeCuda([GPU])
    package: Any = ModuleType("pycuda")
    package.driver = fake.module
    sys.modules.update({"pycuda": package, "pycuda.driver": fake.module, "pynvml": make_nvml(fake.gpus)})
    detector = open_stand_in(settings)
    detector.engine.origin = StoreOutcome("loaded", "the stored engine fits", 0.25, None)
    return detector


class Scrape:
    """Samples of Ray's, of Serve's and of one application's metrics, by name."""

    def __init__(self, text: str, application: str) -> None:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        self.samples = [each for each in samples if each.labels.get("application", application) == application]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def values(self, name: str, label: str) -> dict[str, float]:
        return {s.labels[label]: s.value for s in self.samples if s.name == name}

    def value(self, name: str, **labels: str) -> float | None:
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        return found[0] if len(found) == 1 else None


def scrape(app: Deployed) -> Scrape:
    [node] = ray.nodes()
    return Scrape(httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics").text, app.name)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def secret(keys: Path) -> str:
    return add_key(keys, "lab", rate=1000)


@pytest.fixture(scope="module")
def app(last_ray_ends: None, keys: Path, secret: str) -> Iterator[Deployed]:
    """A replica with a fake GPU that wants keys, on a Ray that exports its metrics every second."""
    running = serve_with_gpus()
    yield running.deploy(
        open_on_a_fake_gpu,
        num_gpus=1,
        replicas_per_gpu=1,
        max_picture_bytes=100_000,
        max_queue=16,
        access={"keys_file": str(keys)},
    )
    running.end_module()


@pytest.fixture(scope="module")
def scraped(app: Deployed, secret: str) -> Scrape:
    """Metrics that Ray exports after nine requests with eleven pictures."""
    picture = grey_picture(5)
    with app.client() as client:
        client.headers["X-API-Key"] = secret
        for _ in range(4):
            assert client.post("/detect", content=picture).status_code == 200
        several = [("picture", ("a.png", data, "image/png")) for data in (picture, b"no picture", picture)]
        assert client.post("/detect", files=several).status_code == 200
        assert client.post("/detect", content=bytes(100_001)).status_code == 413
        assert client.post("/detect", content=b"hello").status_code == 415
        assert client.post("/detect?confidence=7", content=picture).status_code == 422
        assert client.post("/detect", content=grey_picture(POISON)).status_code == 500
        assert client.get("/nothing/at/all").status_code == 404
        assert client.get("/healthz").status_code == 200
    assert app.ask(7).detections.class_ids.tolist() == [7]  # by the handle: a picture, no HTTP request
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = scrape(app)
        decoded = found.value("ray_azaion_stage_seconds_count_total", stage="decode")
        if decoded == 7 and "ray_azaion_gpu_utilization_ratio" in found.names:
            time.sleep(2.5)  # this export may be incomplete; the next one is complete
            return scrape(app)
        time.sleep(0.5)
    pytest.fail(f"not scraped: {sorted(name for name in found.names if 'azaion' in name)}")


def test_requests_are_counted_by_outcome(scraped):
    detect = {
        s.labels["outcome"]: s.value
        for s in scraped.samples
        if s.name == "ray_azaion_requests_total" and s.labels["route"] == "/detect"
    }
    assert detect == {
        "ok": 4,
        "partial": 1,
        "picture_too_large": 1,
        "not_a_picture": 1,
        "invalid_parameter": 1,
        "internal": 1,
    }
    assert scraped.value("ray_azaion_requests_total", route="/healthz", outcome="ok") == 1
    assert scraped.value("ray_azaion_requests_total", route="unknown", outcome="not_found") == 1


def test_pictures_that_were_not_answered_are_counted_by_reason(scraped):
    assert scraped.values("ray_azaion_pictures_rejected_total", "reason") == {
        "picture_too_large": 1,
        "not_a_picture": 2,
        "invalid_parameter": 1,
        "internal": 1,
    }


def test_requests_and_pictures_are_counted_by_the_name_of_the_key(scraped):
    keyed = [sample for sample in scraped.samples if sample.name == "ray_azaion_key_requests_total"]
    assert {sample.labels["key"] for sample in keyed} == {"lab"}
    outcomes = {sample.labels["outcome"]: sample.value for sample in keyed}
    assert outcomes == {
        "ok": 4,
        "partial": 1,
        "picture_too_large": 1,
        "not_a_picture": 1,
        "invalid_parameter": 1,
        "internal": 1,
        "not_found": 1,
    }
    assert scraped.values("ray_azaion_key_pictures_total", "key") == {"lab": 4 + 2}


def test_every_stage_is_timed_in_seconds(scraped):
    answered = 4 + 2 + 1
    assert scraped.values("ray_azaion_stage_seconds_count_total", "stage") == {
        "decode": answered,
        "queue": answered,
        "engine": answered,
        "encode": 5,  # one per HTTP answer with boxes
    }
    engine = scraped.value("ray_azaion_stage_seconds_sum_total", stage="engine")
    assert engine == pytest.approx(answered * 0.02, rel=0.5)
    buckets = {
        s.labels["le"]: s.value
        for s in scraped.samples
        if s.name == "ray_azaion_stage_seconds_bucket_total" and s.labels["stage"] == "engine"
    }
    ordered = [buckets[upper] for upper in sorted(buckets, key=float)]
    assert ordered == sorted(ordered)
    assert buckets["+Inf"] == answered
    assert buckets["0.015"] == pytest.approx(0, abs=1e-9)
    assert buckets["1"] == answered


def test_batches_and_their_fill_are_counted(scraped):
    [batches] = scraped.values("ray_azaion_batch_pictures_count_total", "engine").values()
    [pictures] = scraped.values("ray_azaion_batch_pictures_sum_total", "engine").values()
    assert pictures == 8  # includes the poisoned one
    assert 7 <= batches <= 8  # the two pictures of the multipart request may share a batch
    assert scraped.value("ray_azaion_batch_size") == 16


def test_queue_engine_and_gpu_are_told(scraped):
    assert scraped.value("ray_azaion_queue_depth") == 0
    assert scraped.value("ray_azaion_queue_limit") == 16
    assert scraped.value("ray_azaion_engine_opened_total", action="loaded") == 1
    assert scraped.value("ray_azaion_engine_open_seconds", action="loaded") == 0.25
    assert scraped.value("ray_azaion_gpu_memory_bytes", gpu="GPU-aaaa") == GPU.memory_bytes + 2**20
    assert scraped.value("ray_azaion_gpu_memory_used_bytes", gpu="GPU-aaaa") == GPU.memory_used_bytes
    assert scraped.value("ray_azaion_gpu_utilization_ratio", gpu="GPU-aaaa") == GPU.utilization_percent / 100


def test_every_sample_tells_its_replica(scraped, app):
    own = [s for s in scraped.samples if s.name.startswith("ray_azaion_")]
    assert {(s.labels["application"], s.labels["deployment"]) for s in own} == {(app.name, "DetectorDeployment")}
    assert len({s.labels["replica"] for s in own}) == 1


def expressions(panel: dict[str, Any]) -> Iterator[str]:
    for target in panel.get("targets", []):
        yield target["expr"]
    for inner in panel.get("panels", []):
        yield from expressions(inner)


def test_the_dashboard_asks_only_for_metrics_and_labels_that_exist(scraped):
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [expr for panel in dashboard["panels"] for expr in expressions(panel)]
    queries += [v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    assert len(queries) >= 15
    labels: dict[str, set[str]] = {}
    for sample in scraped.samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    asked = set()
    for query in queries:
        names = re.findall(r"\bray_\w+", query)
        assert names, f"no metric in {query!r}"
        asked.update(names)
        for name in names:
            assert name in labels, f"{query!r} asks for {name}, which Ray does not serve"
        used = [label for group in re.findall(r"\bby ?\(([^)]*)\)", query) for label in re.split(r",\s*", group)]
        used += re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
        for label in used:
            assert all(label in labels[name] for name in names), f"{query!r} uses the label {label}"
    own = {re.sub(r"_(bucket|sum|count)_total$", "", name) for name in labels if name.startswith("ray_azaion_")}
    assert own == {re.sub(r"_(bucket|sum|count)_total$", "", name) for name in asked if "azaion" in name}


def test_every_panel_can_be_pointed_at_another_data_source():
    dashboard = json.loads(DASHBOARD.read_text())
    [source] = [v for v in dashboard["templating"]["list"] if v["type"] == "datasource"]
    assert source["query"] == "prometheus"
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {f"${{{source['name']}}}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])

"""deploy/kuberay: what an overlay makes is valid, closed, and refers to nothing that is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.services import determine_plasma_store_config

from deployments.app import build_application
from deployments.deployment import DetectorDeployment
from deployments.settings import ServiceSettings
from tests.deploy.dockerfile import Dockerfile, assignments
from tests.deploy.kustomization import Resource, resolve
from tests.deploy.ray_service import PodMonitor, RayService
from tests.running_serve import free_port
from tests.stand_in import open_stand_in

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "deploy" / "kuberay" / "overlays"
OF_KUBERAY = {"ray.io/is-ray-node": "yes"}
"""Labels that KubeRay gives the pods of a cluster, besides `ray.io/node-type` (ray-operator, utils/constant.go)."""
OPERATORS = (
    {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/component": "kuberay-operator"},
    {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"},
)
"""Labels of KubeRay's own pod, installed by Helm and by kustomize (ray-operator, networkpolicy_controller.go)."""


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def overlay(request: pytest.FixtureRequest) -> tuple[str, list[Resource]]:
    return request.param, resolve(OVERLAYS / request.param)


@pytest.fixture
def resources(overlay: tuple[str, list[Resource]]) -> list[Resource]:
    return overlay[1]


@pytest.fixture
def service(resources: list[Resource]) -> RayService:
    [found] = [each for each in resources if each["kind"] == "RayService"]
    return RayService.model_validate(found)


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    return [each for each in resources if each["kind"] in kinds]


def pods(resources: list[Resource], service: RayService) -> dict[str, dict[str, Any]]:
    """Returns the template of every pod, with the labels that it has in the cluster."""
    cluster = service.spec.rayClusterConfig
    [redis] = of_kind(resources, "StatefulSet")
    found = {"redis": redis["spec"]["template"]}
    for node_type, template in (
        ("head", cluster.headGroupSpec.template),
        *(("worker", group.template) for group in cluster.workerGroupSpecs),
    ):
        labels = {**template["metadata"]["labels"], **OF_KUBERAY, "ray.io/node-type": node_type}
        found[node_type] = {**template, "metadata": {"labels": labels}}
    return found


def serve_config(service: RayService) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(service.spec.serveConfigV2)
    return config


def test_kustomize_itself_makes_the_same(overlay: tuple[str, list[Resource]]) -> None:
    name, ours = overlay
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    ran = subprocess.run(
        ["kubectl", "kustomize", str(OVERLAYS / name)], check=True, capture_output=True, text=True, timeout=60
    )
    theirs = list(yaml.safe_load_all(ran.stdout))

    def by_name(found: list[Resource]) -> dict[tuple[str, str], Resource]:
        return {(each["kind"], each["metadata"]["name"]): each for each in found}

    assert by_name(theirs) == by_name(ours)
    assert len(theirs) == len(ours)


def test_every_resource_is_valid_by_its_published_schema(resources: list[Resource], service: RayService) -> None:
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    for each in resources:
        if each["kind"] == "PodMonitor":
            PodMonitor.model_validate(each)
        elif each["kind"] != "RayService":
            kubernetes_validate.validate(each, version, strict=True)
    for name, template in pods(resources, service).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, version, strict=True)


def test_serve_takes_the_configuration_and_the_service_its_settings(
    overlay: tuple[str, list[Resource]], service: RayService
) -> None:
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(serve_config(service))
    [application] = config.applications
    assert application.import_path == "deployments.app:build"
    settings = ServiceSettings(**application.args)
    assert settings.require_ray_token
    build_application(settings.model_copy(update={"engine": "auto"}), open_stand_in)
    assert {each.name for each in application.deployments} <= {DetectorDeployment.name}  # type: ignore[attr-defined]
    head = service.spec.rayClusterConfig.headGroupSpec.rayStartParams
    assert (head["num-cpus"], head["num-gpus"]) == ("0", "0"), "no replica on the head, whatever GPUs Ray finds there"
    [workers] = service.spec.rayClusterConfig.workerGroupSpecs
    [container] = workers.template["spec"]["containers"]
    limits = container["resources"]["limits"]
    grace = workers.template["spec"]["terminationGracePeriodSeconds"]
    [drain] = [each["value"] for each in container["env"] if each["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]
    needed = 2 * settings.timeout_s + 5 + 30
    assert needed <= int(drain) < grace, "a replica answers what it accepted, then HAProxy forgets it"
    if overlay[0] == "gpu":
        assert settings.autoscale is not None
        assert limits["nvidia.com/gpu"] == "1"
        assert (workers.minReplicas, workers.maxReplicas) == (settings.autoscale.min_gpus, settings.autoscale.max_gpus)
        assert isinstance(settings.replicas_per_gpu, int)
        assert settings.replicas_per_gpu <= int(limits["cpu"]) // 2
    else:
        [deployment] = application.deployments
        scaling = deployment.autoscaling_config
        assert scaling["max_replicas"] == settings.cpu_replicas == workers.maxReplicas
        assert scaling["min_replicas"] == workers.minReplicas
        assert deployment.ray_actor_options.num_cpus == settings.threads == int(limits["cpu"])
        assert scaling["target_ongoing_requests"] < settings.max_queue


def test_what_is_referred_to_exists(resources: list[Resource], service: RayService) -> None:
    claims = {each["metadata"]["name"] for each in of_kind(resources, "PersistentVolumeClaim")}
    secrets = secrets_of(resources, service)
    for name, template in pods(resources, service).items():
        spec = template["spec"]
        volumes = {each["name"]: each for each in spec.get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        if name == "redis":
            [statefulset] = of_kind(resources, "StatefulSet")
            volumes |= {each["metadata"]["name"]: each for each in statefulset["spec"]["volumeClaimTemplates"]}
        [container] = spec["containers"]
        assert {each["name"] for each in container["volumeMounts"]} == set(volumes)
    # The secrets are made by hand, with the commands of the documentation.
    told = (ROOT / "docs" / "guides" / "cluster.md").read_text()
    made = set(re.findall(r"kubectl create secret generic (\S+) --from-literal=(\w+)=", told))
    assert secrets == made
    host, _, port = service.spec.rayClusterConfig.gcsFaultToleranceOptions.redisAddress.partition(":")
    [redis] = [each for each in of_kind(resources, "Service") if each["metadata"]["name"] == host]
    [target] = [each["targetPort"] for each in redis["spec"]["ports"] if each["port"] == int(port)]
    assert target in ports_of(pods(resources, service)["redis"])


def secrets_of(resources: list[Resource], service: RayService) -> set[tuple[str, str]]:
    """Returns every secret and key that a resource names; the token's key is KubeRay's."""
    found = {(service.spec.rayClusterConfig.authOptions.secretName, "auth_token")}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "secretKeyRef" in value:
                found.add((value["secretKeyRef"]["name"], value["secretKeyRef"]["key"]))
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(resources)
    return found


def ports_of(template: dict[str, Any]) -> dict[str, int]:
    [container] = template["spec"]["containers"]
    return {each["name"]: each["containerPort"] for each in container["ports"]}


def selected(selector: dict[str, Any], templates: dict[str, dict[str, Any]]) -> set[str]:
    wanted = selector["matchLabels"].items()
    return {name for name, template in templates.items() if wanted <= template["metadata"]["labels"].items()}


def test_selectors_meet_the_pods_that_they_mean_and_named_ports_are_theirs(
    resources: list[Resource], service: RayService
) -> None:
    templates = pods(resources, service)
    ray = {"head", "worker"}
    [budget] = of_kind(resources, "PodDisruptionBudget")
    assert selected(budget["spec"]["selector"], templates) == {"worker"}
    assert set(budget["spec"]) == {"minAvailable", "selector"}, "a RayCluster has no scale to count maxUnavailable with"
    [monitor] = of_kind(resources, "PodMonitor")
    assert selected(monitor["spec"]["selector"], templates) == ray
    asked = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    for policy in of_kind(resources, "NetworkPolicy"):
        meant = {"azaion-ray": ray, "azaion-redis": {"redis"}}[policy["metadata"]["name"]]
        assert selected(policy["spec"]["podSelector"], templates) == meant
        named = {port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", [])}
        for name in meant:
            ports = ports_of(templates[name])
            assert {port for port in named if isinstance(port, str)} <= set(ports)
        if meant == ray:
            assert asked <= named
        open_to_all = [rule for rule in policy["spec"]["ingress"] if "from" not in rule]
        assert open_to_all == []
    assert ports_of(templates["worker"])["serve"] == serve_config(service)["http_options"]["port"]


@pytest.mark.parametrize("labels", OPERATORS, ids=["helm", "kustomize"])
def test_kuberays_operator_reaches_the_head_however_it_was_installed(
    resources: list[Resource], labels: dict[str, str]
) -> None:
    operator = {"operator": {"metadata": {"labels": labels}}}
    [policy] = [each for each in of_kind(resources, "NetworkPolicy") if each["metadata"]["name"] == "azaion-ray"]
    reached: set[int | str] = set()
    for rule in policy["spec"]["ingress"]:
        for peer in rule["from"]:
            if peer.get("namespaceSelector") == {} and selected(peer["podSelector"], operator):
                reached |= {port["port"] for port in rule["ports"]}
    assert reached == {8265, "serve"}, "Serve's API, and the health of the head's proxy"


def test_no_pod_runs_as_root_writes_to_its_root_or_keeps_a_capability(
    resources: list[Resource], service: RayService
) -> None:
    dockerfile = Dockerfile.read(ROOT / "deploy" / "Dockerfile")
    user = dockerfile.stages["gpu"].last("USER")
    assert user is not None
    restricted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    for name, template in pods(resources, service).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        if name != "redis":
            assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == user.text
            assert spec["automountServiceAccountToken"] == (name == "head")
        [container] = spec["containers"]
        assert container["securityContext"] == restricted
        assert set(container["resources"]) == {"requests", "limits"}
    scaler = service.spec.rayClusterConfig.autoscalerOptions
    assert scaler.securityContext == restricted
    volumes = service.spec.rayClusterConfig.headGroupSpec.template["spec"]["volumes"]
    assert {each["name"] for each in scaler.volumeMounts} <= {each["name"] for each in volumes}
    assert service.spec.rayClusterConfig.authOptions.mode == "token"


def test_the_pods_use_the_images_own_folders_and_throughput_mode(
    resources: list[Resource], service: RayService
) -> None:
    dockerfile = Dockerfile.read(ROOT / "deploy" / "Dockerfile")
    runtime = dockerfile.stages["runtime"]
    volume = runtime.last("VOLUME")
    assert volume is not None
    environment: dict[str, str] = {}
    for instruction in runtime.instructions:
        if instruction.word == "ENV":
            environment |= assignments(instruction, environment)
    [configs] = [each for each in runtime.instructions if each.word == "COPY"]
    assert service.metadata.annotations["ray.io/overwrite-container-cmd"] == "true"
    for name in ("head", "worker"):
        [container] = pods(resources, service)[name]["spec"]["containers"]
        writable = {each["mountPath"] for each in container["volumeMounts"]}
        assert writable == {volume.text, environment["HOME"], "/dev/shm"}
        [command] = container["args"]
        [file] = re.findall(r"\. (\S+);", command)
        folder = configs.text.split()[-1]
        assert file == f"{folder}throughput.env"
        assert "configs" in configs.text.split()
        assert started(command, file) == [f"--redis-password={SECRET}", '--resources={"a": 1}']
    assert environment["XDG_CACHE_HOME"] == volume.text


def test_rays_objects_are_in_shared_memory_not_on_a_disk(service: RayService, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the store has 30 % of the pod's memory, in /tmp if /dev/shm has less."""
    monkeypatch.setattr("ray._private.utils.get_shared_memory_bytes", lambda: 2**30)
    cluster = service.spec.rayClusterConfig
    for group in (cluster.headGroupSpec, *cluster.workerGroupSpecs):
        spec = group.template["spec"]
        mounted = {each["mountPath"]: each["name"] for each in spec["containers"][0]["volumeMounts"]}
        [volume] = [each for each in spec["volumes"] if each["name"] == mounted["/dev/shm"]]
        assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
        store = int(group.rayStartParams["object-store-memory"])
        assert determine_plasma_store_config(store, "/tmp")[0] == "/dev/shm"


SECRET = "a secret"


def started(command: str, file: str) -> list[str]:
    """Returns the arguments of the `ray start` that a pod's command runs, where KubeRay generated one with quotes."""
    ran = subprocess.run(
        ["bash", "-c", command.replace(f". {file};", "")],
        env={
            **os.environ,
            "REDIS_PASSWORD": SECRET,
            "KUBERAY_GEN_RAY_START_CMD": """printf '%s\\n' --redis-password="$REDIS_PASSWORD" --resources='{"a": 1}'""",
        },
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return ran.stdout.splitlines()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_redis_asks_for_the_password_that_no_list_of_processes_shows(tmp_path: Path) -> None:
    [redis] = of_kind(resolve(OVERLAYS / "cpu"), "StatefulSet")
    [container] = redis["spec"]["template"]["spec"]["containers"]
    port = str(free_port())
    [script] = container["args"]
    script = script.replace("dir /data", f"dir {tmp_path}\nbind 127.0.0.1\nport {port}")
    environment = {**os.environ, "REDISCLI_AUTH": "a-secret"}
    program, *words = container["readinessProbe"]["exec"]["command"]
    probe = [program, "-p", port, *words]

    def asked(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(probe, env={**os.environ, **variables}, capture_output=True, text=True)

    with subprocess.Popen([*container["command"], script], env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 30
            while asked(REDISCLI_AUTH="a-secret").returncode:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert asked(REDISCLI_AUTH="a-secret").stdout == "PONG\n"
            refused = asked()
            assert "NOAUTH" in refused.stdout + refused.stderr
            assert refused.returncode != 0, "an answer that is an error is not ready"
            assert "a-secret" not in Path(f"/proc/{server.pid}/cmdline").read_text()
        finally:
            server.terminate()  # reaches Redis, which then writes what it has
    assert server.returncode == 0


def test_a_kustomization_with_something_unknown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: a-\n")
    with pytest.raises(ValueError, match="namePrefix"):
        resolve(tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: []\nresources: []\n")
    with pytest.raises(ValueError, match="twice"):
        resolve(tmp_path)

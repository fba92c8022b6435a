"""RayService and PodMonitor: their fields that deploy/kuberay uses, strict; pods are checked by Kubernetes' own schema.

From the published definitions: KubeRay's `helm-chart/kuberay-operator/crds/ray.io_rayservices.yaml`
(ray-project/kuberay at 02a80a6f, with authOptions.secretName) and the Prometheus operator's PodMonitor. The former is
1 MB, most of it the schema of pods, and so is not kept here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SecretKey(_Strict):
    """Key of a secret."""

    name: str
    key: str


class SecretSource(_Strict):
    """Where a value comes from."""

    secretKeyRef: SecretKey


class RedisPassword(_Strict):
    """Redis's password."""

    valueFrom: SecretSource


class FaultTolerance(_Strict):
    """`gcsFaultToleranceOptions`."""

    redisAddress: str
    redisPassword: RedisPassword


class Auth(_Strict):
    """`authOptions`."""

    mode: Literal["disabled", "token"]
    secretName: str


class Autoscaler(_Strict):
    """`autoscalerOptions`."""

    version: Literal["v1", "v2"]
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    idleTimeoutSeconds: int
    resources: dict[str, dict[str, str]]
    securityContext: dict[str, Any]
    volumeMounts: list[dict[str, str]]


class Head(_Strict):
    """`headGroupSpec`."""

    rayStartParams: dict[str, str]
    template: dict[str, Any]


class Workers(_Strict):
    """One of `workerGroupSpecs`."""

    groupName: str
    replicas: int = Field(ge=0)
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=0)
    rayStartParams: dict[str, str]
    template: dict[str, Any]


class Cluster(_Strict):
    """`rayClusterConfig`."""

    rayVersion: str
    enableInTreeAutoscaling: bool
    autoscalerOptions: Autoscaler
    authOptions: Auth
    gcsFaultToleranceOptions: FaultTolerance
    headGroupSpec: Head
    workerGroupSpecs: list[Workers]


class Spec(_Strict):
    """`spec`."""

    serveConfigV2: str
    rayClusterConfig: Cluster


class Metadata(_Strict):
    """`metadata`."""

    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RayService(_Strict):
    """A RayService of ray.io/v1."""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: Metadata
    spec: Spec


class Relabeling(_Strict):
    """One of `relabelings`."""

    sourceLabels: list[str]
    targetLabel: str


class MetricsEndpoint(_Strict):
    """One of `podMetricsEndpoints`."""

    port: str
    interval: str = Field(pattern=r"^\d+s$")
    relabelings: list[Relabeling] = []


class Selector(_Strict):
    """`selector`."""

    matchLabels: dict[str, str]


class PodMonitorSpec(_Strict):
    """`spec` of a PodMonitor."""

    selector: Selector
    podMetricsEndpoints: list[MetricsEndpoint]


class PodMonitor(_Strict):
    """A PodMonitor of monitoring.coreos.com/v1."""

    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec

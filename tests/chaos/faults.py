"""Faults: what is killed, stopped or replaced while the clients ask; each names the processes of one service alone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil

from azaion_engine.model.file import ModelFile
from tests.azaion_engine.models import make_detector
from tests.chaos.service import ChaosService


def kill_a_replica(service: ChaosService) -> None:
    """One of the two replicas dies."""
    service.named("ray::ServeReplica")[0].kill()


def kill_all_replicas(service: ChaosService) -> None:
    """Both replicas die at once."""
    for replica in service.named("ray::ServeReplica"):
        replica.kill()


def pause_a_replica(service: ChaosService) -> None:
    """One replica stands still for three seconds."""
    replica = service.named("ray::ServeReplica")[0]
    replica.suspend()
    threading.Timer(3, replica.resume).start()


def kill_the_engine_host(service: ChaosService) -> None:
    """The process dies that holds the GPU's engine for all replicas."""
    [host] = service.engine_hosts()
    host.kill()


def pause_the_engine_host(service: ChaosService) -> None:
    """The process that holds the GPU's engine stands still for five seconds."""
    [host] = service.engine_hosts()
    host.suspend()
    threading.Timer(5, host.resume).start()


def take_the_descriptors(service: ChaosService) -> None:
    """For five seconds a replica can open no file and no connection beyond those that it has."""
    replica = service.named("ray::ServeReplica")[0]
    _limit(replica, psutil.RLIMIT_NOFILE, replica.num_fds())


def fill_the_disks(service: ChaosService) -> None:
    """For five seconds no file of a replica can grow: its log, and the folder for temporary files."""
    _limit(service.named("ray::ServeReplica")[0], psutil.RLIMIT_FSIZE, 0)


def take_the_memory(service: ChaosService) -> None:
    """For five seconds a replica gets no more memory than it has."""
    replica = service.named("ray::ServeReplica")[0]
    _limit(replica, psutil.RLIMIT_AS, replica.memory_info().vms)


def _limit(process: psutil.Process, resource: int, value: int) -> None:
    """Limits a process for five seconds."""
    soft, hard = process.rlimit(resource)
    process.rlimit(resource, (value, hard))

    def give_back() -> None:
        with suppress(psutil.NoSuchProcess):
            process.rlimit(resource, (soft, hard))

    threading.Timer(5, give_back).start()
    time.sleep(5.5)


def kill_the_proxy(service: ChaosService) -> None:
    """What listens dies: HAProxy, or Serve's proxy."""
    for process in service.haproxies() if service.throughput else service.named("ray::ProxyActor"):
        process.kill()


def kill_the_proxys_manager(service: ChaosService) -> None:
    """The actor dies that looks after HAProxy."""
    service.named("ray::HAProxyManager")[0].kill()


def kill_the_controller(service: ChaosService) -> None:
    """Serve's controller dies."""
    service.named("ray::ServeController")[0].kill()


def replace_the_model(service: ChaosService) -> None:
    """Another model comes under the same name, and a replica that would load it starts; later the first comes back."""
    service.model.write_bytes(make_detector())
    service.named("ray::ServeReplica")[0].kill()

    def put_back() -> None:
        service.model.write_bytes(ModelFile.read("demo").data)

    threading.Timer(8, put_back).start()
    time.sleep(8.5)


def cut_the_model(service: ChaosService) -> None:
    """The model file is half written when a replica starts; later it is whole."""
    whole = service.model.read_bytes()
    service.model.write_bytes(whole[: len(whole) // 2])
    service.named("ray::ServeReplica")[0].kill()
    time.sleep(6)
    service.model.write_bytes(whole)


def shut_serve_down(service: ChaosService) -> None:
    """Another process ends Serve, as `serve shutdown` does."""
    code = (
        "import sys, ray\n"
        "from ray import serve\n"
        "ray.init(address=sys.argv[1], namespace='serve', log_to_driver=False)\n"
        "serve.shutdown()\n"
    )
    command = [sys.executable, "-c", code, service.gcs_address()]
    subprocess.run(command, check=True, timeout=90, env=service.environment(), capture_output=True)


def deploy_again(service: ChaosService) -> None:
    """The same application is deployed with another setting; its replicas are replaced one by one."""
    [application] = service.config["applications"]
    args = {**application["args"], "max_queue": 100 if application["args"].get("max_queue") != 100 else 101}
    config = {**service.config, "applications": [{**application, "args": args}]}
    code = (
        "import json, sys, ray\n"
        "from ray.serve.context import _get_global_client\n"
        "from ray.serve.schema import ServeDeploySchema\n"
        "ray.init(address=sys.argv[1], namespace='serve', log_to_driver=False)\n"
        "config = ServeDeploySchema.model_validate(json.loads(sys.argv[2]))\n"
        "_get_global_client().deploy_apps(config, _blocking=True)\n"
    )
    command = [sys.executable, "-c", code, service.gcs_address(), json.dumps(config)]
    subprocess.run(command, check=True, timeout=90, env=service.environment(), capture_output=True)
    application["args"] = args

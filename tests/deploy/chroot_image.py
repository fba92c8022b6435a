"""`python -m tests.deploy.chroot_image TARGET --work DIR`: builds deploy/Dockerfile in chroots, and tries it.

For machines without a container registry: each stage's image is an empty Debian made by debootstrap, each RUN a shell
in its chroot. What it proves: every step works on that Debian, and the result detects and serves without a compiler, as
its user, on a root that it cannot write to. What it does not: layers, a container runtime, a GPU.

Needs Linux, root, debootstrap, and the network.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.deploy.dockerfile import Dockerfile, Instruction, Stage, assignments, context_files, exec_form, substitute

ROOT = Path(__file__).parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FROM_HOST = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Image:
    """A stage that is built: a root folder, and the settings that its instructions left.

    Attributes:
        root: Its root folder.
        environment: ENV.
        user: USER, as `uid:gid`; empty: root.
        folder: WORKDIR.
    """

    def __init__(self, root: Path, environment: Mapping[str, str], user: str, folder: str) -> None:
        self.root = root
        self.environment = dict(environment)
        self.user = user
        self.folder = folder

    def run(self, command: list[str], *, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the chroot, as the image's user, in its folder; prints what it writes."""
        with self.start(command, **variables) as process:
            output = process.communicate()[0]
        ran = subprocess.CompletedProcess(command, process.returncode, output)
        print(ran.stdout[-3000:], flush=True)
        if check and ran.returncode:
            raise SystemExit(f"{shlex.join(command)[:200]} ended with {ran.returncode}")
        return ran

    def start(self, command: list[str], **variables: str) -> subprocess.Popen[str]:
        """Starts a command as `run` does."""
        kept = {name: os.environ[name] for name in _FROM_HOST if name in os.environ}
        environment = {"PATH": PATH, "HOME": "/root", **kept, **self.environment, **variables}
        user = [f"--userspec={self.user}"] if self.user else []
        inside = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", self.folder, *command]
        print(f"+ {shlex.join(command)[:200]}", flush=True)
        return subprocess.Popen(
            ["chroot", *user, str(self.root), *inside],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


@contextmanager
def mounted(root: Path) -> Iterator[None]:
    """Gives a root /proc, /dev and shared memory, as a container has them."""
    with ExitStack() as stack:
        for kind, place in (("proc", "proc"), ("devtmpfs", "dev"), ("tmpfs", "dev/shm")):
            (root / place).mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", kind, kind, str(root / place)], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(root / place)], check=True)
        yield


class Builder:
    """Builds stages, each once, in folders below `work`."""

    def __init__(self, dockerfile: Dockerfile, work: Path, arguments: Mapping[str, str]) -> None:
        self._dockerfile = dockerfile
        self._work = work
        self._arguments = arguments
        self._built: dict[str, Image] = {}

    def found(self, name: str) -> Image:
        """Returns the image of a stage that an earlier call built."""
        stage = self._dockerfile.stages[name]
        base = self.found(stage.base) if stage.base in self._dockerfile.stages else Image(self._work, {}, "", "/")
        image = Image(self._work / name, base.environment, base.user, base.folder)
        for instruction in stage.instructions:
            if instruction.word not in ("RUN", "COPY"):
                self._do(instruction, image, {})
        return image

    def build(self, name: str) -> Image:
        """Returns the image of a stage."""
        if name not in self._built:
            self._built[name] = self._build(self._dockerfile.stages[name])
        return self._built[name]

    def _build(self, stage: Stage) -> Image:
        root = self._work / stage.name
        if stage.base in self._dockerfile.stages:
            base = self.build(stage.base)
        else:
            base = Image(self._debian(stage.base), {}, "", "/")
        print(f"--- stage {stage.name}, from {stage.base}", flush=True)
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base.root), str(root)], check=True)
        image = Image(root, base.environment, base.user, base.folder)
        arguments: dict[str, str] = {}
        with mounted(root):
            for instruction in stage.instructions:
                self._do(instruction, image, arguments)
        return image

    def _debian(self, name: str) -> Path:
        """Returns an empty Debian of the release in an image's name, such as `debian:trixie-slim`."""
        release = name.removeprefix("debian:").removesuffix("-slim")
        root = self._work / f"debian-{release}"
        if not (root / "etc" / "debian_version").exists():
            subprocess.run(["debootstrap", "--variant=minbase", release, str(root)], check=True)
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        return root

    def _do(self, instruction: Instruction, image: Image, arguments: dict[str, str]) -> None:
        known = {**arguments, **image.environment}
        if instruction.word == "RUN":
            image.run(["/bin/sh", "-c", instruction.text], **arguments, **self._certificates(image))
        elif instruction.word == "ARG":
            given = assignments(instruction, known)
            arguments |= {name: self._arguments.get(name, default) for name, default in given.items()}
        elif instruction.word == "ENV":
            image.environment |= assignments(instruction, known)
        elif instruction.word == "WORKDIR":
            image.folder = substitute(instruction.text, known)
            _inside(image, image.folder).mkdir(parents=True, exist_ok=True)
        elif instruction.word == "USER":
            image.user = substitute(instruction.text, known)
        elif instruction.word == "COPY":
            self._copy(instruction, image)

    def _certificates(self, image: Image) -> dict[str, str]:
        """Returns pip's setting for this machine's own certificates, which its network may need."""
        if not _CERTIFICATES.exists():
            return {}
        shutil.copy(_CERTIFICATES, image.root / "etc" / "host-certificates.crt")
        return {"PIP_CERT": "/etc/host-certificates.crt", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def _copy(self, instruction: Instruction, image: Image) -> None:
        flags, text = instruction.flags()
        *sources, target = text.split()
        place = _inside(image, os.path.join(image.folder, target))
        place.mkdir(parents=True, exist_ok=True)
        if "from" in flags:
            [source] = sources
            subprocess.run(["cp", "-a", f"{_inside(self.build(flags['from']), source)}/.", f"{place}/"], check=True)
            return
        files = context_files(ROOT)
        for source in sources:
            found = [file for file in files if source == "." or file == Path(source) or Path(source) in file.parents]
            if not found:
                raise SystemExit(f"COPY {source}: .dockerignore leaves nothing of it in the context")
            for file in found:
                to = place / (
                    file if source == "." else file.name if file == Path(source) else file.relative_to(source)
                )
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, to)


def _inside(image: Image, path: str) -> Path:
    return image.root / path.lstrip("/")


@contextmanager
def container(image: Image, view: Path) -> Iterator[Image]:
    """Shows an image at `view` as a container has it: its root for reading, its volume and /tmp empty, for writing."""
    view.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(image.root), str(view)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(view)], check=True)
        with ExitStack() as stack:
            for place in ("tmp", "var/cache/azaion"):
                subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(view / place)], check=True)
                stack.callback(subprocess.run, ["umount", "--lazy", str(view / place)], check=True)
            with mounted(view):
                yield Image(view, image.environment, image.user, image.folder)
    finally:
        subprocess.run(["umount", "--lazy", str(view)], check=True)


def tried(image: Image, stage: Stage) -> list[str]:
    """Tries a container; returns what is wrong."""
    wrong = []
    for tool in ("gcc", "g++", "cc", "nvcc", "make"):
        if image.run(["/bin/sh", "-c", f"command -v {tool}"], check=False).returncode == 0:
            wrong.append(f"{tool} is in the image")
    if image.run(["id", "-u"]).stdout.strip() == "0":
        wrong.append("it runs as root")
    if image.run(["touch", "/etc/azaion/file"], check=False).returncode == 0:
        wrong.append("its root can be written to: what follows proves less")
    entry, health = stage.last("ENTRYPOINT"), stage.last("HEALTHCHECK")
    assert entry is not None
    assert health is not None
    # KubeRay starts bash, which starts Ray with the environment of throughput mode.
    throughput = "set -a; . /etc/azaion/configs/throughput.env; set +a; $RAY_SERVE_HAPROXY_BINARY_PATH -v"
    for command in (
        [*exec_form(entry), "--version"],
        [*exec_form(entry), "doctor", "--json"],
        ["ray", "--version"],
        ["serve", "--help"],
        ["/bin/bash", "-c", throughput],
        [exec_form(health)[0], "--version"],
    ):
        if image.run(command, check=False).returncode:
            wrong.append(f"{shlex.join(command)} does not run")
    return wrong + detects(image, exec_form(entry)) + serves(image, exec_form(entry), exec_form(health))


def detects(image: Image, entry: list[str]) -> list[str]:
    """Detects on the samples; returns what is wrong."""
    code = (
        "from azaion_engine.model.file import SAMPLES, sample_picture\n"
        "from pathlib import Path\n"
        "[Path('/tmp', name).write_bytes(sample_picture(name)) for name in SAMPLES]\n"
        "print(*[f'/tmp/{name}' for name in SAMPLES])\n"
    )
    pictures = image.run(["/opt/azaion/bin/python", "-c", code]).stdout.split()
    ran = image.run([*entry, "detect", *pictures, "--format", "jsonl"], check=False)
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    boxes = [len(line.get("boxes", [])) for line in lines]
    print(f"boxes: {boxes}", flush=True)
    if ran.returncode or len(boxes) != len(pictures) or not all(boxes):
        return [f"azaion detect ended with {ran.returncode}, boxes found: {boxes}"]
    return []


def serves(image: Image, entry: list[str], health: list[str]) -> list[str]:
    """Serves until the health check is well and a picture is answered, and ends it; returns what is wrong."""
    port = str(_free_port())
    log = image.root / "tmp" / "serve.log"
    server = image.start(
        ["/bin/sh", "-c", f"exec {shlex.join([*entry, 'serve', '--port', port])} > /tmp/serve.log 2>&1"]
    )
    try:
        asking = [word.replace(":8000/", f":{port}/") for word in health]
        deadline = time.monotonic() + 300
        while image.run(asking, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                return [f"azaion serve is not well: {log.read_text()[-2000:]}"]
            time.sleep(5)
        url = f"http://127.0.0.1:{port}/detect"
        answer = image.run(["wget", "-q", "-O", "-", "--post-file=/tmp/sample_1.jpg", url], check=False)
        boxes = len(json.loads(answer.stdout or "{}").get("boxes", []))
        print(f"boxes over HTTP: {boxes}", flush=True)
        server.terminate()  # as a container is stopped: to process 1, which hands it on
        code = server.wait(60)
        return [] if boxes and code == 0 else [f"azaion serve: {boxes} boxes, ended with {code}"]
    finally:
        server.kill()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> int:
    """Builds and tries a target; returns the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=("cpu", "gpu"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the roots, some GB")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--built", action="store_true", help="try what an earlier call built")
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SystemExit("needs root and debootstrap")
    options.work.mkdir(parents=True, exist_ok=True)
    dockerfile = Dockerfile.read(ROOT / "deploy" / "Dockerfile")
    builder = Builder(dockerfile, options.work, dict(text.split("=", 1) for text in options.build_arg))
    image = builder.found(options.target) if options.built else builder.build(options.target)
    whole = Stage("", "", [each for stage in dockerfile.line_of(options.target) for each in stage.instructions])
    with container(image, options.work / "container") as started:
        wrong = tried(started, whole)
    print("\n".join(wrong) or "the image works")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())

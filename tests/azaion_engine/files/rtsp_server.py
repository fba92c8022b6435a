"""RTSP server for tests: GStreamer's, run by the system's Python, which has its bindings (`python3-gi`)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which

import pytest

PACKAGES = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
"""Of Debian; `.ci/run` installs them."""
_PYTHON = which("python3", path="/usr/bin")
_IMPORTS = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
"""
_SERVE = (
    _IMPORTS
    + """
import sys
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
for pattern in ("ball", "snow"):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern={pattern} ! video/x-raw,format=I420,width=320,height=240,framerate=25/1"
        " ! jpegenc ! rtpjpegpay name=pay0 )"
    )
    factory.set_shared(True)
    server.get_mount_points().add_factory(f"/{pattern}", factory)
if not server.attach(None):
    sys.exit("the port is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""
)


def require() -> None:
    """Skips a test where the server is missing; fails it where AZAION_REQUIRE_RTSP is set."""
    there = _PYTHON and not subprocess.run([_PYTHON, "-c", _IMPORTS], capture_output=True, check=False).returncode
    if there:
        return
    if os.environ.get("AZAION_REQUIRE_RTSP"):
        pytest.fail(f"no RTSP server: apt-get install {PACKAGES}")
    pytest.skip(f"no RTSP server: apt-get install {PACKAGES}")


@contextmanager
def serve(port: int = 0) -> Iterator[int]:
    """Serves `/ball` and `/snow`, 25 motion-JPEG frames a second each; yields the port."""
    assert _PYTHON is not None
    process = subprocess.Popen([_PYTHON, "-c", _SERVE, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()

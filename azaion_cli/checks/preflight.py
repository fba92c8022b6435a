"""Preflight: what `azaion serve` checks before Ray starts, which would fail late, without words, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import typer
import yaml

from azaion_cli.checks.listeners import listeners
from azaion_cli.checks.repeated_key import repeated_key
from azaion_cli.options import checked
from azaion_cli.throughput import taken
from azaion_engine.errors import ConfigurationError, MissingDependencyError

Block = TypeVar("Block", dict[str, Any], list[Any])

_PROBE_BYTES = 2**20
"""Bytes that a folder must have room for: Ray's logs and sockets need more than that soon."""


def require_ray() -> None:
    """Looks for Ray without importing it, which takes a second.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if find_spec("ray") is None:
        raise MissingDependencyError("Ray Serve is not installed: pip install 'ray[serve]'")


def http_address(config: str) -> tuple[str, int]:
    """Returns host and port of HTTP in a configuration file; Serve itself reports what is wrong in it."""
    options = _block(config, "http_options")
    try:
        return str(options.get("host", "0.0.0.0")), int(options.get("port", 8000))
    except (TypeError, ValueError):
        return "0.0.0.0", 8000  # Serve's defaults for a file


def refuse_taken_ports(config: str) -> None:
    """Refuses a configuration file with a port on which another program listens.

    Raises:
        ConfigurationError: Names the port, and what chooses another; or an address that is not this machine's.
    """
    host, port = http_address(config)
    ports = [("http_options", host, port, "--port")]
    grpc = _block(config, "grpc_options")
    if grpc.get("grpc_servicer_functions") and isinstance(grpc.get("port", 9000), int):
        ports.append(("grpc_options", "0.0.0.0", grpc.get("port", 9000), "--grpc-port"))
    for block, host, port, option in ports:
        if taken(host, port):
            raise ConfigurationError(
                f"port {port} on {host} is taken: another program listens there{_named(port)}; end it, or choose "
                f"another port with {option} or in {block} of the configuration"
            )


def _named(port: int) -> str:
    """Returns name and ID of the process that listens on a port, where the system tells them to this user."""
    found = next((each for each in listeners() if each.port == port and each.process), None)
    return f" ({Path(found.process.split()[0]).name}, process {found.pid})" if found else ""


def refuse_wrong_arguments(config: str) -> None:
    """Refuses a configuration file whose application has a wrong key or value: Serve would log it and keep waiting.

    Raises:
        typer.BadParameter: Names the key; or one of the whole file that is there twice, of which Serve takes the last.
    """
    from deployments.settings import ApplicationSettings

    with suppress(UnicodeDecodeError):
        if twice := repeated_key(Path(config).read_text()):
            raise typer.BadParameter(twice)
    for application in _top(config, "applications", list):
        if isinstance(application, dict) and application.get("import_path") == "deployments.app:build":
            arguments = application.get("args")
            checked(ApplicationSettings, arguments if isinstance(arguments, dict) else {})


def open_address(config: str) -> str | None:
    """Returns a warning if HTTP listens beyond this host and an application of a configuration file asks for no key.

    Raises:
        ConfigurationError: A keys file of the configuration cannot be used.
    """
    from deployments.access.keys_file import KeysFile
    from deployments.access.open_addresses import NO_KEY
    from deployments.cluster.grpc_host import is_loopback

    files = _keys_files(config)
    for file in files:
        if file is not None:
            KeysFile(file)
    host, _ = http_address(config)
    return NO_KEY.format(host=host) if None in files and not is_loopback(host) else None


def refuse_unusable_folders(environment: Mapping[str, str]) -> None:
    """Refuses folders that Ray needs and that cannot be written to, or are full.

    Raises:
        ConfigurationError: Names the folder, the reason, and what chooses another.
    """
    temporary = environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"
    _refuse_unusable(Path(temporary), "the folder for temporary files", "set TMPDIR to another")
    # `ray.init` creates a token for its cluster unless it is told otherwise.
    told = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if environment.get("RAY_AUTH_MODE", "token") == "token" and not any(environment.get(name) for name in told):
        home = Path(environment.get("HOME") or Path.home())
        if not (home / ".ray" / "auth_token").is_file():
            _refuse_unusable(
                home / ".ray",
                "Ray's folder for its token",
                "set HOME to a folder that can be written to, or RAY_AUTH_TOKEN to a secret of 32 bytes or more",
            )


def _refuse_unusable(folder: Path, purpose: str, remedy: str) -> None:
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="azaion-") as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise ConfigurationError(f"{purpose}, {folder}, cannot be written to: {error.strerror}; {remedy}") from error


def _keys_files(config: str) -> list[str | None]:
    """Returns the keys file of each application of a configuration file; None for one that asks for no key."""
    files: list[str | None] = []
    for application in _top(config, "applications", list):
        arguments = application.get("args") if isinstance(application, dict) else None
        access = arguments.get("access") if isinstance(arguments, dict) else None
        file = access.get("keys_file") if isinstance(access, dict) else None
        files.append(file if isinstance(file, str) else None)
    return files


def _block(config: str, name: str) -> dict[str, Any]:
    """Returns a block of a configuration file; empty if there is none, or no valid file."""
    return _top(config, name, dict)


def _top(config: str, name: str, kind: type[Block]) -> Block:
    """Returns what a configuration file has under a name; empty if there is none, or no valid file."""
    try:
        block = yaml.safe_load(Path(config).read_text())[name]
    except (yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError):
        return kind()
    return block if isinstance(block, kind) else kind()

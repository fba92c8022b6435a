"""Listeners: TCP sockets of this machine that wait for connections, as Linux tells them in /proc."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp (include/net/tcp_states.h)."""


@dataclass(frozen=True, order=True)
class Listener:
    """One listening socket.

    Attributes:
        port: TCP port.
        address: IP address; `0.0.0.0` and `::` are every address.
        pid: Its process; 0 if that belongs to another user.
        process: The command line of its process, empty likewise.
    """

    port: int
    address: str
    pid: int
    process: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


def listeners() -> list[Listener]:
    """Returns the listening sockets of this machine's network, by port; none where there is no /proc."""
    owners = _owners()
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTEN:
                address, _, port = local.partition(":")
                pid = owners.get(rest[5], 0)
                found.append(Listener(int(port, 16), _address(address), pid, _command(pid)))
    return sorted(found)


def _address(text: str) -> str:
    """Returns an address of /proc/net/tcp, where each group of 4 bytes is a number of this machine's byte order."""
    words = [
        int.from_bytes(bytes.fromhex(text[i : i + 8]), "little").to_bytes(4, "big") for i in range(0, len(text), 8)
    ]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words))


def _owners() -> dict[str, int]:
    """Returns the process of each socket, by inode; those of other users are left out."""
    owners: dict[str, int] = {}
    for process in _PROC.iterdir():
        if process.name.isdigit():
            for link in _links(process / "fd"):
                if link.startswith("socket:["):
                    owners.setdefault(link[8:-1], int(process.name))
    return owners


def _links(folder: Path) -> Iterator[str]:
    """Yields where a process's descriptors lead; none for another user's process, or one that has ended."""
    try:
        for link in folder.iterdir():
            with suppress(OSError):  # closed since
                yield str(link.readlink())
    except OSError:
        return


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""

"""Open addresses: where a service that asks for no key can be reached by others, and what to tell its operator."""

from __future__ import annotations

import ipaddress

NO_KEY = (
    "OPEN: HTTP listens on {host} and asks for no key: whoever reaches the port may use the detector. "
    "`azaion keys add NAME` makes a key, `access: {{keys_file: FILE}}` asks for it"
)
"""Warning; `host` is the address."""


def is_loopback(host: str) -> bool:
    """Returns whether an address that a server listens on can be reached from its own host only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

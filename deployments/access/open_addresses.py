"""Open addresses: where a service that asks for no key can be reached by others, and what to tell its operator."""

from __future__ import annotations

NO_KEY = (
    "OPEN: HTTP listens on {host} and asks for no key: anyone who reaches the port may use the detector. "
    "`azaion keys add NAME` makes a key, `access: {{keys_file: FILE}}` asks for it"
)
"""Warning; `host` is the address."""

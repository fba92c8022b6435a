"""Several models in one service: asks each that is served about one picture.

python examples/several_models.py PICTURE [--url URL]
"""

from __future__ import annotations

import argparse

import httpx

from azaion_client import Client


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    options = parser.parse_args()

    for model in httpx.get(f"{options.url}/models").raise_for_status().json()["models"]:
        if not model["replicas"]:
            print(f"{model['name']}: {model['state']}, {model['message']}")
            continue
        # A model's own route is a whole service; requests to it go straight to its replicas.
        with Client(f"{options.url}/models/{model['name']}") as client:
            found = client.detect(options.picture)
            print(f"{found.model.name} {found.model.version}: {len(found)} boxes")


if __name__ == "__main__":
    main()

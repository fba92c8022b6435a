"""The Python client: one picture, several, and what can go wrong.

python examples/client.py PICTURE [--url URL]
"""

from __future__ import annotations

import argparse

from azaion_client import BadPictureError, Client, RequestFailedError, UnavailableError, UnreachableError


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    options = parser.parse_args()

    with Client(options.url) as client:
        client.wait_until_ready(timeout_s=600)  # a first start on a GPU builds the engine
        card = client.model()
        print(f"{card.name} on {card.engine} finds {', '.join(card.classes.values())}")

        # One picture: a path, bytes, or an open file.
        found = client.detect(options.picture, confidence=0.9, classes=["car"])
        print(f"{len(found)} in {found.picture.width}×{found.picture.height} pixels, {found.timing_ms.total:.0f} ms")
        for box in found:
            print(f"{box.class_name} {box.confidence:.2f} at {box.x1:.0f},{box.y1:.0f} – {box.x2:.0f},{box.y2:.0f}")

        # Several: the answers come in order; a picture that cannot be used has its own error.
        for answer in client.detect_many([options.picture, b"GIF89a"], confidence=0.9):
            if isinstance(answer, RequestFailedError):
                print(f"refused: {answer.code}")
            else:
                print(f"{len(answer)} boxes")

        # The client has already retried 429, 503 and broken connections before it raises one of these.
        try:
            client.detect(b"", request_id="example-1")
        except BadPictureError as error:
            print(f"not a good picture: {error.status} {error.code}")
        except UnavailableError as error:
            print(f"come back in {error.retry_after_s} s")
        except UnreachableError as error:
            print(f"nobody there: {error}")


if __name__ == "__main__":
    main()

from __future__ import annotations

import pytest

from deployments.frontends.negotiation import qualities


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {}),
        ([""], {}),
        (["gzip;q=0, Deflate"], {"gzip": 0, "deflate": 1}),
        (["text/html", "Image/JPEG ; Q=0.5"], {"text/html": 1, "image/jpeg": 0.5}),
        (["a;q=much,b;level=1;q=0.25"], {"b": 0.25}),
    ],
)
def test_qualities_are_read_from_all_the_headers(values: list[str], expected: dict[str, float]) -> None:
    assert qualities(values) == expected

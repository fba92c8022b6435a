"""When a request is repeated, and after which wait; over real connections, with a fake clock."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_client import (
    BadPictureError,
    Client,
    Detections,
    NotReadyError,
    OverloadedError,
    RequestFailedError,
    RetryPolicy,
    UnavailableError,
    UnreachableError,
)
from azaion_client.retry import Attempts, retry_after
from tests.azaion_client.conftest import CARD, FOUND, MODEL, Reply, error

FULL = error("overloaded", 503)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_overloaded_service_is_asked_again_after_what_it_says_and_jitter(call, script, waits):
    script.plays(Reply(FULL, 503, {"Retry-After": "3"}), Reply(FULL, 503, {"Retry-After": "1"}), Reply())
    assert len(call("detect", b"picture", request_id="same")) == 1
    assert waits == [3.25, 1.5]
    assert [asked.body for asked in script.asked] == [b"picture"] * 3
    assert [asked.headers["x-request-id"] for asked in script.asked] == ["same"] * 3


@pytest.mark.parametrize(("body", "status"), [(b"busy", 429), (FULL, 503), (error("body_too_slow", 408), 408)])
def test_without_retry_after_the_waits_double(call, script, waits, body, status):
    script.plays(*[Reply(body, status)] * 5, Reply())
    call("detect", b"x")
    assert waits == [0.25, 0.5, 1, 2, 4]


SERVES_404 = b"Path '/detect' not found. Ping http://.../-/routes for available routes."
AWAY = [
    Reply(b"Internal Server Error", 500),
    Reply(b"Request timed out after 60s.", 408),
    Reply(b"<html>Bad Gateway", 502),
    Reply(b"503 Service Unavailable", 503),
    Reply(SERVES_404, 404),
    Reply(error("not_ready", 503), 503),
    Reply(reset=True),
]


@pytest.mark.parametrize("reply", AWAY, ids=lambda reply: str(reply.status))
def test_a_service_that_is_away_is_asked_until_it_is_back(call, script, waits, reply):
    script.plays(*[reply] * 9, Reply())
    assert len(call("detect", b"picture")) == 1
    assert waits == [0.25, 0.5, 1, 2, 2, 2, 2, 2, 2], "more attempts than `retries`, at most two seconds apart"
    assert {asked.body for asked in script.asked} == {b"picture"}


def test_an_outage_ends_before_long(call, script, waits):
    script.plays(*[Reply(b"503", 503)] * 9)
    with pytest.raises(UnavailableError):
        call("detect", b"x", client={"retry": RetryPolicy(outage_s=10)})
    assert 10 <= sum(waits) < 12


def test_no_retries_means_none_for_a_service_that_is_away_either(call, script, waits):
    script.plays(Reply(b"Internal Server Error", 500))
    with pytest.raises(RequestFailedError, match="500 http_500"):
        call("detect", b"x", client={"retry": RetryPolicy(retries=0)})
    assert waits == []


@pytest.mark.parametrize(
    "reply",
    [Reply(error("internal", 500), 500), Reply(error("deadline_exceeded", 504), 504), Reply(b"Not Found", 404)],
    ids=["internal", "deadline_exceeded", "another server"],
)
def test_what_would_fail_again_is_not_repeated(call, script, waits, reply):
    script.plays(reply)
    with pytest.raises(RequestFailedError):
        call("detect", b"x")
    assert waits == []


def test_after_the_last_attempt_the_services_own_error_is_raised(call, script, waits):
    script.plays(*[Reply(FULL, 503, {"Retry-After": "1"})] * 6)
    with pytest.raises(OverloadedError) as caught:
        call("detect", b"x")
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    assert len(waits) == 5


def test_a_lost_gpu_is_unavailable_but_not_overloaded(call, script, waits):
    script.plays(*[Reply(error("gpu_lost", 503), 503)] * 2)
    with pytest.raises(UnavailableError) as caught:
        call("detect", b"x", client={"retry": RetryPolicy(retries=1)})
    assert type(caught.value) is UnavailableError
    assert caught.value.code == "gpu_lost"


def test_a_wait_beyond_the_deadline_is_not_begun(call, script, waits):
    script.plays(Reply(FULL, 503, {"Retry-After": "4"}), Reply(FULL, 503, {"Retry-After": "6"}))
    with pytest.raises(OverloadedError):
        call("detect", b"x", client={"timeout_s": 10})
    assert waits == [4.25]


@pytest.mark.parametrize("seconds", ["31", "9" * 400])
def test_a_wait_longer_than_the_longest_is_not_begun(call, script, waits, seconds):
    script.plays(Reply(FULL, 503, {"Retry-After": seconds}))
    with pytest.raises(OverloadedError) as caught:
        call("detect", b"x", client={"timeout_s": 1000})
    assert caught.value.retry_after_s == float(seconds)
    assert waits == []


def test_a_connection_that_breaks_before_the_answer_is_made_anew(call, script, waits):
    script.plays(Reply(reset=True), Reply())
    assert len(call("detect", b"x")) == 1
    assert waits == [0.25]


def test_an_answer_that_breaks_off_is_asked_for_again(call, script, waits):
    script.plays(Reply(b"{", headers={"Content-Length": "100", "Connection": "close"}), Reply())
    assert len(call("detect", b"x")) == 1


def test_nobody_there_is_tried_again_and_then_unreachable(call, waits):
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(UnreachableError, match=url) as caught:
        call("detect", b"x", client={"base_url": url})
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert 30 <= sum(waits) < 32


def test_a_service_that_takes_too_long_is_not_asked_again(call, waits):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreachableError, match="ReadTimeout"):
        call("detect", b"x", client={"base_url": f"http://127.0.0.1:{silent.getsockname()[1]}", "timeout_s": 0.2})
    assert waits == []


def test_a_bad_picture_is_not_repeated(call, script, waits):
    script.plays(Reply(error("picture_undecodable", 400), 400, {"Retry-After": "1"}))
    with pytest.raises(BadPictureError):
        call("detect", b"x")
    assert waits == []


def test_of_many_only_the_pictures_without_a_place_are_sent_again(call, script, waits):
    bad, full = error("not_a_picture", 415), FULL
    card = {**CARD, "limits": {**CARD["limits"], "max_pictures": 4}}
    script.plays(
        Reply(card),
        Reply({"pictures": [full, FOUND, bad, full], "model": MODEL}),
        Reply({"pictures": [full, FOUND], "model": MODEL}, 503, {"Retry-After": "2"}),
        Reply({"pictures": [FOUND], "model": MODEL}),
    )
    results = call("detect_many", [b"1", b"2", b"3", b"4"])
    assert [type(result) for result in results] == [Detections, Detections, BadPictureError, Detections]
    assert [[data for _, data in asked.parts()] for asked in script.asked[1:]] == [
        [b"1", b"2", b"3", b"4"],
        [b"1", b"4"],
        [b"1"],
    ]
    assert waits == [0.25, 2.5]


def test_of_many_a_picture_that_never_found_a_place_carries_the_error(call, script, waits):
    script.plays(
        Reply(CARD),
        Reply({"pictures": [FOUND, FULL], "model": MODEL}),
        Reply({"pictures": [FULL], "model": MODEL}, 503, {"Retry-After": "1"}),
    )
    first, second = call("detect_many", [b"1", b"2"], client={"retry": RetryPolicy(retries=1)})
    assert isinstance(first, Detections)
    assert isinstance(second, OverloadedError)


@pytest.mark.parametrize(
    "last", [[Reply(FULL, 503, {"Retry-After": "1"})] * 3, [Reply(b"?", 403)], [Reply(reset=True)] * 3]
)
def test_of_many_those_that_have_boxes_keep_them_when_the_repeat_is_refused_whole(call, script, waits, last):
    script.plays(Reply(CARD), Reply({"pictures": [FOUND, FULL], "model": MODEL}), *last)
    first, second = call("detect_many", [b"1", b"2"], client={"retry": RetryPolicy(retries=3)})
    assert isinstance(first, Detections)
    assert isinstance(second, OverloadedError)


def test_ready_is_a_plain_yes_or_no(call, script, waits):
    script.plays(Reply({"status": "ready"}), Reply(error("gpu_lost", 503), 503), Reply(b"no such path", 404))
    assert call.several("ready", [()] * 3) == [True, False, False]
    assert call("ready", client={"base_url": f"http://127.0.0.1:{closed_port()}"}) is False
    assert waits == []


def test_waiting_ends_when_the_service_is_ready(call, script, waits):
    script.plays(Reply(b"not found", 404), Reply(reset=True), Reply(b"busy", 503), Reply({"status": "ready"}))
    call("wait_until_ready")
    assert waits == [0.5] * 3


def test_waiting_in_vain_tells_the_last_reason(call, script, waits):
    script.plays(*[Reply(error("gpu_lost", 503), 503)] * 2)
    with pytest.raises(NotReadyError, match=r"within 1 s: 503 gpu_lost"):
        call("wait_until_ready", 1)


def test_real_time_passes_between_real_attempts(script):
    script.plays(Reply(FULL, 503, {"Retry-After": "1"}), Reply())
    begun = time.monotonic()
    with Client(script.url) as client:
        client.detect(b"x")
    assert 1 <= time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        (" 7 ", 7),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30),
        ("Wed Oct 21 07:28:30 2015", 30),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_services_clock(text, seconds):
    headers = httpx.Headers({"Retry-After": text, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert retry_after(headers) == seconds


def test_a_date_without_the_services_clock_goes_by_this_one():
    headers = httpx.Headers({"Retry-After": formatdate(time.time() + 20, usegmt=True)})
    assert retry_after(headers) == pytest.approx(20, abs=3)
    assert retry_after(httpx.Headers()) is None


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_header_whatsoever_breaks_the_reading(text):
    seconds = retry_after(httpx.Headers({"Retry-After": text.encode("latin-1")}))
    assert seconds is None or seconds >= 0


@given(
    policy=st.builds(
        RetryPolicy, retries=st.integers(0, 10), first_wait_s=st.floats(0, 60), longest_wait_s=st.floats(0, 60)
    ),
    asked=st.one_of(st.none(), st.floats(0, 100)),
)
def test_no_wait_is_shorter_than_asked_for_or_longer_than_allowed(policy, asked):
    attempts = Attempts(policy, timeout_s=1000)
    failure = OverloadedError(503, "overloaded", "full", retry_after_s=asked)
    waits = [wait for _ in range(12) if (wait := attempts.wait_after(failure)) is not None]
    assert len(waits) <= policy.retries
    assert all((asked or 0) <= wait <= policy.longest_wait_s for wait in waits)

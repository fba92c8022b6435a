from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import JpegPicture

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with here, there:
        yield here, there


def passed_on(ends: Ends, message: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:  # more than the kernel's buffer holds
        sending = pool.submit(engine_wire.send, ends[0], engine_wire.pack(message))
        received = engine_wire.Inbox(ends[1]).receive()
        assert sending.result() == []
    return received


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 5_000_000])
def test_a_jpeg_arrives_as_the_bytes_that_it_was(ends: Ends, size: int) -> None:
    picture = JpegPicture(Letterbox.fit(640, 480, 320, 320), os.urandom(size), orientation=6)
    received = passed_on(ends, [engine_wire.to_send(picture)])
    assert received == [picture]


def test_what_has_arrived_so_far_is_kept_until_the_message_is_complete(ends: Ends) -> None:
    here, there = ends
    inbox = engine_wire.Inbox(there)
    assert inbox.poll() is None
    for message in ([bytes(100_000), "first"], ["second"]):
        data = b"".join(engine_wire.pack(message))
        for begin in range(0, len(data), 30_000):
            assert inbox.poll() is None
            here.sendall(data[begin : begin + 30_000])
        assert inbox.poll() == message


def test_an_inbox_reuses_its_memory_unless_a_message_was_large(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_wire, "_KEPT_BYTES", 150_000)
    here, there = ends
    inbox = engine_wire.Inbox(there)
    held = []
    for size, value in ((50_000, 1), (40_000, 2), (160_000, 3), (100_000, 4)):
        array = np.full(size, value, np.uint8)
        engine_wire.send(here, engine_wire.pack(array))
        held.append(inbox.poll())
        np.testing.assert_array_equal(held[-1], array)
    assert held[0][0] == 2  # the second message overwrote the first
    assert held[2][0] == 3  # the third one's memory was given up


def test_a_full_socket_buffer_leaves_the_rest_to_be_sent(ends: Ends) -> None:
    here, there = ends
    message = np.random.default_rng(1).integers(0, 255, 3_000_000, np.uint8)
    left = engine_wire.send(here, engine_wire.pack(message), wait=False)
    assert 0 < sum(part.nbytes for part in left) < message.nbytes
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(engine_wire.send, here, left)
        np.testing.assert_array_equal(engine_wire.Inbox(there).receive(), message)
        assert sending.result() == []


def test_arrays_arrive_with_shape_and_dtype(ends: Ends) -> None:
    small, large = np.arange(6, dtype=np.float16).reshape(2, 3), np.random.default_rng(0).random((4, 3, 64, 64))
    strided = large[:, :, ::2]
    for sent, received in zip((small, large, strided), passed_on(ends, (small, large, strided)), strict=True):
        assert received.dtype == sent.dtype
        np.testing.assert_array_equal(received, sent)


def test_messages_keep_their_order_and_many_buffers_their_places(ends: Ends) -> None:
    buffers = [np.full(20_000, index, np.uint8) for index in range(150)]
    received = passed_on(ends, buffers)
    assert [int(buffer[-1]) for buffer in received] == list(range(150))
    assert passed_on(ends, "next") == "next"


def test_an_end_that_closes_between_and_within_messages_is_told_apart_from_a_message(ends: Ends) -> None:
    here, there = ends
    here.sendall(b"".join(engine_wire.pack("a message"))[:-1])
    here.close()
    with pytest.raises(EOFError, match="closed"):
        engine_wire.Inbox(there).receive()
    with pytest.raises(EOFError, match="closed"):
        engine_wire.Inbox(there).poll()

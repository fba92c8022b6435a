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
        sending = pool.submit(engine_wire.send, ends[0], message)
        received = engine_wire.receive(ends[1])
        sending.result()
    return received


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 5_000_000])
def test_a_jpeg_arrives_as_the_bytes_that_it_was(ends: Ends, size: int) -> None:
    picture = JpegPicture(Letterbox.fit(640, 480, 320, 320), os.urandom(size), orientation=6)
    received = passed_on(ends, [engine_wire.to_send(picture)])
    assert received == [picture]
    assert type(received[0].jpeg) is bytes


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
    here.sendall((2).to_bytes(8, "little") + b"half of the si")
    here.close()
    with pytest.raises(EOFError, match="closed"):
        engine_wire.receive(there)
    with pytest.raises(EOFError, match="closed"):
        engine_wire.receive(there)

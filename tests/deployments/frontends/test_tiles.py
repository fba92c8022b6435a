"""Large pictures in tiles over HTTP, without Ray: the same answer by every door, fair to small pictures."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from PIL import Image

from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.tiling import neighbours
from tests.deployments.in_process import Replica, client, replica
from tests.stand_in import (
    BATCH_SIZE,
    POISON,
    HoldingStandInEngine,
    grey_picture,
    open_holding,
    open_slow_holding,
    open_stand_in,
    open_two_lanes,
)

NETWORK = 32
APART = {"size": "off", "overlap": 0, "full_picture": False, "max_tiles": 40}

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def tiled_picture(rows: int = 3, columns: int = 4, kind: str = "PNG", first: int = 10) -> bytes:
    """Encodes squares of the network's size, each of its own grey value: first, first + 1, …"""
    values = first + np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    pixels = values.repeat(NETWORK, axis=0).repeat(NETWORK, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([pixels] * 3, axis=2)).save(buffer, kind)
    return buffer.getvalue()


def boxes_of(body: dict[str, Any]) -> set[tuple[float, float, int]]:
    return {(box["x1"], box["y1"], box["class_id"]) for box in body["boxes"]}


EXPECTED = {(4.0 + NETWORK * (i % 4), 8.0 + NETWORK * (i // 4), 10 + i) for i in range(12)}
"""The stand-in's box of each of the twelve tiles: its class is the tile's grey value."""


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def free(held: Replica) -> bool:
    """Returns whether no place and no memory is taken."""
    memory = held.service.detector.decode_memory
    return held.service._batcher.depth == 0 and memory._free == memory.limit


def test_query_form_settings_and_v2_answer_the_tiles_boxes_in_pixels_of_the_picture(run: Run) -> None:
    async def ask() -> None:
        async with client() as asked:
            plain = (await asked.post("/detect", content=tiled_picture())).json()
            assert len(plain["boxes"]) == 1
            for size in ("32", "auto"):
                body = (await asked.post(f"/detect?tiles={size}", content=tiled_picture())).json()
                assert body["picture"] == {"width": 128, "height": 96}
                assert boxes_of(body) == EXPECTED
                assert set(body["timing_ms"]) == {"decode", "queue", "engine", "total"}
            files = [
                ("picture", ("a.png", tiled_picture(), "image/png")),
                ("picture", ("b.png", grey_picture(9), "image/png")),
            ]
            two = (await asked.post("/detect", files=files, data={"tiles": "auto"})).json()["pictures"]
            assert boxes_of(two[0]) == EXPECTED
            assert boxes_of(two[1]) == {(4.0, 8.0, 9)}
            few = (await asked.post("/detect?tiles=32&max_detections=5&classes=11,12", content=tiled_picture())).json()
            assert len(few["boxes"]) <= 2
            drawn = await asked.post("/detect?tiles=32&format=image", content=tiled_picture())
            assert Image.open(io.BytesIO(drawn.content)).size == (128, 96)
            message = {
                "inputs": [
                    {
                        "name": "picture",
                        "datatype": "BYTES",
                        "shape": [1],
                        "data": [base64.b64encode(tiled_picture()).decode()],
                        "parameters": {"content_type": "base64"},
                    }
                ],
                "parameters": {"tiles": 32},
            }
            answer = await asked.post("/v2/models/stand-in/infer", content=json.dumps(message))
            outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
            assert outputs["num_detections"] == [12]
            assert set(outputs["class_ids"]) == set(range(10, 22))

    with replica(tiles=APART) as held:
        run(ask())
        assert free(held)
    with replica(tiles={**APART, "size": "auto"}):

        async def by_default() -> None:
            async with client() as asked:
                assert boxes_of((await asked.post("/detect", content=tiled_picture())).json()) == EXPECTED
                assert len((await asked.post("/detect?tiles=off", content=tiled_picture())).json()["boxes"]) == 1

        run(by_default())


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_tiles_of_one_picture_share_batches_with_other_requests(run: Run, kind: str) -> None:
    async def ask() -> None:
        async with client() as asked:
            one, other = await asyncio.gather(
                asked.post("/detect?tiles=32&confidence=0.05", content=tiled_picture(kind=kind)),
                asked.post("/detect?tiles=32&confidence=0.05", content=tiled_picture(kind=kind, first=100)),
            )
        for response, first in ((one, 10), (other, 100)):
            classes = {box["class_id"] for box in response.json()["boxes"] if box["confidence"] > 0.5}
            assert all(min(abs(grey - found) for found in classes) <= 1 for grey in range(first, first + 12))
            sizes = [
                box["class_id"] - BATCH_SIZE
                for box in response.json()["boxes"]
                if 0 <= box["class_id"] - BATCH_SIZE < 99
            ]
            assert max(sizes) > 4

    with replica(tiles=APART, max_queue=64):
        run(ask())


def test_an_engine_that_takes_pixels_as_a_gpu_does_gets_the_tiles_pixels(run: Run) -> None:
    async def ask() -> None:
        async with client() as asked:
            body = (await asked.post("/detect?tiles=32", content=tiled_picture(1, 2, first=50))).json()
            assert (4.0, 8.0, 50) in boxes_of(body)
            assert max(box["x1"] for box in body["boxes"] if box["class_id"] == 51) >= 30

    with replica(open_two_lanes) as held:
        run(ask())
        assert free(held)


def test_an_engine_that_decodes_jpegs_gets_each_once_and_cuts_the_tiles_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    decodes: list[int] = []
    decode = EncodedPicture.decode
    monkeypatch.setattr(EncodedPicture, "decode", lambda self: decodes.append(len(self.data)) or decode(self))

    async def ask(engine: HoldingStandInEngine) -> None:
        given = [tiled_picture(kind="JPEG", first=first) for first in (10, 100)] + [tiled_picture(first=200)]
        decodes.clear()  # that of the warm-up
        async with client() as asked:
            answers = await asyncio.gather(*(asked.post("/detect?tiles=32", content=data) for data in given))
            for response, first in zip(answers, (10, 100, 200), strict=True):
                classes = sorted(box["class_id"] for box in response.json()["boxes"])
                assert len(classes) == 12, classes
                assert max(abs(grey - first - i) for i, grey in enumerate(classes)) <= 1
                assert response.json()["timing_ms"]["decode"] > 0
            assert engine.holds == 2
            # The engine's own decodes, and that of the PNG.
            assert sorted(decodes) == sorted(map(len, given))
            damaged = await asked.post("/detect?tiles=32", content=given[0][:-300])
            assert (damaged.status_code, damaged.json()["error"]["code"]) == (400, "picture_undecodable")
        assert not engine.held

    with replica(open_holding, tiles=APART, max_queue=64) as held:
        run(ask(held.service.detector.engine))  # type: ignore[arg-type]
        assert free(held)


def test_a_picture_that_the_engine_holds_is_released_when_its_caller_leaves(run: Run) -> None:
    async def leave(held: Replica) -> None:
        engine = held.service.detector.engine
        assert isinstance(engine, HoldingStandInEngine)
        picture = tiled_picture(6, 6, "JPEG")
        caller = asyncio.ensure_future(held.service.detect(picture, tiles="32"))
        await until(lambda: held.service._batcher.depth > 1)
        assert len(engine.held) == 1
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await until(lambda: free(held) and not engine.held)
        async with client() as asked:
            late = await asked.post("/detect?tiles=32", content=picture)
            assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        await until(lambda: free(held) and not engine.held)

    with replica(open_slow_holding, tiles=APART, max_queue=16, batch_size=2, timeout_s=1.0) as held:
        run(leave(held))


def test_a_huge_picture_holds_few_places_and_small_ones_overtake_it(run: Run) -> None:
    async def ask(held: Replica) -> None:
        batcher = held.service._batcher
        assert batcher.tiles_at_once == 4
        async with client() as asked:
            huge = asyncio.ensure_future(asked.post("/detect?tiles=32", content=tiled_picture(6, 6)))
            await until(lambda: batcher.depth > 1)
            most = 0
            for value in range(3):
                small = await asked.post("/detect", content=grey_picture(value))
                assert [box["class_id"] for box in small.json()["boxes"]] == [value]
                most = max(most, batcher.depth)
            assert not huge.done()
            assert 1 < most <= 4
            assert len((await huge).json()["boxes"]) == 36

    with replica(lambda settings: open_stand_in(settings, 0.1), tiles=APART, max_queue=16, batch_size=2) as held:
        run(ask(held))
        assert free(held)


def test_many_huge_pictures_leave_places_for_small_ones(run: Run) -> None:
    async def ask(held: Replica) -> None:
        async with client() as asked:
            huge = [
                asyncio.ensure_future(asked.post("/detect?tiles=32", content=tiled_picture(6, 6))) for _ in range(5)
            ]
            await until(lambda: held.service._batcher.depth >= 5)
            assert held.service._batcher.depth <= 12
            assert (await asked.post("/detect", content=grey_picture(7))).status_code == 200
            assert [len(one.json()["boxes"]) for one in await asyncio.gather(*huge)] == [36] * 5

    with replica(tiles=APART, max_queue=16, batch_size=2) as held:
        run(ask(held))
        assert free(held)


def test_a_caller_that_leaves_and_a_timeout_give_places_and_memory_back(run: Run) -> None:
    async def leave(held: Replica) -> None:
        picture = tiled_picture(6, 6)
        caller = asyncio.ensure_future(held.service.detect(picture, tiles="32"))
        await until(lambda: held.service._batcher.depth > 1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await until(lambda: free(held))
        async with client() as asked:
            late = await asked.post("/detect?tiles=32", content=picture)
            assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
            await until(lambda: free(held))
            assert (await asked.post("/detect", content=grey_picture(7))).status_code == 200

    slow = lambda settings: open_stand_in(settings, 0.15)  # noqa: E731
    with replica(slow, tiles=APART, max_queue=16, batch_size=2, timeout_s=1.0) as held:
        run(leave(held))


def test_tiles_do_not_wait_behind_decodes_that_wait_for_their_pictures_memory(run: Run) -> None:
    large, small = grey_picture(20, size=1000), grey_picture(30, size=800)
    needed = [EncodedPicture(picture).decoding_bytes() for picture in (large, small)]
    assert max(needed) < 2**24 < sum(needed)

    async def ask(held: Replica) -> None:
        async with client() as asked:
            huge = asyncio.ensure_future(asked.post("/detect?tiles=200", content=large))
            await until(lambda: held.service.detector.decode_memory._free < 2**24)
            others = [asyncio.ensure_future(asked.post("/detect", content=small)) for _ in range(3)]
            assert (await huge).status_code == 200
            assert [one.status_code for one in await asyncio.gather(*others)] == [200] * 3

    settings = {"max_decode_bytes": 2**24, "batch_size": 1, "max_queue": 8, "timeout_s": 10.0}
    with replica(lambda settings: open_stand_in(settings, 0.05), decode_threads=1, tiles=APART, **settings) as held:
        run(ask(held))
        assert free(held)


def test_a_tile_that_the_engine_fails_on_fails_its_picture_alone(run: Run) -> None:
    async def ask() -> None:
        async with client() as asked:
            bad, good = await asyncio.gather(
                asked.post("/detect?tiles=32", content=tiled_picture(2, 3, first=POISON - 2)),
                asked.post("/detect?tiles=32", content=tiled_picture()),
            )
            assert bad.status_code == 500
            assert boxes_of(good.json()) == EXPECTED

    with replica(tiles=APART) as held:
        run(ask())
        assert free(held)


def test_wrong_values_too_many_tiles_and_damaged_pictures_are_refused_by_name(run: Run) -> None:
    async def ask() -> None:
        async with client() as asked:
            for path in ("/detect?tiles=big", "/detect?tiles=3", "/detect?tiles=1e9"):
                wrong = await asked.post(path, content=tiled_picture())
                assert wrong.status_code == 422
                assert "tiles" in wrong.json()["error"]["message"]
            many = await asked.post("/detect?tiles=32", content=tiled_picture(7, 6))
            assert (many.status_code, many.json()["error"]["code"]) == (413, "picture_too_large")
            assert "42 tiles, at most 40" in many.json()["error"]["message"]
            damaged = await asked.post("/detect?tiles=32", content=tiled_picture(6, 6, "JPEG")[:-300])
            assert (damaged.status_code, damaged.json()["error"]["code"]) == (400, "picture_undecodable")
            none = await asked.post("/detect?tiles=32", content=b"none")
            assert none.status_code == 415

    with replica(tiles=APART) as held:
        run(ask())
        assert free(held)


def test_tiles_with_too_many_boxes_are_told_so_and_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 0)

    async def ask() -> None:
        with replica(tiles={**APART, "size": 32, "overlap": 0.5}) as held:
            async with client() as asked:
                answer = await asked.post("/detect", content=tiled_picture())
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_many_boxes")
            assert "higher confidence" in answer.json()["error"]["message"]
            await until(lambda: free(held))

    asyncio.run(ask())

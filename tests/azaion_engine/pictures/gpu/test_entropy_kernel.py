"""entropy.cu: counts a scan's blocks as a slow decoder does, as C++ where there is a compiler, and on a GPU."""

from __future__ import annotations

import ctypes
import io
import mmap
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from azaion_engine.cuda.context import cuda_context, make_stream
from azaion_engine.cuda.memory import DeviceBuffer
from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.gpu import entropy_kernel
from azaion_engine.pictures.gpu.entropy_kernel import (
    GUESS_THREADS,
    LEAST_PIECE,
    MOST_AGAIN,
    PIECE_BYTES,
    PTX,
    SCAN,
    THREADS,
    CheckedJpeg,
    EntropyKernel,
    checked_jpeg,
    lay_out,
    pack,
)
from azaion_engine.pictures.readers.jpeg.header import read_jpeg_header
from azaion_engine.pictures.readers.jpeg.huffman import HuffmanScan, HuffmanTable, read_huffman_scan
from tests.azaion_engine.conftest import Cuda
from tests.azaion_engine.fakes.fake_entropy import guess_as_cpp, settle_as_cpp

END = b"\xff\xd9"
PIECES = (1, 2, 7, 128, 1100)
ENOUGH = 2**31
"""Bytes to decode again after which every thread has synchronised."""

Count = Callable[[Sequence[tuple[HuffmanScan, bytes]], int, int], list[int]]
"""Codings with their data, least bytes of a piece, most bytes to decode again → blocks found in each."""


def buffer_of(scans: Sequence[tuple[HuffmanScan, bytes]], least_piece: int) -> tuple[NDArray[Any], bytes, int]:
    """Returns the records, the data that they name, and the number of pieces."""
    table = np.concatenate([np.frombuffer(pack(coding), SCAN) for coding, _ in scans])
    padded = [scan + bytes(-len(scan) % 4) for _, scan in scans]
    *offsets, _ = accumulate(map(len, padded), initial=0)
    pieces = lay_out(table, offsets, [len(scan) for _, scan in scans], least_piece)
    return table, b"".join(padded), pieces


def guess_blocks_of(table: NDArray[Any]) -> int:
    return -(-int(table["pieces"].max()) // GUESS_THREADS)


def count_as_cpp(scans: Sequence[tuple[HuffmanScan, bytes]], least_piece: int, most_again: int) -> list[int]:
    table, data, pieces = buffer_of(scans, least_piece)
    return count_at(table, np.frombuffer(data, np.uint8).ctypes.data, pieces, most_again)


def count_at(table: NDArray[Any], data: int, pieces: int, most_again: int) -> list[int]:
    """Runs both kernels as C++ on data at an address."""
    noted = np.full((pieces, PIECE_BYTES), 0xA5, np.uint8)  # what was there before
    blocks = np.full(len(table), -1, np.int32)
    scans = table.ctypes.data
    guess_as_cpp(scans, data, noted.ctypes.data, guess_blocks_of(table), len(table))
    settle_as_cpp(scans, data, noted.ctypes.data, blocks.ctypes.data, most_again, len(table))
    found: list[int] = blocks.tolist()
    return found


@cache
def module_on_gpu() -> Any:
    """Loads the kernels once: the driver compiles them."""
    return cuda_context(0).driver.module_from_buffer(PTX.read_bytes() + b"\0")


def count_on_gpu(scans: Sequence[tuple[HuffmanScan, bytes]], least_piece: int, most_again: int) -> list[int]:
    table, data, pieces = buffer_of(scans, least_piece)
    context = cuda_context(0)
    with context.active():
        stream = make_stream(context.driver)
        guess, settle = (module_on_gpu().get_function(name) for name in ("entropy_guess", "entropy_settle"))
        noted, blocks = np.full(pieces * PIECE_BYTES, 0xA5, np.uint8), np.full(len(scans), -1, np.int32)
        arrays = [table.view(np.uint8), np.frombuffer(data, np.uint8), noted, blocks]
        buffers = [DeviceBuffer(context.driver, array.shape, array.dtype) for array in arrays]
        for array, buffer in zip(arrays, buffers, strict=True):
            buffer.host[:] = array
            buffer.upload(buffer.host, stream)
        addresses = [np.uint64(buffer.address) for buffer in buffers]
        guess_grid = (guess_blocks_of(table), len(scans), 1)
        guess(*addresses[:3], block=(GUESS_THREADS, 1, 1), grid=guess_grid, stream=stream)
        settle(*addresses, np.uint32(most_again), block=(THREADS, 1, 1), grid=(len(scans), 1, 1), stream=stream)
        buffers[-1].download(len(scans), stream)
        stream.synchronize()
        found: list[int] = buffers[-1].host.tolist()
        for buffer in buffers:
            buffer.free()
        del stream
    return found


@pytest.fixture(params=["cpp", pytest.param("gpu", marks=pytest.mark.gpu)], scope="module")
def count(request: pytest.FixtureRequest) -> Count:
    return count_as_cpp if request.param == "cpp" else count_on_gpu


def split(jpeg: bytes) -> tuple[HuffmanScan, bytes]:
    """Returns how a JPEG's scan is coded, and its data with all that follows."""
    header = read_jpeg_header(jpeg)
    assert header is not None
    coding = read_huffman_scan(header)
    assert coding is not None
    return coding, jpeg[header.scan :]


def counts_of(count: Count, coding: HuffmanScan, scan: bytes) -> set[int]:
    """Returns the blocks found, with each number of pieces."""
    return {found for pieces in PIECES for found in count([(coding, scan)], max(len(scan) // pieces, 1), ENOUGH)}


# --- a decoder as slow and plain as can be --------------------------------------------------------


@cache
def codes_of(table: HuffmanTable) -> dict[str, int]:
    codes, code, values = {}, 0, iter(table.values)
    for length, number in enumerate(table.counts, 1):
        for _ in range(number):
            codes[f"{code:0{length}b}"] = next(values)
            code += 1
        code *= 2
    return codes


def intervals_of(scan: bytes) -> Iterator[tuple[int, str]]:
    """Yields the bits of each interval, and the number of the marker before, -1 for the first one."""
    number, bits, at = -1, [], 0
    while at < len(scan):
        if scan[at] != 0xFF:
            bits.append(f"{scan[at]:08b}")
            at += 1
            continue
        following = scan[at + 1] if at + 1 < len(scan) else 0xD9
        if following == 0:
            bits.append("1" * 8)
        elif following & 0xF8 == 0xD0:
            yield number, "".join(bits)
            number, bits = following & 7, []
        else:
            break
        at += 2
    yield number, "".join(bits)


def blocks_in(bits: str, coding: HuffmanScan) -> tuple[int, bool, bool]:
    """Returns the blocks of an interval; whether it is free of what no encoder writes; whether only padding is left."""
    at = blocks = coefficient = 0
    while True:
        dc, ac = coding.pattern[blocks % len(coding.pattern)]
        codes = codes_of(coding.ac[ac] if coefficient else coding.dc[dc])
        length = next((n for n in range(1, 17) if bits[at : at + n] in codes), 0)
        left = len(bits) - at
        padded = coefficient == 0 and left < 8
        if not length:
            return blocks, left < 16, padded
        value = codes[bits[at : at + length]]
        run, size = value >> 4, value & 15
        at += length + size
        if at > len(bits):
            return blocks, True, padded
        if not coefficient:
            coefficient = 1
        elif size or run == 15:
            coefficient += run + 1
        else:
            coefficient = 64
        if coefficient > 64:
            return blocks, False, False
        if coefficient == 64:
            blocks, coefficient = blocks + 1, 0


def plain_count(coding: HuffmanScan, scan: bytes) -> int:
    interval = coding.interval or coding.blocks
    total = 0
    for index, (number, bits) in enumerate(intervals_of(scan)):
        if index and number != (index - 1) % 8:
            break
        blocks, right, padded = blocks_in(bits, coding)
        total = index * interval + min(blocks, interval)
        if not right or not padded or blocks != interval:
            break
    return min(total, coding.blocks)


# --- pictures -------------------------------------------------------------------------------------


def encode(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def scene(width: int, height: int, noise: float, seed: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, 3)
    return np.clip(smooth + random.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)


def by_opencv(pixels: NDArray[np.uint8], *options: int) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, options)[1])


FLAT = np.full((200, 333, 3), (200, 40, 90), np.uint8)
KINDS: dict[str, bytes] = {
    "4:2:0": encode(scene(200, 140, 10)),
    "4:4:4": encode(scene(133, 77, 10), subsampling=0),
    "4:2:2": encode(scene(90, 250, 4), subsampling=1),
    "4:4:0": by_opencv(scene(121, 83, 9), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    "grey": encode(scene(120, 99, 10)[..., 0]),
    "optimised": encode(scene(200, 140, 3), optimize=True),
    "quality 1": encode(scene(320, 240, 10), quality=1),
    "quality 100, noise": encode(scene(100, 75, 80), quality=100),
    "quality 100, 4:4:4, optimised": encode(scene(64, 64, 50), quality=100, subsampling=0, optimize=True),
    "flat": encode(FLAT),
    "flat, optimised": encode(FLAT, optimize=True, subsampling=1),
    "flat, grey, optimised": encode(FLAT[..., 0], optimize=True),
    "flat below": encode(np.concatenate([scene(333, 120, 10), FLAT])),
    "a pixel": encode(FLAT[:1, :1]),
    "a column": encode(scene(1, 300, 10)),
    "restart markers": encode(scene(160, 160, 10), restart_marker_rows=1),
    "a restart marker for each unit": encode(scene(160, 90, 10), restart_marker_blocks=1),
    "restart markers, flat": encode(FLAT, restart_marker_blocks=5, optimize=True),
    "one interval": encode(scene(40, 40, 10), restart_marker_blocks=1000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_scans_have_all_blocks_however_they_are_cut_into_pieces(count: Count, kind: str) -> None:
    coding, scan = split(KINDS[kind])
    assert plain_count(coding, scan) == coding.blocks
    assert counts_of(count, coding, scan) == {coding.blocks}


@pytest.mark.parametrize("kind", KINDS)
def test_what_encoders_and_cameras_put_behind_harms_nobody(count: Count, kind: str) -> None:
    coding, scan = split(KINDS[kind])
    film = np.random.default_rng(3).integers(0, 256, 3000, dtype=np.uint8).tobytes()
    for tail in (END + bytes(500), END + film, b"\xff" * 4 + END, bytes(300) + END, b""):
        assert counts_of(count, coding, scan[:-2] + tail) == {coding.blocks}


@given(
    st.integers(1, 100),
    st.integers(1, 70),
    st.integers(1, 100),
    st.sampled_from([0, 1, 2, "L"]),
    st.booleans(),
    st.sampled_from([0, 1, 7]),
    st.sampled_from([0, 5, 60]),
)
def test_no_whole_picture_is_doubtful(
    width: int, height: int, quality: int, sampling: Any, optimize: bool, restart: int, noise: int
) -> None:
    pixels = scene(width, height, noise, seed=width)
    options = {"quality": quality, "optimize": optimize, "restart_marker_blocks": restart}
    jpeg = encode(pixels[..., 0], **options) if sampling == "L" else encode(pixels, subsampling=sampling, **options)
    coding, scan = split(jpeg)
    assert counts_of(count_as_cpp, coding, scan) == {coding.blocks}


def places_in(scan: bytes, seed: int) -> list[int]:
    """Returns places to cut a scan at: near its ends, beside each kind of marker, and anywhere."""
    last = scan.rindex(END)
    random = np.random.default_rng(seed)
    places = {0, 1, 2, last - 1, last - 2, last - 3, last - 5, last // 2}
    for pair in (b"\xff\x00", b"\xff\xd0", b"\xff\xd7"):
        at = scan.find(pair)
        places |= {at, at + 1, at + 2} if at >= 0 else set()
    return sorted(place for place in places | set(random.integers(0, last, 12).tolist()) if 0 <= place < last)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_cut_anywhere_has_fewer_blocks(count: Count, kind: str) -> None:
    coding, scan = split(KINDS[kind])
    header = KINDS[kind][: -len(scan)]
    for place in places_in(scan, len(kind)):
        cut = scan[:place] + END
        [found] = counts_of(count, coding, cut)
        assert found == plain_count(coding, cut), place
        if found == coding.blocks:
            assert scan.rindex(END) - place <= 1, "no more than padding is missing"
            continue
        try:
            picture = EncodedPicture(header + cut).decode()
        except UndecodablePictureError:
            continue
        # libjpeg fills in the last block or unit; the CPU looks at the last pixel.
        assert coding.blocks - found <= 2 * len(coding.pattern) or (picture == picture[-1, -1]).all(axis=2).mean() > 0.2


def test_what_the_cpu_refuses_never_has_all_blocks(count: Count) -> None:
    refused = 0
    for kind, jpeg in KINDS.items():
        coding, scan = split(jpeg)
        for place in places_in(scan, len(kind) + 100):
            for tail in (END, scan[place + 40 :], b"\xd9" + END):
                try:
                    EncodedPicture(jpeg[: -len(scan)] + scan[:place] + tail).decode()
                except UndecodablePictureError:
                    refused += 1
                    [found] = count([(coding, scan[:place] + tail)], LEAST_PIECE, MOST_AGAIN)
                    assert found < coding.blocks, (kind, place, tail[:4])
    assert refused > 400


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_where_it_begins(count: Count, kind: str) -> None:
    coding, scan = split(KINDS[kind])
    random = np.random.default_rng(len(kind))
    for _ in range(6):
        damaged = bytearray(scan)
        for place in random.integers(0, len(scan) - 2, random.integers(1, 4)):
            damaged[place] = int(random.choice([0, 0xFF, 0xD0, 0xD3, random.integers(0, 256)]))
        assert counts_of(count, coding, bytes(damaged)) == {plain_count(coding, bytes(damaged))}


def test_noise_is_counted_as_by_the_plain_decoder(count: Count) -> None:
    random = np.random.default_rng(8)
    for kind in ("4:2:0", "grey", "restart markers", "flat, optimised"):
        coding, _ = split(KINDS[kind])
        scan = random.integers(0, 256, 700, dtype=np.uint8).tobytes()
        scan = scan.replace(b"\xff", b"\xff\0") + END
        assert counts_of(count, coding, scan) == {plain_count(coding, scan)}


# --- scans made by hand ---------------------------------------------------------------------------

HAND = HuffmanScan(
    dc=(HuffmanTable(bytes([1, *[0] * 15]), b"\0"),),  # 0: no difference
    ac=(HuffmanTable(bytes([1, 1, 1, *[0] * 13]), b"\x00\xf0\x01"),),  # 0: end, 10: 16 zeros, 110: one bit
    pattern=((0, 0),),
    blocks=8,
    interval=0,
)
BLOCK, RUN_TO_THE_END, RUN_BEYOND = "00", "0" + 3 * "10" + 15 * "1100", "0" + 4 * "10"


def packed(bits: str, padding: str = "1") -> bytes:
    bits += padding * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")


@pytest.mark.parametrize(
    ("bits", "blocks"),
    [
        (8 * BLOCK, 8),
        (20 * BLOCK, 8),
        (7 * BLOCK, 7),
        (6 * BLOCK + "01100", 6),
        (2 * BLOCK + RUN_TO_THE_END + 5 * BLOCK, 8),
        (2 * BLOCK + RUN_BEYOND + 9 * BLOCK, 2),
        (3 * BLOCK + "0111" + 20 * BLOCK, 3),
        (3 * BLOCK + "1" + 20 * BLOCK, 3),
        (8 * BLOCK + "1111" + 20 * BLOCK, 8),
        ("", 0),
    ],
)
def test_the_blocks_before_the_first_mistake_count(count: Count, bits: str, blocks: int) -> None:
    scan = packed(bits) + END
    assert plain_count(HAND, scan) == blocks
    assert counts_of(count, HAND, scan) == {blocks}


@pytest.mark.parametrize(
    ("intervals", "numbers", "blocks"),
    [
        ([3, 3, 2], [0, 1], 8),
        ([4, 3, 2], [0, 1], 3),
        ([3, 2, 3], [0, 1], 5),
        ([3, 3, 1], [0, 1], 7),
        ([3, 3, 2], [0, 2], 6),
        ([3, 3, 2], [1, 2], 3),
        ([8], [], 3),
        ([3, 3, 2, 0], [0, 1, 2], 8),
        ([0, 3, 3, 3], [0, 1, 2], 0),
    ],
)
def test_every_interval_needs_its_blocks_and_its_marker(
    count: Count, intervals: list[int], numbers: list[int], blocks: int
) -> None:
    coding = HAND._replace(interval=3)
    scan = packed(intervals[0] * BLOCK)
    for length, number in zip(intervals[1:], numbers, strict=True):
        scan += bytes([0xFF, 0xD0 + number]) + packed(length * BLOCK)
    assert plain_count(coding, scan + END) == blocks
    assert counts_of(count, coding, scan + END) == {blocks}


@pytest.mark.parametrize(("end", "blocks"), [("1", 8), ("11", 8), ("01", 3), ("1" * 10, 3), ("1" * 8 + "0" * 20, 3)])
def test_before_a_restart_marker_is_padding_only(count: Count, end: str, blocks: int) -> None:
    coding = HAND._replace(interval=3)
    scan = packed(3 * BLOCK + end) + b"\xff\xd0" + packed(3 * BLOCK) + b"\xff\xd1" + packed(2 * BLOCK) + END
    assert plain_count(coding, scan) == blocks
    assert counts_of(count, coding, scan) == {blocks}


def test_tables_that_repeat_within_a_unit_are_a_shorter_unit() -> None:
    for pattern, unit in (
        (((0, 0),) * 3, 1),
        (((0, 0), (0, 0), (1, 1)), 3),
        (((0, 0), (1, 1)) * 2, 2),
        (((0, 0), (0, 0), (0, 0), (0, 0), (1, 1), (1, 1)), 6),
        (((0, 0), (0, 0), (1, 1), (0, 0)), 4),
    ):
        [record] = np.frombuffer(pack(HAND._replace(dc=HAND.dc * 2, ac=HAND.ac * 2, pattern=pattern)), SCAN)
        assert record["unit"] == unit
        assert [(int(record["tables"]) >> 2 * i & 1, int(record["tables"]) >> 2 * i + 1 & 1) for i in range(unit)] == [
            *pattern[:unit]
        ]


def test_a_scan_that_no_thread_synchronises_in_is_given_up(count: Count) -> None:
    coding = HAND._replace(
        ac=(HuffmanTable(bytes([1, *[0] * 15]), b"\x01"),),  # 0: one bit, so that only the count of 63 ends a block
        blocks=600,
    )
    scan = packed(600 * ("0" + 63 * "00")) + END
    assert count([(coding, scan)], len(scan), 0) == [600], "one piece needs no other"
    assert count([(coding, scan)], 128, ENOUGH) == [600]
    [found] = count([(coding, scan)], 128, 1024)
    assert 0 < found < 600


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("sampling", [0, 1, 2, "L"])
def test_threads_in_flat_areas_synchronise_soon(count: Count, sampling: Any, optimize: bool) -> None:
    pixels = np.full((1000, 1200, 3), (250, 249, 251), np.uint8)
    pixels[:120] = scene(1200, 120, 10)
    jpeg = (
        encode(pixels[..., 0], optimize=optimize)
        if sampling == "L"
        else encode(pixels, optimize=optimize, subsampling=sampling)
    )
    coding, scan = split(jpeg)
    assert count([(coding, scan)], LEAST_PIECE, 8 * LEAST_PIECE) == [coding.blocks]


@pytest.mark.parametrize(
    ("kind", "repeats"),
    [
        ("4:2:0", 4 * (2 + 4) + 2 * (2 + 2)),
        ("4:2:2", 2 * (2 + 4) + 2 * (2 + 2)),
        ("4:4:4", 2 + 4 + 2 * (2 + 2)),
        ("grey", 2 + 4),
    ],
)
def test_the_data_of_flat_units_repeat_as_the_usual_tables_say(kind: str, repeats: int) -> None:
    """Bits of the codes for no difference and for the end of a block, of T.81's tables K.3 to K.6."""
    coding, _ = split(KINDS[kind])
    [record] = np.frombuffer(pack(coding), SCAN)
    assert record["flat"] * 8 == np.lcm(repeats, 8)
    nothing = HuffmanTable(bytes(16), b"")
    assert np.frombuffer(pack(HAND._replace(dc=(nothing,), ac=(nothing,))), SCAN)["flat"][0] == 1


def test_scans_of_a_batch_do_not_mix(count: Count) -> None:
    scans = [split(jpeg) for jpeg in KINDS.values()]
    cut = [
        (coding, scan[: len(scan) // 2] + END) if i % 3 == 0 else (coding, scan)
        for i, (coding, scan) in enumerate(scans)
    ]
    found = count(cut, LEAST_PIECE, MOST_AGAIN)
    assert [blocks == coding.blocks for (coding, _), blocks in zip(cut, found, strict=True)] == [
        i % 3 != 0 for i in range(len(cut))
    ]


def test_nothing_behind_the_data_is_read() -> None:
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 8 * page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(begin + 7 * page), ctypes.c_size_t(page), 0) == 0
    try:
        for kind in ("4:2:0", "restart markers", "a pixel", "flat, optimised"):
            coding, whole = split(KINDS[kind])
            whole = whole[: 6 * page]
            for end in (*range(len(whole) - 5, len(whole)), whole.find(b"\xff\0") + 1, 1, 2, 3):
                scan = whole[:end]
                record = np.frombuffer(bytearray(pack(coding)), SCAN)
                pieces = lay_out(record, [0], [end], 64)
                address = begin + 7 * page - end
                ctypes.memmove(address, scan, end)
                assert count_at(record, address, pieces, ENOUGH) == [plain_count(coding, scan)]
    finally:
        protect(ctypes.c_void_p(begin + 7 * page), ctypes.c_size_t(page), mmap.PROT_READ | mmap.PROT_WRITE)


# --- the Python side ------------------------------------------------------------------------------


def checked(jpeg: bytes | memoryview) -> CheckedJpeg:
    found = checked_jpeg(jpeg)
    assert found is not None
    return found


@pytest.fixture
def kernel(cuda: Cuda) -> Iterator[EntropyKernel]:
    context = cuda_context(0)
    with context.active():
        made = EntropyKernel(context.driver, 32)
        yield made
        made.free()
        made.free()


@pytest.mark.usefixtures("nothing_left_behind")
class TestKernel:
    """The class EntropyKernel, on a real GPU and on a fake one."""

    def test_batches_of_any_size_are_told_apart(self, kernel: EntropyKernel) -> None:
        whole = [*KINDS.values()]
        cut = [jpeg[: (len(jpeg) + jpeg.index(b"\xff\xda")) // 2 + 8] + END for jpeg in whole]
        for batch in (whole, cut, whole[:1], cut[:3], [memoryview(whole[4])]):
            kernel.start([checked(jpeg) for jpeg in batch])
            found = kernel.whole().tolist()
            assert found == [batch is not cut and batch[0] is not cut[0]] * len(batch)
        assert kernel.whole().tolist() == []

    def test_memory_grows_and_the_next_batch_finds_no_old_data(self, kernel: EntropyKernel) -> None:
        before = kernel._memory.bytes
        large = encode(scene(2000, 1500, 90), quality=100, subsampling=0)
        assert len(large) * 2 > before
        for batch in ([large, large], [KINDS["grey"]], [large[: len(large) // 2] + END], [KINDS["flat"], large]):
            kernel.start([checked(jpeg) for jpeg in batch])
            assert kernel.whole().tolist() == [len(jpeg) < 20000 or jpeg is large for jpeg in batch]
        assert kernel._memory.bytes > before

    def test_what_is_too_large_for_pinned_memory_is_copied_from_where_it_is(
        self, cuda: Cuda, kernel: EntropyKernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kernel.start([checked(KINDS["grey"])])
        kernel.whole()
        before, free = kernel._memory.bytes, cuda.free_bytes()
        monkeypatch.setattr(entropy_kernel, "_PINNED_BYTES", 1000)
        jpegs = [KINDS["4:2:0"], KINDS["4:2:0"][:-500] + END, KINDS["restart markers"]]
        kernel.start([checked(jpeg) for jpeg in jpegs])
        assert kernel.whole().tolist() == [True, False, True]
        assert kernel._memory.bytes == before
        assert cuda.free_bytes() == free

    def test_a_batch_that_nobody_asked_for_does_not_disturb_the_next(self, kernel: EntropyKernel) -> None:
        kernel.start([checked(KINDS["grey"][:-300] + END)] * 3)
        kernel.start([checked(KINDS["grey"])])
        assert kernel.whole().tolist() == [True]


@pytest.mark.parametrize("spoil", ["no tables", "no JPEG", "nothing behind the header"])
def test_what_cannot_be_checked_is_told(spoil: str) -> None:
    jpeg = KINDS["4:2:0"]
    header = read_jpeg_header(jpeg)
    assert header is not None
    first, scan = jpeg.index(b"\xff\xc4"), jpeg.index(b"\xff\xda")
    spoiled = {
        "no tables": jpeg[:first] + jpeg[scan:],
        "no JPEG": b"no picture",
        "nothing behind the header": jpeg[: header.scan],
    }
    assert checked_jpeg(spoiled[spoil]) is None

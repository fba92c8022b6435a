from __future__ import annotations

import numpy as np

from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import ArrayPicture, JpegPicture, PreparedBatch

LETTERBOX = Letterbox.fit(8, 8, 8, 8)


def array(value: float) -> ArrayPicture:
    return ArrayPicture(LETTERBOX, np.full((3, 8, 8), value, np.float32))


def test_arrays_are_put_together_in_their_order():
    jpeg = JpegPicture(LETTERBOX, b"jpeg")
    batch = PreparedBatch([array(1), jpeg, array(2)])
    assert batch.arrays is not None
    assert batch.arrays.shape == (2, 3, 8, 8)
    assert batch.arrays[:, 0, 0, 0].tolist() == [1, 2]
    assert batch.loadable == [jpeg]
    assert len(batch) == 3


def test_a_lone_array_is_not_copied():
    picture = array(1)
    batch = PreparedBatch([picture])
    assert batch.arrays is not None
    assert batch.arrays.shape == (1, 3, 8, 8)
    assert np.shares_memory(batch.arrays, picture.array)


def test_pictures_that_the_gpu_decodes_have_no_array():
    assert PreparedBatch([JpegPicture(LETTERBOX, b"jpeg")]).arrays is None
    assert PreparedBatch([]).arrays is None

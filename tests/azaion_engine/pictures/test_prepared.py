from __future__ import annotations

import numpy as np

from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import PreparedBatch, PreparedPicture

LETTERBOX = Letterbox.fit(8, 8, 8, 8)


def array(value: float) -> PreparedPicture:
    return PreparedPicture(LETTERBOX, tensor=np.full((3, 8, 8), value, np.float32))


def test_arrays_are_put_together_in_their_order():
    batch = PreparedBatch.of([array(1), PreparedPicture(LETTERBOX, jpeg=b"jpeg"), array(2)])
    assert batch.tensors is not None
    assert batch.tensors.shape == (2, 3, 8, 8)
    assert batch.tensors[:, 0, 0, 0].tolist() == [1, 2]
    assert len(batch.pictures) == 3


def test_a_lone_array_is_not_copied():
    picture = array(1)
    batch = PreparedBatch.of([picture])
    assert batch.tensors is not None
    assert batch.tensors.shape == (1, 3, 8, 8)
    assert np.shares_memory(batch.tensors, picture.tensor)


def test_pictures_that_the_gpu_decodes_have_no_array():
    assert PreparedBatch.of([PreparedPicture(LETTERBOX, jpeg=b"jpeg")]).tensors is None
    assert PreparedBatch.of([]).tensors is None

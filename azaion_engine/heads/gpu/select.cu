// The GPU twin of yolo.py, yolox.py and suppression.py: a network's raw values → rows, the most confident boxes first;
// and of oriented.py and oriented_suppression.py, whose rows have seven columns.
//
// Rows of boxes with keypoints have three columns more for each: `keypoints` is a third kernel, which reads them of the
// few candidates that are kept.
//
// Two kernels for boxes. `candidates` finds each anchor's best class and writes down those above the threshold, in any order.
// `suppress` sorts them (score falling, then anchor rising, as a stable sort does) and keeps the best of those that overlap;
// `suppress_oriented` does likewise by ProbIoU.
// The arithmetic is float32 in NumPy's order, so both ways give the same rows.
// select.ptx beside this file is what runs; `make ptx` compiles it anew, and a test checks that it was.

// Where a picture's values lie, counted in elements; select_kernel.py has the same record.
struct Layout {
    long long picture;  // from one picture's values to the next one's
    int anchor;         // from one anchor to the next
    int value;          // from one value of an anchor to the next
    int anchors;
    int classes;
    int objectness;  // 1: an anchor's fifth value, which multiplies its class scores
    int grid;        // 1: boxes are offsets and logarithms on YOLOX's grid
    int height;      // of the network input
    int width;
    int capacity;  // keys of a picture: a power of two, at least `anchors`
    int most;      // rows of a picture
    int class_offset;  // added to class ids
    int keypoints;     // of a box: 3 columns of its row each
    int point_values;  // of a keypoint among the values: 3, or 2 without its visibility
};

// What is wanted of one picture.
struct Wanted {
    float confidence;
    float iou;  // of oriented boxes: the Bhattacharyya distance at that ProbIoU (`distance_at` of oriented_suppression.py)
    int most;      // rows; 0: the picture is not looked at
    int agnostic;  // 1: a box suppresses boxes of other classes, too
};

enum { THREADS = 256, COLUMNS = 6, ORIENTED_COLUMNS = 7, MOMENTS = 8, FAST = 2048, MOST_CANDIDATES = 30000 };
#define CLASS_SHIFT 7680.0f  // suppression.py
#define EPSILON 1e-7f        // oriented_suppression.py

#ifdef __CUDACC__
#define EACH(i, first, end) for (int i = (first) + (int)threadIdx.x; i < (end); i += THREADS)
#define ONE if (threadIdx.x == 0)
#define SYNC __syncthreads()
#define SHARED __shared__
#else  // a C++ compiler, in the tests: one thread does the work of all
#define EACH(i, first, end) for (int i = (first); i < (end); ++i)
#define ONE
#define SYNC
#define SHARED static
#endif

__device__ static float load(const float* from) { return *from; }

__device__ static float load(const unsigned short* from) {
    float value;
#ifdef __CUDACC__
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(*from));
#else
    _Float16 half;
    __builtin_memcpy(&half, from, sizeof half);
    value = (float)half;
#endif
    return value;
}

__device__ static unsigned bits_of(float value) {
#ifdef __CUDACC__
    return __float_as_uint(value);
#else
    unsigned bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

// Rows of the finest grid first, then those of the coarser ones.
__device__ static void decode_grid(const Layout& layout, int anchor, float* centre, float* size) {
    for (int stride = 8; stride <= 32; stride *= 2) {
        int columns = layout.width / stride, cells = columns * (layout.height / stride);
        if (anchor < cells) {
            centre[0] = (centre[0] + (float)(anchor % columns)) * (float)stride;
            centre[1] = (centre[1] + (float)(anchor / columns)) * (float)stride;
            size[0] = expf(size[0]) * (float)stride;
            size[1] = expf(size[1]) * (float)stride;
            return;
        }
        anchor -= cells;
    }
}

// WIDTH is the number of columns of a row. Those of an oriented box are its centre, its size, and at the end its angle, which
// follows the scores.
template <int WIDTH, typename Element>
__device__ static void candidates(
    const Element* values, const Layout& layout, const Wanted* wanted, unsigned long long* keys, float* found, int* counts) {
    int anchor = blockIdx.x * blockDim.x + threadIdx.x, picture = blockIdx.z;
    if (anchor >= layout.anchors || wanted[picture].most == 0) return;
    const Element* at = values + picture * layout.picture + (long long)anchor * layout.anchor;
    float threshold = wanted[picture].confidence, object = 1.0f;
    const Element* scores = at + 4LL * layout.value;
    if (layout.objectness) {
        object = load(scores);
        if (!(object >= threshold)) return;  // the product is no larger
        scores += layout.value;
    }
    float best = -1.0f;
    int best_class = 0;
    for (int i = 0; i < layout.classes; ++i) {
        float score = load(scores + (long long)i * layout.value);
        if (layout.objectness) score *= object;
        if (score > best) best = score, best_class = i;
    }
    if (!(best >= threshold)) return;
    float centre[2], size[2];
    for (int i = 0; i < 2; ++i) {
        centre[i] = load(at + (long long)i * layout.value);
        size[i] = load(at + (i + 2LL) * layout.value);
    }
    if (layout.grid) decode_grid(layout, anchor, centre, size);
    float* row = found + ((long long)picture * layout.anchors + anchor) * WIDTH;
    for (int i = 0; i < 2; ++i) {
        row[i] = WIDTH == COLUMNS ? centre[i] - size[i] / 2.0f : centre[i];
        row[i + 2] = WIDTH == COLUMNS ? centre[i] + size[i] / 2.0f : size[i];
    }
    if (WIDTH == ORIENTED_COLUMNS) row[6] = load(scores + (long long)layout.classes * layout.value);
    row[4] = best;
    row[5] = (float)(best_class + layout.class_offset);
    // Scores are not negative here, so their bits have their order; of equal ones, the smaller anchor has the larger key.
    int slot = atomicAdd(counts + picture, 1);
    keys[(long long)picture * layout.capacity + slot] =
        (unsigned long long)bits_of(best + 0.0f) << 32 | (0xFFFFFFFFu - (unsigned)anchor);
}

// Sorts the largest first: a bitonic network, whose steps are independent of each other.
__device__ static void sort_keys(unsigned long long* keys, int count) {
    for (int block = 2; block <= count; block *= 2)
        for (int step = block / 2; step > 0; step /= 2) {
            EACH(i, 0, count) {
                int other = i ^ step;
                if (other > i && (keys[i] < keys[other]) == ((i & block) == 0)) {
                    unsigned long long key = keys[i];
                    keys[i] = keys[other];
                    keys[other] = key;
                }
            }
            SYNC;
        }
}

// Sorts a picture's keys; returns where they lie then, in `fast` or in place. All threads of the block call it.
__device__ static unsigned long long* sort_picture(unsigned long long* keys, unsigned long long* fast, int count) {
    int padded = 1;
    while (padded < count) padded *= 2;
    unsigned long long* sorted = padded <= FAST ? fast : keys;
    EACH(i, 0, padded) {
        if (i >= count) sorted[i] = 0;
        else if (sorted != keys) sorted[i] = keys[i];
    }
    SYNC;
    sort_keys(sorted, padded);
    return sorted;
}

// Place of a sorted key's row among the anchors.
__device__ static long long anchor_of(unsigned long long key) { return 0xFFFFFFFFu - (unsigned)key; }

// One block a picture. `moved` has room for four floats a key; `counts` is zero again afterwards. `picked` gets the anchor
// of each row, -1 of those that are no box; the columns of keypoints are left as they are.
__device__ static void suppress(
    const Layout& layout, const Wanted* wanted, unsigned long long* keys, const float* found, float* moved, int* counts,
    int* picked, float* rows) {
    SHARED unsigned long long fast[FAST];
    SHARED unsigned char alive[MOST_CANDIDATES];
    SHARED int at, kept;
    int picture = blockIdx.z, count = counts[picture];
    const Wanted want = wanted[picture];
    int most = min(want.most, layout.most);
    keys += (long long)picture * layout.capacity;
    found += (long long)picture * layout.anchors * COLUMNS;
    moved += (long long)picture * layout.capacity * 4;
    int width = COLUMNS + 3 * layout.keypoints;
    rows += (long long)picture * layout.most * width;
    picked += picture * layout.most;

    unsigned long long* sorted = sort_picture(keys, fast, count);
    count = min(count, (int)MOST_CANDIDATES);
    EACH(i, 0, count) {
        const float* row = found + anchor_of(sorted[i]) * COLUMNS;
        float shift = want.agnostic ? 0.0f : row[5] * CLASS_SHIFT;
        for (int side = 0; side < 4; ++side) moved[i * 4 + side] = row[side] + shift;
        alive[i] = 1;
    }
    ONE {
        at = kept = 0;
    }
    SYNC;
    while (true) {
        ONE {
            while (at < count && !alive[at]) ++at;
        }
        SYNC;
        int best = at, number = kept;
        if (best >= count || number >= most) break;
        const float* box = moved + best * 4;
        float x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3];
        float area = (x2 - x1) * (y2 - y1);
        EACH(i, best + 1, count) {
            if (alive[i]) {
                const float* other = moved + i * 4;
                float across = fmaxf(fminf(x2, other[2]) - fmaxf(x1, other[0]), 0.0f);
                float down = fmaxf(fminf(y2, other[3]) - fmaxf(y1, other[1]), 0.0f);
                float overlap = across * down;
                float others = (other[2] - other[0]) * (other[3] - other[1]);
                if (overlap / (area + others - overlap) > want.iou) alive[i] = 0;
            }
        }
        EACH(i, 0, COLUMNS) {
            rows[number * width + i] = found[anchor_of(sorted[best]) * COLUMNS + i];
        }
        SYNC;
        ONE {
            picked[number] = (int)anchor_of(sorted[best]);
            ++at;
            ++kept;
        }
    }
    int number = kept;
    EACH(i, number * width, layout.most * width) rows[i] = 0.0f;
    EACH(i, number, layout.most) picked[i] = -1;
    ONE {
        counts[picture] = 0;
    }
}

// What ProbIoU needs of a row, in the order of `_moments` of oriented_suppression.py, and the class.
__device__ static void find_moments(const float* row, float* to) {
    to[0] = row[0];
    to[1] = row[1];
    to[2] = row[2] * row[2] / 12.0f;
    to[3] = row[3] * row[3] / 12.0f;
    to[4] = fabsf(row[2] * row[3]) / 12.0f;
    to[5] = cosf(row[6]);
    to[6] = sinf(row[6]);
    to[7] = row[5];
}

// Bhattacharyya distance of two boxes: `_distances` of oriented_suppression.py.
__device__ static float distance(const float* one, const float* other) {
    float p1 = one[2], q1 = one[3], cos1 = one[5], sin1 = one[6];
    float p2 = other[2], q2 = other[3], cos2 = other[5], sin2 = other[6];
    float cosine = cos1 * cos2 + sin1 * sin2, sine = sin1 * cos2 - cos1 * sin2;
    float determinant =
        p1 * q1 + p2 * q2 + (p1 * q2 + q1 * p2) * (cosine * cosine) + (p1 * p2 + q1 * q2) * (sine * sine);
    float dx = one[0] - other[0], dy = one[1] - other[1];
    float along1 = dx * cos1 + dy * sin1, across1 = dy * cos1 - dx * sin1;
    float along2 = dx * cos2 + dy * sin2, across2 = dy * cos2 - dx * sin2;
    float apart =
        q1 * (along1 * along1) + p1 * (across1 * across1) + q2 * (along2 * along2) + p2 * (across2 * across2);
    float shape = determinant / (4.0f * (one[4] * other[4]) + EPSILON) + EPSILON;
    return 0.25f * (apart / (determinant + EPSILON)) + 0.5f * logf(shape);
}

// One block a picture. `moments` has room for MOMENTS floats a key; `counts` is zero again afterwards. A box is dropped if any
// more confident one overlaps it, so all boxes of a chunk are judged at once.
__device__ static void suppress_turned(
    const Layout& layout, const Wanted* wanted, unsigned long long* keys, const float* found, float* moments, int* counts,
    float* rows) {
    SHARED unsigned long long fast[FAST];
    SHARED int places[THREADS];  // of the chunk's boxes among the rows; -1: dropped
    SHARED int kept;
    int picture = blockIdx.z, count = counts[picture];
    const Wanted want = wanted[picture];
    int most = min(want.most, layout.most);
    keys += (long long)picture * layout.capacity;
    found += (long long)picture * layout.anchors * ORIENTED_COLUMNS;
    moments += (long long)picture * layout.capacity * MOMENTS;
    rows += (long long)picture * layout.most * ORIENTED_COLUMNS;

    unsigned long long* sorted = sort_picture(keys, fast, count);
    count = min(count, (int)MOST_CANDIDATES);
    EACH(i, 0, count) find_moments(found + anchor_of(sorted[i]) * ORIENTED_COLUMNS, moments + (long long)i * MOMENTS);
    ONE {
        kept = 0;
    }
    SYNC;
    for (int first = 0; first < count && kept < most; first += THREADS) {
        int end = min(first + THREADS, count);
        EACH(i, first, end) {
            const float* box = moments + (long long)i * MOMENTS;
            int place = 0;
            for (int rival = 0; rival < i && place == 0; ++rival) {
                const float* other = moments + (long long)rival * MOMENTS;
                if ((want.agnostic || box[7] == other[7]) && distance(box, other) < want.iou) place = -1;
            }
            places[i - first] = place;
        }
        SYNC;
        ONE {
            for (int i = 0; i < end - first; ++i)
                if (places[i] == 0) places[i] = kept < most ? kept++ : -1;
        }
        SYNC;
        EACH(i, first, end) {
            if (places[i - first] < 0) continue;
            const float* row = found + anchor_of(sorted[i]) * ORIENTED_COLUMNS;
            for (int column = 0; column < ORIENTED_COLUMNS; ++column)
                rows[places[i - first] * ORIENTED_COLUMNS + column] = row[column];
        }
        SYNC;
    }
    int number = kept;
    EACH(i, number * ORIENTED_COLUMNS, layout.most * ORIENTED_COLUMNS) rows[i] = 0.0f;
    ONE {
        counts[picture] = 0;
    }
}

// One thread a keypoint: x, y and visibility, 1 where the network has none.
template <typename Element>
__device__ static void read_keypoints(const Element* values, const Layout& layout, const int* picked, float* rows) {
    int index = blockIdx.x * blockDim.x + threadIdx.x, picture = blockIdx.z;
    if (index >= layout.most * layout.keypoints) return;
    int row = index / layout.keypoints, point = index % layout.keypoints;
    int anchor = picked[picture * layout.most + row];
    if (anchor < 0) return;
    int first = 4 + layout.objectness + layout.classes + point * layout.point_values;
    const Element* from =
        values + picture * layout.picture + (long long)anchor * layout.anchor + (long long)first * layout.value;
    float* to = rows + ((long long)picture * layout.most + row) * (COLUMNS + 3 * layout.keypoints) + COLUMNS + 3 * point;
    to[0] = load(from);
    to[1] = load(from + layout.value);
    to[2] = layout.point_values == 3 ? load(from + 2LL * layout.value) : 1.0f;
}

extern "C" __global__ void candidates_float32(
    const float* values, const Layout* layout, const Wanted* wanted, unsigned long long* keys, float* found, int* counts) {
    candidates<COLUMNS>(values, *layout, wanted, keys, found, counts);
}

extern "C" __global__ void candidates_float16(
    const unsigned short* values, const Layout* layout, const Wanted* wanted, unsigned long long* keys, float* found,
    int* counts) {
    candidates<COLUMNS>(values, *layout, wanted, keys, found, counts);
}

extern "C" __global__ void candidates_oriented_float32(
    const float* values, const Layout* layout, const Wanted* wanted, unsigned long long* keys, float* found, int* counts) {
    candidates<ORIENTED_COLUMNS>(values, *layout, wanted, keys, found, counts);
}

extern "C" __global__ void candidates_oriented_float16(
    const unsigned short* values, const Layout* layout, const Wanted* wanted, unsigned long long* keys, float* found,
    int* counts) {
    candidates<ORIENTED_COLUMNS>(values, *layout, wanted, keys, found, counts);
}

extern "C" __global__ void suppress_rows(
    const Layout* layout, const Wanted* wanted, unsigned long long* keys, const float* found, float* moved, int* counts,
    int* picked, float* rows) {
    suppress(*layout, wanted, keys, found, moved, counts, picked, rows);
}

extern "C" __global__ void keypoints_float32(
    const float* values, const Layout* layout, const int* picked, float* rows) {
    read_keypoints(values, *layout, picked, rows);
}

extern "C" __global__ void keypoints_float16(
    const unsigned short* values, const Layout* layout, const int* picked, float* rows) {
    read_keypoints(values, *layout, picked, rows);
}

extern "C" __global__ void suppress_oriented(
    const Layout* layout, const Wanted* wanted, unsigned long long* keys, const float* found, float* moments, int* counts,
    float* rows) {
    suppress_turned(*layout, wanted, keys, found, moments, counts, rows);
}

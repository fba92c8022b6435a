// The GPU twin of yolo.py, yolox.py and suppression.py: a network's raw values → rows, the most confident boxes first.
//
// Two kernels. `candidates` finds each anchor's best class and writes down those above the threshold, in any order.
// `suppress` sorts them (score falling, then anchor rising, as a stable sort does) and keeps the best of those that overlap.
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
};

// What is wanted of one picture.
struct Wanted {
    float confidence;
    float iou;
    int most;
    int agnostic;  // 1: a box suppresses boxes of other classes, too
};

enum { THREADS = 256, COLUMNS = 6, FAST = 2048, MOST_CANDIDATES = 30000 };
#define CLASS_SHIFT 7680.0f  // suppression.py

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

template <typename Element>
__device__ static void candidates(
    const Element* values, const Layout& layout, const Wanted* wanted, unsigned long long* keys, float* found, int* counts) {
    int anchor = blockIdx.x * blockDim.x + threadIdx.x, picture = blockIdx.z;
    if (anchor >= layout.anchors) return;
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
    float* row = found + ((long long)picture * layout.anchors + anchor) * COLUMNS;
    for (int i = 0; i < 2; ++i) {
        row[i] = centre[i] - size[i] / 2.0f;
        row[i + 2] = centre[i] + size[i] / 2.0f;
    }
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

// One block a picture. `moved` has room for four floats a key; `counts` is zero again afterwards.
__device__ static void suppress(
    const Layout& layout, const Wanted* wanted, unsigned long long* keys, const float* found, float* moved, int* counts,
    float* rows) {
    SHARED unsigned long long fast[FAST];
    SHARED unsigned char alive[MOST_CANDIDATES];
    SHARED int at, kept;
    int picture = blockIdx.z, count = counts[picture];
    const Wanted want = wanted[picture];
    int most = min(want.most, layout.most);
    keys += (long long)picture * layout.capacity;
    found += (long long)picture * layout.anchors * COLUMNS;
    moved += (long long)picture * layout.capacity * 4;
    rows += (long long)picture * layout.most * COLUMNS;

    int padded = 1;
    while (padded < count) padded *= 2;
    unsigned long long* sorted = padded <= FAST ? fast : keys;
    EACH(i, 0, padded) {
        if (i >= count) sorted[i] = 0;
        else if (sorted != keys) sorted[i] = keys[i];
    }
    SYNC;
    sort_keys(sorted, padded);
    count = min(count, (int)MOST_CANDIDATES);
    EACH(i, 0, count) {
        const float* row = found + (long long)(0xFFFFFFFFu - (unsigned)sorted[i]) * COLUMNS;
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
                float width = fmaxf(fminf(x2, other[2]) - fmaxf(x1, other[0]), 0.0f);
                float height = fmaxf(fminf(y2, other[3]) - fmaxf(y1, other[1]), 0.0f);
                float overlap = width * height;
                float others = (other[2] - other[0]) * (other[3] - other[1]);
                if (overlap / (area + others - overlap) > want.iou) alive[i] = 0;
            }
        }
        EACH(i, 0, COLUMNS) {
            rows[number * COLUMNS + i] = found[(long long)(0xFFFFFFFFu - (unsigned)sorted[best]) * COLUMNS + i];
        }
        SYNC;
        ONE {
            ++at;
            ++kept;
        }
    }
    int number = kept;
    EACH(i, number * COLUMNS, layout.most * COLUMNS) rows[i] = 0.0f;
    ONE {
        counts[picture] = 0;
    }
}

extern "C" __global__ void candidates_float32(
    const float* values, const Layout* layout, const Wanted* wanted, unsigned long long* keys, float* found, int* counts) {
    candidates(values, *layout, wanted, keys, found, counts);
}

extern "C" __global__ void candidates_float16(
    const unsigned short* values, const Layout* layout, const Wanted* wanted, unsigned long long* keys, float* found,
    int* counts) {
    candidates(values, *layout, wanted, keys, found, counts);
}

extern "C" __global__ void suppress_rows(
    const Layout* layout, const Wanted* wanted, unsigned long long* keys, const float* found, float* moved, int* counts,
    float* rows) {
    suppress(*layout, wanted, keys, found, moved, counts, rows);
}

// The GPU twin of letterbox.py: pictures of any size and orientation → the network's input, by default RGB planes in 0…1.
//
// Resizes with the very integers of OpenCV's INTER_LINEAR for 8 bits (half-pixel centres, weights of 11 bits, the rounding
// of imgproc/src/resize.cpp), so that both ways give the same input for the same pixels.
// letterbox.ptx beside this file is what runs; `make ptx` compiles it anew, and a test checks that it was.

// One picture and where it goes; letterbox_kernel.py has the same record, the widest fields first.
struct Picture {
    unsigned long long pixels;  // address of the pixel that is upper left once the picture is upright; RGB, 8 bits
    long long step_x;           // bytes to the next pixel to the right, upright; this is all there is to orientation
    long long step_y;           // bytes to the next pixel below, upright
    double scale_x;             // picture pixels per network pixel
    double scale_y;
    int width;                  // of the upright picture
    int height;
    int resized_width;          // what it takes of the network input
    int resized_height;
    int left;                   // border before it
    int top;
};

enum { PAD = 114, WEIGHT_ONE = 2048 };
enum { RUN = 4 };  // pixels side by side that one thread makes, and writes at once

// The two pixels of one axis that a resized pixel lies between, and their weights.
struct Taps {
    int first, second;
    int first_weight, second_weight;
};

__device__ static Taps taps(int position, double scale, int size, bool clamp_weights) {
    float at = (float)((position + 0.5) * scale - 0.5);
    int first = (int)floorf(at);
    at -= (float)first;
    // OpenCV gives a border column the whole weight, but lets border rows share it: the same but for rounding.
    if (clamp_weights && (first < 0 || first >= size - 1)) at = 0.0f;
    Taps result;
    result.first = min(max(first, 0), size - 1);
    result.second = min(max(first + 1, 0), size - 1);
    result.first_weight = __float2int_rn((1.0f - at) * WEIGHT_ONE);
    result.second_weight = __float2int_rn(at * WEIGHT_ONE);
    return result;
}

__device__ static void store(float* to, float value) { *to = value; }

__device__ static void store(unsigned short* to, float value) {
#ifdef __CUDACC__
    // Not <cuda_fp16.h>: the compiler that makes the PTX comes without it.
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(*to) : "f"(value));
#else
    _Float16 half = (_Float16)value;  // a C++ compiler, in the tests
    __builtin_memcpy(to, &half, sizeof half);
#endif
}

// value / 255 to the bit, for 0…255: a product, and what it lacks.
__device__ static float unit(int value) {
    const float inverse = 1.0f / 255.0f;
    float near = (float)value * inverse;
    return __fmaf_rn(__fmaf_rn(-near, 255.0f, (float)value), inverse, near);
}

template <typename Element>
struct alignas(RUN * sizeof(Element)) Run {
    Element of[RUN];
};

// FORM: values are looked up, one table of 256 for each plane, and planes are in reverse order if `reversed`.
template <bool FORM, typename Element>
__device__ static void letterbox(
    const Picture* pictures, Element* input, int width, int height, const float* tables, int reversed) {
    int x = (blockIdx.x * blockDim.x + threadIdx.x) * RUN;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const Picture picture = pictures[blockIdx.z];
    bool same_size = picture.resized_width == picture.width && picture.resized_height == picture.height;
    int row = y - picture.top;
    bool row_inside = row >= 0 && row < picture.resized_height;
    Taps down = {row, row, WEIGHT_ONE, 0};
    if (row_inside && !same_size) down = taps(row, picture.scale_y, picture.height, false);
    const unsigned char* upper = (const unsigned char*)picture.pixels + down.first * picture.step_y;
    const unsigned char* lower = (const unsigned char*)picture.pixels + down.second * picture.step_y;
    Run<Element> planes[3];
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
        int column = x + i - picture.left;
        bool inside = row_inside && column >= 0 && column < picture.resized_width;
        Taps across = {column, column, WEIGHT_ONE, 0};
        if (inside && !same_size) across = taps(column, picture.scale_x, picture.width, true);
        long long left = across.first * picture.step_x, right = across.second * picture.step_x;
#pragma unroll
        for (int channel = 0; channel < 3; ++channel) {
            int value = PAD;
            if (inside && same_size) {
                value = upper[left + channel];
            } else if (inside) {
                int above = upper[left + channel] * across.first_weight + upper[right + channel] * across.second_weight;
                int below = lower[left + channel] * across.first_weight + lower[right + channel] * across.second_weight;
                value = ((down.first_weight * (above >> 4) >> 16) + (down.second_weight * (below >> 4) >> 16) + 2) >> 2;
            }
            int plane = FORM && reversed ? 2 - channel : channel;
            store(&planes[plane].of[i], FORM ? tables[plane * 256 + value] : unit(value));
        }
    }
    long long plane = (long long)width * height;
    Element* out = input + blockIdx.z * 3 * plane + (long long)y * width + x;
#pragma unroll
    for (int channel = 0; channel < 3; ++channel, out += plane) {
        if (width % RUN == 0) {  // then every run is aligned
            *(Run<Element>*)out = planes[channel];
        } else {
#pragma unroll
            for (int i = 0; i < RUN; ++i)
                if (x + i < width) out[i] = planes[channel].of[i];
        }
    }
}

extern "C" __global__ void letterbox_float32(const Picture* pictures, float* input, int width, int height) {
    letterbox<false>(pictures, input, width, height, (const float*)0, 0);
}

extern "C" __global__ void letterbox_float16(const Picture* pictures, unsigned short* input, int width, int height) {
    letterbox<false>(pictures, input, width, height, (const float*)0, 0);
}

extern "C" __global__ void letterbox_form_float32(
    const Picture* pictures, float* input, int width, int height, const float* tables, int reversed) {
    letterbox<true>(pictures, input, width, height, tables, reversed);
}

extern "C" __global__ void letterbox_form_float16(
    const Picture* pictures, unsigned short* input, int width, int height, const float* tables, int reversed) {
    letterbox<true>(pictures, input, width, height, tables, reversed);
}

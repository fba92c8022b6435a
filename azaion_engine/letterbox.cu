// The GPU twin of letterbox.py: pictures of any size and orientation → the network's input, RGB planes in 0…1.
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

template <typename Element>
__device__ static void letterbox(const Picture* pictures, Element* input, int width, int height) {
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const Picture picture = pictures[blockIdx.z];
    long long plane = (long long)width * height;
    Element* out = input + blockIdx.z * 3 * plane + (long long)y * width + x;
    int column = x - picture.left, row = y - picture.top;
    bool inside = column >= 0 && column < picture.resized_width && row >= 0 && row < picture.resized_height;
    Taps across, down;
    if (inside) {
        across = taps(column, picture.scale_x, picture.width, true);
        down = taps(row, picture.scale_y, picture.height, false);
    }
    for (int channel = 0; channel < 3; ++channel) {
        int value = PAD;
        if (inside) {
            const unsigned char* pixels = (const unsigned char*)picture.pixels + channel;
            const unsigned char* upper = pixels + down.first * picture.step_y;
            const unsigned char* lower = pixels + down.second * picture.step_y;
            long long left = across.first * picture.step_x, right = across.second * picture.step_x;
            int above = upper[left] * across.first_weight + upper[right] * across.second_weight;
            int below = lower[left] * across.first_weight + lower[right] * across.second_weight;
            value = ((down.first_weight * (above >> 4) >> 16) + (down.second_weight * (below >> 4) >> 16) + 2) >> 2;
        }
        store(out + channel * plane, (float)value / 255.0f);
    }
}

extern "C" __global__ void letterbox_float32(const Picture* pictures, float* input, int width, int height) {
    letterbox(pictures, input, width, height);
}

extern "C" __global__ void letterbox_float16(const Picture* pictures, unsigned short* input, int width, int height) {
    letterbox(pictures, input, width, height);
}

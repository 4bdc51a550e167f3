// GGUF's quantised rows as `real`: y [rows, n], rows `stride` apart, from blocks that follow one another.
//
// A block has a scale d (a half, of two bytes) and q's of a few bits; a weight is d (q - offset). The layouts are those
// of ggml's dequantize_row_*, which also gives the order of operations. A block of threads takes a part of one row, a
// thread eight weights of a block. Blocks begin at even addresses and no better.

// A half as a float.
__device__ __forceinline__ float widen_half(u16 half) {
    const u32 exponent = half >> 10 & 31, fraction = (u32)(half & 1023) << 13, sign = (u32)(half & 0x8000) << 16;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction);
    // Below 2^-14 a half has no leading 1: with it, and without what it is worth.
    const float least = __uint_as_float(0x38800000u);
    const float small = __uint_as_float(0x38800000u | fraction) - least;
    if (exponent == 0) return __uint_as_float(__float_as_uint(small) | sign);
    return __uint_as_float(sign | ((exponent + 112) << 23 | fraction));
}

// Bytes of a block.
__device__ __forceinline__ u16 two(const u8* from) { return *reinterpret_cast<const u16*>(from); }
__device__ __forceinline__ void eight_bytes(u8 (&bytes)[8], const u8* from) {
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
        const u16 both = two(from + i);
        bytes[i] = both & 255, bytes[i + 1] = both >> 8;
    }
}

// 32 weights: d, signed bytes.
struct Q8_0 {
    static constexpr int WEIGHTS = 32, BYTES = 34;
    static __device__ __forceinline__ void weights(float (&w)[8], const u8* block, int first) {
        u8 q[8];
        eight_bytes(q, block + 2 + first);
        const float d = widen_half(two(block));
#pragma unroll
        for (int i = 0; i < 8; i++) w[i] = (float)(signed char)q[i] * d;
    }
};

// 32 weights: d, then 16 bytes whose low halves are the first 16 and whose high halves the others; less 8.
struct Q4_0 {
    static constexpr int WEIGHTS = 32, BYTES = 18;
    static __device__ __forceinline__ void weights(float (&w)[8], const u8* block, int first) {
        u8 q[8];
        eight_bytes(q, block + 2 + first % 16);
        const float d = widen_half(two(block));
#pragma unroll
        for (int i = 0; i < 8; i++) w[i] = (float)((q[i] >> first / 16 * 4 & 15) - 8) * d;
    }
};

// 32 weights: d, a minimum, then halves of bytes as in Q4_0; the minimum is added instead.
struct Q4_1 {
    static constexpr int WEIGHTS = 32, BYTES = 20;
    static __device__ __forceinline__ void weights(float (&w)[8], const u8* block, int first) {
        u8 q[8];
        eight_bytes(q, block + 4 + first % 16);
        const float d = widen_half(two(block)), minimum = widen_half(two(block + 2));
#pragma unroll
        for (int i = 0; i < 8; i++) w[i] = (float)(q[i] >> first / 16 * 4 & 15) * d + minimum;
    }
};

// 256 weights: 128 bytes of low halves, 64 of high pairs of bits, 16 signed sub-scales of 16 weights each, d; less 32.
// Each 128 weights are four runs of 32: run r takes half r / 2 of low byte r % 2 * 32 + l and pair r of high byte l.
struct Q6_K {
    static constexpr int WEIGHTS = 256, BYTES = 210;
    static __device__ __forceinline__ void weights(float (&w)[8], const u8* block, int first) {
        const int part = first / 128, run = first / 32 % 4, l = first % 32;
        u8 low[8], high[8];
        eight_bytes(low, block + part * 64 + run % 2 * 32 + l);
        eight_bytes(high, block + 128 + part * 32 + l);
        const float d = widen_half(two(block + 208)) * (float)(signed char)block[192 + first / 16];
#pragma unroll
        for (int i = 0; i < 8; i++)
            w[i] = d * (float)(((low[i] >> run / 2 * 4 & 15) | (high[i] >> run * 2 & 3) << 4) - 32);
    }
};

template <class Q> __device__ __forceinline__ void dequantise(real* y, const u8* blocks, int stride, int n) {
    const int column = 8 * (blockIdx.y * blockDim.x + threadIdx.x);
    if (column >= n) return;
    const u64 row = blockIdx.x;
    float w[8];
    Q::weights(w, blocks + (row * (n / Q::WEIGHTS) + column / Q::WEIGHTS) * Q::BYTES, column % Q::WEIGHTS);
    real* to = y + row * stride + column;
    if ((u64)to % alignof(eight) == 0) {
        eight values;
#pragma unroll
        for (int i = 0; i < 8; i++) values.v[i] = narrow(w[i]);
        *reinterpret_cast<eight*>(to) = values;
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++) to[i] = narrow(w[i]);
    }
}

extern "C" __global__ __launch_bounds__(256) void dequantise_q8_0(real* y, const u8* blocks, int stride, int n) {
    dequantise<Q8_0>(y, blocks, stride, n);
}

extern "C" __global__ __launch_bounds__(256) void dequantise_q4_0(real* y, const u8* blocks, int stride, int n) {
    dequantise<Q4_0>(y, blocks, stride, n);
}

extern "C" __global__ __launch_bounds__(256) void dequantise_q4_1(real* y, const u8* blocks, int stride, int n) {
    dequantise<Q4_1>(y, blocks, stride, n);
}

extern "C" __global__ __launch_bounds__(256) void dequantise_q6_k(real* y, const u8* blocks, int stride, int n) {
    dequantise<Q6_K>(y, blocks, stride, n);
}

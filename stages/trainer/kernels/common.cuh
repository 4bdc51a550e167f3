// What every kernel shares; put in front of each source, since NVRTC brings no headers.
//
// `real` is what activations and frozen weights are stored as: bfloat16, or float where STORAGE_F32 is defined, so that
// the same source can be compared with an exact reference. Sums are always float.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct bf16 {
    u16 bits;
};

#define WARP 32
#define ALL_LANES 0xffffffffu
// By its bits: a quotient would be computed where it stands.
#define NEG_INFINITY __uint_as_float(0xff800000u)

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// To the nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ bf16 round_bf16(float x) {
    u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {(u16)0x7fff};
    return {(u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

#ifdef STORAGE_F32
typedef float real;
__device__ __forceinline__ real narrow(float x) { return x; }
#else
typedef bf16 real;
__device__ __forceinline__ real narrow(float x) { return round_bf16(x); }
#endif

// Two neighbours, as the matrix instruction takes them; eight, as memory gives them at once (16 bytes of bf16).
struct __align__(2 * sizeof(real)) pair {
    real x, y;
};
struct __align__(16) eight {
    real v[8];
};

// N neighbours, as memory gives them at once.
template <class T, int N> struct __align__(N * sizeof(T)) several {
    T v[N];
};

template <class T, int N> __device__ __forceinline__ void load(float (&to)[N], const T* from) {
    const several<T, N> values = *reinterpret_cast<const several<T, N>*>(from);
    for (int i = 0; i < N; i++) to[i] = widen(values.v[i]);
}

template <int N> __device__ __forceinline__ void store(real* to, const float (&from)[N]) {
    several<real, N> values;
    for (int i = 0; i < N; i++) values.v[i] = narrow(from[i]);
    *reinterpret_cast<several<real, N>*>(to) = values;
}

// Whether rows of n values, the first of which begins at `base`, `stride` values apart, can be read eight at once.
__device__ __forceinline__ bool in_eights(const real* base, int stride, int n) {
    return n % 8 == 0 && stride % 8 == 0 && reinterpret_cast<u64>(base) % sizeof(eight) == 0;
}

#ifndef SIMT
// Shared memory of the size that the launch gives.
#define DYNAMIC_SHARED(type, name)                                                                                     \
    extern __shared__ __align__(16) unsigned char shared_memory[];                                                     \
    type* name = reinterpret_cast<type*>(shared_memory)

#ifndef STORAGE_F32
// sums [16][8] += A [16][16] B [16][8], by all lanes of a warp. With g = lane / 4 and t = lane % 4: a[0] is A at (g, 2t) and
// (g, 2t + 1), a[1] at (g + 8, 2t), a[2] at (g, 2t + 8), a[3] at (g + 8, 2t + 8); b[0] is B at (2t, g) and (2t + 1, g), b[1] at
// (2t + 8, g); sums 0 and 1 are at (g, 2t) and (g, 2t + 1), 2 and 3 at (g + 8, 2t).
#define MULTIPLY(sums, a, b) multiply_add(sums, a, b)
__device__ __forceinline__ u32 bits_of(pair p) { return (u32)p.x.bits | (u32)p.y.bits << 16; }
__device__ __forceinline__ void multiply_add(float (&sums)[4], const pair (&a)[4], const pair (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(bits_of(a[0])), "r"(bits_of(a[1])), "r"(bits_of(a[2])), "r"(bits_of(a[3])), "r"(bits_of(b[0])),
                   "r"(bits_of(b[1])));
}

// Four matrices [8][8] from shared memory, by all lanes of a warp: lane 8 i + r names row r of matrix i (16 bytes). With g
// and t as above, into[i] is matrix i at (g, 2t) and (g, 2t + 1); where it is transposed, at (2t, g) and (2t + 1, g).
#define LOAD_MATRICES(into, row) load_matrices(into, row)
#define LOAD_TRANSPOSED(into, row) load_transposed(into, row)
__device__ __forceinline__ pair pair_of(u32 bits) { return {{(u16)bits}, {(u16)(bits >> 16)}}; }
__device__ __forceinline__ u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }
__device__ __forceinline__ void load_matrices(pair (&into)[4], const real* row) {
    u32 bits[4];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(bits[0]), "=r"(bits[1]), "=r"(bits[2]), "=r"(bits[3])
                 : "r"(shared_address(row)));
    for (int i = 0; i < 4; i++) into[i] = pair_of(bits[i]);
}
__device__ __forceinline__ void load_transposed(pair (&into)[4], const real* row) {
    u32 bits[4];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(bits[0]), "=r"(bits[1]), "=r"(bits[2]), "=r"(bits[3])
                 : "r"(shared_address(row)));
    for (int i = 0; i < 4; i++) into[i] = pair_of(bits[i]);
}

// Copies eight values to shared memory, or zeros unless they are `there`, while the thread goes on. They have come when
// the thread has waited for all its copies; for other threads, after a barrier.
#define COPY_ASYNC(to, from, there) copy_async(to, from, there)
#define COPY_WAIT() asm volatile("cp.async.wait_all;" ::: "memory")
__device__ __forceinline__ void copy_async(real* to, const real* from, bool there) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}
#endif

// 2^x, with a relative error of 2^-22; less than 2^-126 is 0.
__device__ __forceinline__ float exp2_fast(float x) {
    asm("ex2.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
}
#else
__device__ __forceinline__ float exp2_fast(float x) { return exp2f(x); }
#endif

// Both rounded; one instruction on a GPU.
#if defined(SIMT) || defined(STORAGE_F32)
__device__ __forceinline__ pair narrow_pair(float x, float y) { return {narrow(x), narrow(y)}; }
#else
__device__ __forceinline__ pair narrow_pair(float x, float y) {
    u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(y), "f"(x));
    return pair_of(bits);
}
#endif

// The sum, or the greatest, over the lanes of a warp; every lane has it. All lanes must call.
__device__ __forceinline__ float warp_sum(float x) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(ALL_LANES, x, lane);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lane));
    return x;
}

// The sum over a block; every thread has it. `scratch` holds a float per warp. All threads must call. The order of
// summation is fixed, so runs repeat bit for bit.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < blockDim.x / WARP; warp++) sum += scratch[warp];
    __syncthreads();
    return sum;
}

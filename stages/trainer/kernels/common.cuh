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

// N neighbours, as memory gives them at once: 16 bytes at most.
template <class T, int N> struct __align__(N * sizeof(T) < 16 ? N * sizeof(T) : 16) few {
    T v[N];
};

template <class T, int N> __device__ __forceinline__ void load(float (&to)[N], const T* from) {
    const few<T, N> values = *reinterpret_cast<const few<T, N>*>(from);
    for (int i = 0; i < N; i++) to[i] = widen(values.v[i]);
}

template <int N> __device__ __forceinline__ void store(real* to, const float (&from)[N]) {
    few<real, N> values;
    for (int i = 0; i < N; i++) values.v[i] = narrow(from[i]);
    *reinterpret_cast<few<real, N>*>(to) = values;
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
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// And what the thread wrote can be read by the matrix instructions of a group, too.
#define COPY_WAIT() asm volatile("cp.async.wait_all; fence.proxy.async.shared::cta;" ::: "memory")
#else
#define COPY_WAIT() asm volatile("cp.async.wait_all;" ::: "memory")
#endif
__device__ __forceinline__ void copy_async(real* to, const real* from, bool there) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Products by a group of four warps, of which each has 16 of 64 rows as it has them in MULTIPLY. Operands in shared memory
// lie in panels of 64 columns: a panel's rows are 128 bytes long and follow each other from a multiple of 1024 bytes on,
// and the 16 bytes number c of row r lie where number c ^ r % 8 would (PTX, "asynchronous warpgroup level").
#define GROUPED

// An operand's first panel; `next` bytes further is the next one, where the instruction needs two.
__device__ __forceinline__ u64 panel_at(const real* at, int next) {
    return (u64)(shared_address(at) >> 4) | (u64)(next >> 4) << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}

// The instructions are begun, in groups, and awaited: until then nothing touches what they read and write.
__device__ __forceinline__ void group_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Awaits all but the newest LEFT groups; `sums` are of one that has come.
template <int LEFT, int N> __device__ __forceinline__ void group_wait(float (&sums)[N][4]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
#pragma unroll
    for (int i = 0; i < 4 * N; i++) asm volatile("" : "+f"(sums[i / 4][i % 4])::"memory");
}

#define FOUR(i) "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])
// sums [64][N] = A [64][16] B [16][N], plus what they were where there is `more`. A and B^T lie row by row.
__device__ __forceinline__ void group_multiply(float (&sums)[4][4], u64 a, u64 b, bool more) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
                 "}, %16, %17, p, 1, 1, 0, 0;}"
                 : FOUR(0), FOUR(1), FOUR(2), FOUR(3)
                 : "l"(a), "l"(b), "r"((int)more));
}
__device__ __forceinline__ void group_multiply(float (&sums)[8][4], u64 a, u64 b, bool more) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"
                 "%25,%26,%27,%28,%29,%30,%31"
                 "}, %32, %33, p, 1, 1, 0, 0;}"
                 : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7)
                 : "l"(a), "l"(b), "r"((int)more));
}
__device__ __forceinline__ void group_multiply(float (&sums)[16][4], u64 a, u64 b, bool more) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"
                 "%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
                 "}, %64, %65, p, 1, 1, 0, 0;}"
                 : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
                   FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14), FOUR(15)
                 : "l"(a), "l"(b), "r"((int)more));
}
// sums [64][N] += A B. A is in registers, as MULTIPLY takes it; B lies row by row.
__device__ __forceinline__ void group_multiply(float (&sums)[8][4], const pair (&a)[4], u64 b) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"
                 "%25,%26,%27,%28,%29,%30,%31"
                 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;}"
                 : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7)
                 : "r"(bits_of(a[0])), "r"(bits_of(a[1])), "r"(bits_of(a[2])), "r"(bits_of(a[3])), "l"(b), "r"(1));
}
__device__ __forceinline__ void group_multiply(float (&sums)[16][4], const pair (&a)[4], u64 b) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %69, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"
                 "%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
                 "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;}"
                 : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9),
                   FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14), FOUR(15)
                 : "r"(bits_of(a[0])), "r"(bits_of(a[1])), "r"(bits_of(a[2])), "r"(bits_of(a[3])), "l"(b), "r"(1));
}
#undef FOUR
#endif
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

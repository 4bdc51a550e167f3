// Causal attention with grouped queries over packed documents: for a query row i of one head, s = c K q over the keys
// that i sees, p = softmax(s), o = p V, c = 1 / sqrt(d) (FlashAttention-2, arXiv 2307.08691; prefix sharing, arXiv
// 2410.20305).
//
// Query i sees key j exactly if j <= i < until[j]: for a key of a prefix `until` is the end of its document, for a key
// of a branch the end of its branch. begin[i] is the first row of the document of row i.
//
// q [rows, heads d], k and v [rows, kv_heads d] are parts of one matrix with rows `stride` values apart; query head h
// reads key head h / (heads / kv_heads). out [rows, heads d] lies in a matrix too. lse [heads, rows] is ln(sum of
// exp(s)).
//
// A block owns rows, 16 a warp, in registers, and goes over tiles of the others in shared memory, which come in while
// the tile before is worked on. D is d padded to the widths that are compiled: columns beyond d are zeros in shared
// memory.

constexpr int OWN = 16;              // Rows of a warp.
constexpr int QUERIES = 128;         // Rows of a block, forward: they share a tile's way from memory.
constexpr int OWNED = 64;            // Rows of a block, backward.
constexpr float LOG2_E = 1.44269504f;

// Values from row to row in shared memory: eight rows' 16 bytes lie in different banks.
template <int D> constexpr int PITCH = D + 8;
// Keys of a tile, forward; rows of a tile, backward: as registers and shared memory allow.
template <int D> constexpr int KEYS = D <= 128 ? 64 : 32;
template <int D> constexpr int TILE = D <= 64 ? 64 : 32;

__device__ __forceinline__ int lane_number() { return threadIdx.x % WARP; }
__device__ __forceinline__ int warp_number() { return threadIdx.x / WARP; }

// One head's part of a matrix in memory.
struct Part {
    real* values;
    u64 stride;
    int rows, d;
    bool wide; // Whether 16 bytes can be moved at once.

    // Columns `column` and on, where that is a multiple of eight.
    __device__ __forceinline__ Part from(int column) const { return {values + column, stride, rows, d - column, wide}; }
};

__device__ __forceinline__ Part part_of(const real* values, int head, int rows, int d, int stride) {
    const bool wide = (u64)values % 16 == 0 && stride * sizeof(real) % 16 == 0 && d % 8 == 0;
    return {const_cast<real*>(values) + (u64)head * d, (u64)stride, rows, d, wide};
}

// Begins to load N rows from row `first` on into a tile, with all threads; zeros beyond the part's rows and columns.
template <int D, int N, int THREADS> __device__ __forceinline__ void load(real* tile, const Part& part, int first) {
    if (part.wide) {
        constexpr int STEP = THREADS / (D / 8);
        const int row = threadIdx.x / (D / 8), column = threadIdx.x % (D / 8) * 8;
        const real* from = part.values + (first + row) * part.stride + column;
#pragma unroll
        for (int at = 0; at < N; at += STEP) {
            const bool there = first + row + at < part.rows && column < part.d;
            COPY_ASYNC(tile + (row + at) * PITCH<D> + column, from + at * part.stride, there);
        }
    } else {
#pragma unroll 1
        for (int at = threadIdx.x; at < N * D; at += THREADS) {
            const int row = at / D, column = at % D;
            const bool there = first + row < part.rows && column < part.d;
            tile[row * PITCH<D> + column] = there ? part.values[(first + row) * part.stride + column] : narrow(0.0f);
        }
    }
}

// Writes a warp's sums [16][W], upper and lower eight rows times a factor each, to the part's rows from `first` on.
// `tile` is room for 16 rows that only this warp uses.
template <int D, int W>
__device__ __forceinline__ void store(const Part& part, int first, const float (&sums)[W / 8][4], float upper,
                                      float lower, real* tile) {
    const int g = lane_number() / 4, t = lane_number() % 4;
    __syncwarp();
#pragma unroll
    for (int n = 0; n < W / 8; n++) {
        real* at = tile + g * PITCH<D> + 8 * n + 2 * t;
        *reinterpret_cast<pair*>(at) = narrow_pair(sums[n][0] * upper, sums[n][1] * upper);
        *reinterpret_cast<pair*>(at + 8 * PITCH<D>) = narrow_pair(sums[n][2] * lower, sums[n][3] * lower);
    }
    __syncwarp();
    const int step = part.wide ? 8 : 1;
    for (int at = lane_number() * step; at < OWN * W; at += WARP * step) {
        const int row = at / W, column = at % W;
        if (first + row >= part.rows || column >= part.d) continue;
        real* to = part.values + (first + row) * part.stride + column;
        const real* from = tile + row * PITCH<D> + column;
        if (part.wide) *reinterpret_cast<eight*>(to) = *reinterpret_cast<const eight*>(from);
        else *to = *from;
    }
}

// Where this lane's row of the four matrices [8][8] of a tile's first 16 rows and columns begins: downwards, then to
// the right; or to the right, then downwards.
template <int D> __device__ __forceinline__ const real* down(const real* tile) {
    return tile + lane_number() % 16 * PITCH<D> + lane_number() / 16 * 8;
}
template <int D> __device__ __forceinline__ const real* right(const real* tile) {
    return tile + (lane_number() / 16 * 8 + lane_number() % 8) * PITCH<D> + lane_number() / 8 % 2 * 8;
}

// A warp's 16 rows as left operands: kept in registers, or loaded for every product where there are not enough.
template <int D, bool KEPT> struct Left {
    const real* rows;
    pair kept[KEPT ? D / 16 : 1][4];

    __device__ __forceinline__ Left(const real* tile) : rows(down<D>(tile)) {
        if constexpr (KEPT)
#pragma unroll
            for (int k = 0; k < D / 16; k++) LOAD_MATRICES(kept[k], rows + 16 * k);
    }

    // Columns 16 k and on.
    __device__ __forceinline__ void get(pair (&a)[4], int k) const {
        if constexpr (KEPT) {
#pragma unroll
            for (int i = 0; i < 4; i++) a[i] = kept[k][i];
        } else {
            LOAD_MATRICES(a, rows + 16 * k);
        }
    }
};

// sums [16][N] += A [16][D] B^T, B [N][D] in shared memory.
template <int D, int N, bool KEPT>
__device__ __forceinline__ void add_products(float (&sums)[N / 8][4], const Left<D, KEPT>& left, const real* b) {
    b = right<D>(b);
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        pair a[4];
        left.get(a, k);
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            pair four[4];
            LOAD_MATRICES(four, b + 16 * n * PITCH<D> + 16 * k);
            const pair first[2] = {four[0], four[1]}, second[2] = {four[2], four[3]};
            MULTIPLY(sums[2 * n], a, first);
            MULTIPLY(sums[2 * n + 1], a, second);
        }
    }
}

// sums [16][W] += A [16][N] B, A rounded from a warp's sums, B [N][W] in shared memory.
template <int D, int W, int N>
__device__ __forceinline__ void add_weighted(float (&sums)[W / 8][4], const float (&weights)[N / 8][4], const real* b) {
    b = down<D>(b);
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
        pair a[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = narrow_pair(weights[2 * k + i / 2][i % 2 * 2], weights[2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < W / 16; n++) {
            pair four[4];
            LOAD_TRANSPOSED(four, b + 16 * k * PITCH<D> + 16 * n);
            const pair first[2] = {four[0], four[1]}, second[2] = {four[2], four[3]};
            MULTIPLY(sums[2 * n], a, first);
            MULTIPLY(sums[2 * n + 1], a, second);
        }
    }
}

// Whether query i sees key j; no query that is not below `rows` does. There is no branch around the load, so that lanes
// and rows share it.
__device__ __forceinline__ bool sees(const int* until, int rows, int i, int j) {
    return (j <= i) & (i < until[min(j, rows - 1)]);
}

// What the queries first to last see of `count` keys from `key` on. All lanes call, and get the same.
enum Sight { NOTHING, SOME, ALL };
__device__ __forceinline__ Sight sight(const int* until, int rows, int key, int count, int first, int last) {
    bool some = false, all = true;
    for (int j = key + lane_number(); j < key + count; j += WARP) {
        const int end = until[min(j, rows - 1)];
        some |= j <= last && first < end;
        all &= j <= first && last < end;
    }
    if (!__any_sync(ALL_LANES, some)) return NOTHING;
    return __all_sync(ALL_LANES, all) ? ALL : SOME;
}

// The first key from `key` on where a tile begins of which the queries from `first` to before `end` see something;
// `end` or more where there is none. Where they do not see a key, they see none before its `until`: a branch is one
// step.
template <int N>
__device__ __forceinline__ int next_tile(const int* until, int rows, int key, int first, int end) {
    while (key < end && sight(until, rows, key, N, first, end - 1) == NOTHING)
        key = max(key + N, until[min(key + N, rows) - 1]);
    return key;
}

// Gives -infinity to the scores [16][N] of pairs that do not see each other; `query` and `key` are the first of each.
template <int N>
__device__ __forceinline__ void hide(float (&s)[N / 8][4], const int* until, int rows, int query, int key) {
    const int g = lane_number() / 4, t = lane_number() % 4;
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int part = 0; part < 4; part++)
            if (!sees(until, rows, query + g + part / 2 * 8, key + 8 * n + 2 * t + part % 2)) s[n][part] = NEG_INFINITY;
}

// The same for scores whose rows are keys and whose columns are queries.
template <int N>
__device__ __forceinline__ void hide_transposed(float (&s)[N / 8][4], const int* until, int rows, int query, int key) {
    const int g = lane_number() / 4, t = lane_number() % 4;
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int part = 0; part < 4; part++)
            if (!sees(until, rows, query + 8 * n + 2 * t + part % 2, key + g + part / 2 * 8)) s[n][part] = NEG_INFINITY;
}

// Over the four lanes that share a row.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

// A step of the softmax of a warp's rows, two a lane: with the greatest score so far, s becomes 2^(scale (s -
// greatest)), and what was summed before is scaled to it. `total` is this lane's part.
template <int D, int N>
__device__ __forceinline__ void soften(float (&s)[N / 8][4], float (&greatest)[2], float (&total)[2],
                                       float (&sums)[D / 8][4], float scale) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float most = greatest[half];
#pragma unroll
        for (int n = 0; n < N / 8; n++) most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        most = quad_max(most);
        // A row that has seen nothing yet has nothing to scale.
        const float base = most == NEG_INFINITY ? 0.0f : most * scale;
        const float fade = exp2_fast(greatest[half] * scale - base);
        greatest[half] = most;
        total[half] *= fade;
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int part = 2 * half; part < 2 * half + 2; part++) {
                s[n][part] = exp2_fast(s[n][part] * scale - base);
                total[half] += s[n][part];
            }
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            sums[n][2 * half] *= fade;
            sums[n][2 * half + 1] *= fade;
        }
    }
}

#define ATTENTION_FORWARD                                                                                              \
    real *out, float *lse, const real *q, const real *k, const real *v, const int *until, const int *begin, int rows,  \
        int heads, int kv_heads, int d, int stride, int out_stride

// Grid: blocks of queries, heads.
template <int D> __device__ __forceinline__ void forward(ATTENTION_FORWARD) {
    constexpr int N = KEYS<D>, THREADS = QUERIES / OWN * WARP;
    DYNAMIC_SHARED(real, shared); // q [QUERIES], then twice k [N] and v [N].
    real* const tiles = shared + QUERIES * PITCH<D>;
    const int head = blockIdx.y, kv_head = head / (heads / kv_heads);
    const Part keys = part_of(k, kv_head, rows, d, stride), values = part_of(v, kv_head, rows, d, stride);
    // Those that see the most begin first.
    const int first = (gridDim.x - 1 - blockIdx.x) * QUERIES, end = min(first + QUERIES, rows);
    const int own = first + warp_number() * OWN;
    const float scale = rsqrtf((float)d);

    int key = next_tile<N>(until, rows, begin[first], first, end);
    load<D, QUERIES, THREADS>(shared, part_of(q, head, rows, d, stride), first);
    load<D, N, THREADS>(tiles, keys, key);
    load<D, N, THREADS>(tiles + N * PITCH<D>, values, key);
    COPY_WAIT();
    __syncthreads();
    real* const own_tile = shared + warp_number() * OWN * PITCH<D>;
    const Left<D, D <= 128> left(own_tile);
    float sums[D / 8][4] = {}, greatest[2] = {NEG_INFINITY, NEG_INFINITY}, total[2] = {};
    for (int turn = 0; key < end; turn ^= 1) {
        // This tile has come, and all have worked on the one before.
        COPY_WAIT();
        __syncthreads();
        const int next = next_tile<N>(until, rows, key + N, first, end);
        real* const tile = tiles + turn * 2 * N * PITCH<D>;
        real* const other = tiles + (turn ^ 1) * 2 * N * PITCH<D>;
        if (next < end) {
            load<D, N, THREADS>(other, keys, next);
            load<D, N, THREADS>(other + N * PITCH<D>, values, next);
        }
        const Sight seen = sight(until, rows, key, N, own, own + OWN - 1);
        if (seen != NOTHING) {
            float s[N / 8][4] = {};
            add_products<D, N>(s, left, tile);
            if (seen == SOME) hide<N>(s, until, rows, own, key);
            soften<D, N>(s, greatest, total, sums, scale * LOG2_E);
            add_weighted<D, D, N>(sums, s, tile + N * PITCH<D>);
        }
        key = next;
    }
    float inverse[2];
    for (int half = 0; half < 2; half++) {
        total[half] = quad_sum(total[half]);
        // A row beyond the last has seen nothing.
        inverse[half] = total[half] > 0.0f ? 1.0f / total[half] : 0.0f;
        const int row = own + lane_number() / 4 + half * 8;
        if (lane_number() % 4 == 0 && row < rows)
            lse[(u64)head * rows + row] = greatest[half] * scale + logf(total[half]);
    }
    store<D, D>(part_of(out, head, rows, d, out_stride), own, sums, inverse[0], inverse[1], own_tile);
}

extern "C" __global__ __launch_bounds__(256, 2) void attention_forward_64(ATTENTION_FORWARD) {
    forward<64>(out, lse, q, k, v, until, begin, rows, heads, kv_heads, d, stride, out_stride);
}

extern "C" __global__ __launch_bounds__(256) void attention_forward_128(ATTENTION_FORWARD) {
    forward<128>(out, lse, q, k, v, until, begin, rows, heads, kv_heads, d, stride, out_stride);
}

extern "C" __global__ __launch_bounds__(256) void attention_forward_256(ATTENTION_FORWARD) {
    forward<256>(out, lse, q, k, v, until, begin, rows, heads, kv_heads, d, stride, out_stride);
}

// delta [heads, rows] = dout . out over a head. A warp per row and head.
extern "C" __global__ __launch_bounds__(256) void attention_delta(
    float* delta, const real* dout, const real* out, int rows, int heads, int d, int dout_stride, int out_stride) {
    const u64 task = (u64)blockIdx.x * (blockDim.x / WARP) + warp_number();
    const u64 row = task / heads;
    const int head = task % heads;
    if (row >= rows) return;
    dout += row * dout_stride + head * d;
    out += row * out_stride + head * d;
    float sum = 0.0f;
    if (((u64)dout | (u64)out) % sizeof(pair) == 0) {
        for (int column = 2 * lane_number(); column < d; column += 2 * WARP) {
            const pair a = *reinterpret_cast<const pair*>(dout + column);
            const pair b = *reinterpret_cast<const pair*>(out + column);
            sum += widen(a.x) * widen(b.x) + widen(a.y) * widen(b.y);
        }
    } else {
        for (int column = lane_number(); column < d; column += WARP) sum += widen(dout[column]) * widen(out[column]);
    }
    sum = warp_sum(sum);
    if (lane_number() == 0) delta[head * (u64)rows + row] = sum;
}

// Backward, with the gradient do of o, P = exp(c S - lse) and dS = P (dO V^T - delta): dQ = c dS K, dK = c dS^T Q,
// dV = P^T dO. P and dS are rounded to `real` before these products.

#define ATTENTION_DQ                                                                                                   \
    real *dq, const real *q, const real *k, const real *v, const real *dout, const float *lse, const float *delta,     \
        const int *until, const int *begin, int rows, int heads, int kv_heads, int d, int dq_stride, int stride,       \
        int dout_stride

// dq lies as q does, in a matrix with rows dq_stride values apart. Grid: blocks of queries, heads.
template <int D> __device__ __forceinline__ void backward_queries(ATTENTION_DQ) {
    constexpr int N = TILE<D>, STEP = 32, THREADS = OWNED / OWN * WARP;
    DYNAMIC_SHARED(real, shared); // q and do [OWNED], then twice k and v [N].
    real* const tiles = shared + 2 * OWNED * PITCH<D>;
    const int head = blockIdx.y, kv_head = head / (heads / kv_heads);
    const Part keys = part_of(k, kv_head, rows, d, stride), values = part_of(v, kv_head, rows, d, stride);
    const int first = (gridDim.x - 1 - blockIdx.x) * OWNED, end = min(first + OWNED, rows);
    const int own = first + warp_number() * OWN;
    const float scale = rsqrtf((float)d);

    int key = next_tile<N>(until, rows, begin[first], first, end);
    load<D, OWNED, THREADS>(shared, part_of(q, head, rows, d, stride), first);
    load<D, OWNED, THREADS>(shared + OWNED * PITCH<D>, part_of(dout, head, rows, d, dout_stride), first);
    load<D, N, THREADS>(tiles, keys, key);
    load<D, N, THREADS>(tiles + N * PITCH<D>, values, key);
    COPY_WAIT();
    __syncthreads();
    real* const own_tile = shared + warp_number() * OWN * PITCH<D>;
    const Left<D, D <= 64> left(own_tile), slope(own_tile + OWNED * PITCH<D>);
    float base[2], along[2];
    for (int half = 0; half < 2; half++) {
        const u64 row = (u64)head * rows + min(own + lane_number() / 4 + half * 8, rows - 1);
        base[half] = lse[row] * LOG2_E;
        along[half] = delta[row];
    }
    float sums[D / 8][4] = {};
    for (int turn = 0; key < end; turn ^= 1) {
        COPY_WAIT();
        __syncthreads();
        const int next = next_tile<N>(until, rows, key + N, first, end);
        real* const tile = tiles + turn * 2 * N * PITCH<D>;
        real* const other = tiles + (turn ^ 1) * 2 * N * PITCH<D>;
        if (next < end) {
            load<D, N, THREADS>(other, keys, next);
            load<D, N, THREADS>(other + N * PITCH<D>, values, next);
        }
#pragma unroll 1
        for (int at = 0; at < N; at += STEP) {
            const Sight seen = sight(until, rows, key + at, STEP, own, own + OWN - 1);
            if (seen == NOTHING) continue;
            float s[STEP / 8][4] = {}, ds[STEP / 8][4] = {};
            add_products<D, STEP>(s, left, tile + at * PITCH<D>);
            add_products<D, STEP>(ds, slope, tile + (N + at) * PITCH<D>);
            if (seen == SOME) hide<STEP>(s, until, rows, own, key + at);
#pragma unroll
            for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                for (int part = 0; part < 4; part++)
                    ds[n][part] =
                        exp2_fast(s[n][part] * (scale * LOG2_E) - base[part / 2]) * (ds[n][part] - along[part / 2]);
            add_weighted<D, D, STEP>(sums, ds, tile + at * PITCH<D>);
        }
        key = next;
    }
    store<D, D>(part_of(dq, head, rows, d, dq_stride), own, sums, scale, scale, own_tile);
}

extern "C" __global__ __launch_bounds__(128, 3) void attention_dq_64(ATTENTION_DQ) {
    backward_queries<64>(dq, q, k, v, dout, lse, delta, until, begin, rows, heads, kv_heads, d, dq_stride, stride,
                         dout_stride);
}

extern "C" __global__ __launch_bounds__(128, 3) void attention_dq_128(ATTENTION_DQ) {
    backward_queries<128>(dq, q, k, v, dout, lse, delta, until, begin, rows, heads, kv_heads, d, dq_stride, stride,
                          dout_stride);
}

extern "C" __global__ __launch_bounds__(128) void attention_dq_256(ATTENTION_DQ) {
    backward_queries<256>(dq, q, k, v, dout, lse, delta, until, begin, rows, heads, kv_heads, d, dq_stride, stride,
                          dout_stride);
}

// The greatest `until` of OWNED keys from `key` on. All lanes call, and get the same.
__device__ __forceinline__ int last_sight(const int* until, int rows, int key) {
    int end = 0;
    for (int j = key + lane_number(); j < min(key + OWNED, rows); j += WARP) end = max(end, until[j]);
    for (int lane = WARP / 2; lane > 0; lane /= 2) end = max(end, __shfl_xor_sync(ALL_LANES, end, lane));
    return end;
}

#define ATTENTION_DKDV                                                                                                 \
    real *dk, real *dv, const real *q, const real *k, const real *v, const real *dout, const float *lse,               \
        const float *delta, const int *until, int rows, int heads, int kv_heads, int d, int dk_stride, int stride,     \
        int dout_stride

// dk and dv lie as k and v do, in a matrix with rows dk_stride values apart. Grid: blocks of keys, kv_heads, and the
// parts of W columns that the accumulators have registers for. Scores are transposed: a warp's rows are keys.
template <int D, int W> __device__ __forceinline__ void backward_keys(ATTENTION_DKDV) {
    constexpr int N = TILE<D>, STEP = 32, THREADS = OWNED / OWN * WARP;
    DYNAMIC_SHARED(real, shared); // k and v [OWNED], then twice q and do [N].
    real* const tiles = shared + 2 * OWNED * PITCH<D>;
    const int kv_head = blockIdx.y, group = heads / kv_heads, column = blockIdx.z * W;
    const int first = blockIdx.x * OWNED, own = first + warp_number() * OWN;
    const int count = (last_sight(until, rows, first) - first + N - 1) / N;
    const float scale = rsqrtf((float)d);
    // Turn number `turn` is a tile of queries of a head of the group.
    auto head_of = [&](int turn) { return kv_head * group + turn / count; };
    auto query_of = [&](int turn) { return first + turn % count * N; };
    auto begin_turn = [&](int turn) {
        real* const tile = tiles + turn % 2 * 2 * N * PITCH<D>;
        load<D, N, THREADS>(tile, part_of(q, head_of(turn), rows, d, stride), query_of(turn));
        load<D, N, THREADS>(tile + N * PITCH<D>, part_of(dout, head_of(turn), rows, d, dout_stride), query_of(turn));
    };

    load<D, OWNED, THREADS>(shared, part_of(k, kv_head, rows, d, stride), first);
    load<D, OWNED, THREADS>(shared + OWNED * PITCH<D>, part_of(v, kv_head, rows, d, stride), first);
    begin_turn(0);
    COPY_WAIT();
    __syncthreads();
    real* const own_tile = shared + warp_number() * OWN * PITCH<D>;
    const Left<D, false> keys(own_tile), values(own_tile + OWNED * PITCH<D>);
    float dk_sums[W / 8][4] = {}, dv_sums[W / 8][4] = {};
#pragma unroll 1
    for (int turn = 0; turn < group * count; turn++) {
        COPY_WAIT();
        __syncthreads();
        if (turn + 1 < group * count) begin_turn(turn + 1);
        const real* tile = tiles + turn % 2 * 2 * N * PITCH<D>;
        const u64 row = (u64)head_of(turn) * rows;
#pragma unroll 1
        for (int at = 0; at < N; at += STEP, tile += STEP * PITCH<D>) {
            const int query = query_of(turn) + at;
            const Sight seen = sight(until, rows, own, OWN, query, query + STEP - 1);
            if (seen == NOTHING) continue;
            float p[STEP / 8][4] = {}, ds[STEP / 8][4] = {};
            add_products<D, STEP>(p, keys, tile);
            add_products<D, STEP>(ds, values, tile + N * PITCH<D>);
            if (seen == SOME) hide_transposed<STEP>(p, until, rows, query, own);
#pragma unroll
            for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                for (int part = 0; part < 4; part++) {
                    const int i = min(query + 8 * n + lane_number() % 4 * 2 + part % 2, rows - 1);
                    p[n][part] = exp2_fast(p[n][part] * (scale * LOG2_E) - lse[row + i] * LOG2_E);
                    ds[n][part] = p[n][part] * (ds[n][part] - delta[row + i]);
                }
            add_weighted<D, W, STEP>(dv_sums, p, tile + N * PITCH<D> + column);
            add_weighted<D, W, STEP>(dk_sums, ds, tile + column);
        }
    }
    store<D, W>(part_of(dk, kv_head, rows, d, dk_stride).from(column), own, dk_sums, scale, scale, own_tile);
    store<D, W>(part_of(dv, kv_head, rows, d, dk_stride).from(column), own, dv_sums, 1.0f, 1.0f,
                own_tile + OWNED * PITCH<D>);
}

extern "C" __global__ __launch_bounds__(128, 3) void attention_dkdv_64(ATTENTION_DKDV) {
    backward_keys<64, 64>(dk, dv, q, k, v, dout, lse, delta, until, rows, heads, kv_heads, d, dk_stride, stride,
                          dout_stride);
}

extern "C" __global__ __launch_bounds__(128, 2) void attention_dkdv_128(ATTENTION_DKDV) {
    backward_keys<128, 128>(dk, dv, q, k, v, dout, lse, delta, until, rows, heads, kv_heads, d, dk_stride, stride,
                            dout_stride);
}

extern "C" __global__ __launch_bounds__(128) void attention_dkdv_256(ATTENTION_DKDV) {
    backward_keys<256, 128>(dk, dv, q, k, v, dout, lse, delta, until, rows, heads, kv_heads, d, dk_stride, stride,
                            dout_stride);
}

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
// A block owns rows, 16 a warp and 64 a group of four warps, and goes over tiles of the others in shared memory, which
// come in while the tile before is worked on. D is d padded to the widths that are compiled: columns beyond d are zeros
// in shared memory.
//
// Tiles lie as the matrix instructions of a group read them (GROUPED in common.cuh). Where there are none, each of its
// warps multiplies by itself.

constexpr int OWN = 16;   // Rows of a warp.
constexpr int GROUP = 64; // Rows of a group of four.
constexpr int PANEL = 64; // Columns of a panel.
constexpr float LOG2_E = 1.44269504f;

// Rows that a block owns: forward, for dq, and for dk and dv; as registers and shared memory allow.
constexpr int QUERIES = 128;
template <int D> constexpr int SLOPES = D <= 128 ? 192 : 64;
template <int D> constexpr int OWNED = D <= 128 ? 128 : 64;
// Rows of a tile, forward and backward.
template <int D> constexpr int KEYS = D <= 128 ? 128 : 32;
template <int D> constexpr int TILE = D <= 128 ? 64 : 32;
// Rows of a tile that are worked on at once, backward: without a group's instructions registers are scarcer.
#ifdef GROUPED
template <int D> constexpr int STEP = TILE<D>;
#else
template <int D> constexpr int STEP = D <= 128 ? 32 : 16;
#endif

__device__ __forceinline__ int lane_number() { return threadIdx.x % WARP; }
__device__ __forceinline__ int warp_number() { return threadIdx.x / WARP; }
// By a shuffle, so that the compiler knows that a warp has one.
__device__ __forceinline__ int group_number() {
    return __shfl_sync(ALL_LANES, (int)threadIdx.x / WARP / (GROUP / OWN), 0);
}

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

// The first multiple of 1024 bytes: where a tile may begin.
__device__ __forceinline__ real* aligned(real* shared) {
    return shared + (1024 - (u64)shared % 1024) % 1024 / sizeof(real);
}

// Where the value at a row and column of a tile of N rows lies.
template <int N> __device__ __forceinline__ int place(int row, int column) {
    return column / PANEL * (N * PANEL) + row * PANEL + ((column % PANEL / 8) ^ (row % 8)) * 8 + column % 8;
}

// Begins to load N rows from row `first` on into a tile, with all threads; zeros beyond the part's rows and columns.
template <int D, int N, int THREADS> __device__ __forceinline__ void load(real* tile, const Part& part, int first) {
    if (part.wide) {
        constexpr int ROWS = THREADS / (D / 8);
        const int row = threadIdx.x / (D / 8), column = threadIdx.x % (D / 8) * 8;
        const real* from = part.values + (first + row) * part.stride + column;
        real* const to = tile + place<N>(row, column);
#pragma unroll
        for (int at = 0; at < N; at += ROWS) {
            if (N % ROWS != 0 && row + at >= N) continue;
            const bool there = first + row + at < part.rows && column < part.d;
            // Every eighth row has its 16 bytes in the same order.
            COPY_ASYNC(ROWS % 8 == 0 ? to + at * PANEL : tile + place<N>(row + at, column), from + at * part.stride,
                       there);
        }
    } else {
#pragma unroll 1
        for (int at = threadIdx.x; at < N * D; at += THREADS) {
            const int row = at / D, column = at % D;
            const bool there = first + row < part.rows && column < part.d;
            tile[place<N>(row, column)] = there ? part.values[(first + row) * part.stride + column] : narrow(0.0f);
        }
    }
}

// Writes a warp's sums [16][W], upper and lower eight rows times a factor each, to the part's rows from `first` on, by
// way of the rows from `row` on of a tile of N rows, which only this warp uses.
template <int W, int N>
__device__ __forceinline__ void store(const Part& part, int first, const float (&sums)[W / 8][4], float upper,
                                      float lower, real* tile, int row) {
    const int g = lane_number() / 4, t = lane_number() % 4;
    __syncwarp();
#pragma unroll
    for (int n = 0; n < W / 8; n++) {
        *reinterpret_cast<pair*>(tile + place<N>(row + g, 8 * n + 2 * t)) =
            narrow_pair(sums[n][0] * upper, sums[n][1] * upper);
        *reinterpret_cast<pair*>(tile + place<N>(row + g + 8, 8 * n + 2 * t)) =
            narrow_pair(sums[n][2] * lower, sums[n][3] * lower);
    }
    __syncwarp();
    const int step = part.wide ? 8 : 1;
    for (int at = lane_number() * step; at < OWN * W; at += WARP * step) {
        const int line = at / W, column = at % W;
        if (first + line >= part.rows || column >= part.d) continue;
        real* to = part.values + (first + line) * part.stride + column;
        const real* from = tile + place<N>(row + line, column);
        if (part.wide) *reinterpret_cast<eight*>(to) = *reinterpret_cast<const eight*>(from);
        else *to = *from;
    }
}

// Begins sums [64][N] = A [64][D] B^T of a group. A: rows from `first` on of the tile `a` of ROWS rows; B: N rows from
// `from` on of the tile `b` of LINES rows.
template <int D, int N, int ROWS, int LINES>
__device__ __forceinline__ void begin_products(float (&sums)[N / 8][4], const real* a, int first, const real* b,
                                               int from) {
#ifdef GROUPED
    const u64 left = panel_at(a + first * PANEL, 0), right = panel_at(b + from * PANEL, 0);
    group_begin();
#pragma unroll
    for (int k = 0; k < D / 16; k++) // 32 bytes further in a panel.
        group_multiply(sums, left + k / 4 * (ROWS * 8) + k % 4 * 2, right + k / 4 * (LINES * 8) + k % 4 * 2, k > 0);
    group_commit();
#else
    const int lane = lane_number(), row = first + warp_number() % (GROUP / OWN) * OWN + lane % 16;
    const int line = from + lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int i = 0; i < N / 2; i++) sums[i / 4][i % 4] = 0.0f;
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        pair left[4];
        LOAD_MATRICES(left, a + place<ROWS>(row, k + lane / 16 * 8));
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            pair four[4];
            LOAD_MATRICES(four, b + place<LINES>(line + 16 * n, k + lane / 8 % 2 * 8));
            const pair one[2] = {four[0], four[1]}, two[2] = {four[2], four[3]};
            MULTIPLY(sums[2 * n], left, one);
            MULTIPLY(sums[2 * n + 1], left, two);
        }
    }
#endif
}

// A warp's values [16][N], rounded, as left operands of sixteen terms each.
template <int N> __device__ __forceinline__ void round_all(pair (&to)[N / 16][4], const float (&from)[N / 8][4]) {
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            to[k][i] = narrow_pair(from[2 * k + i / 2][i % 2 * 2], from[2 * k + i / 2][i % 2 * 2 + 1]);
}

// Begins sums [64][W] += A [64][N] B of a group. B: N rows from `from` on of the tile `b` of LINES rows, and of W columns
// from `column` on.
template <int W, int N, int LINES>
__device__ __forceinline__ void begin_weighted(float (&sums)[W / 8][4], const pair (&a)[N / 16][4], const real* b,
                                               int from, int column) {
#ifdef GROUPED
    constexpr int AT_ONCE = W < 128 ? W : 128;
    group_begin();
#pragma unroll
    for (int part = 0; part < W; part += AT_ONCE) {
        const u64 right = panel_at(b + (column + part) / PANEL * (LINES * PANEL) + from * PANEL, LINES * 128);
        auto& some = *reinterpret_cast<float(*)[AT_ONCE / 8][4]>(sums[part / 8]);
#pragma unroll
        for (int k = 0; k < N / 16; k++) group_multiply(some, a[k], right + k * 128);
    }
    group_commit();
#else
    const int line = from + lane_number() % 16, first = column + lane_number() / 16 * 8;
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int n = 0; n < W / 16; n++) {
            pair four[4];
            LOAD_TRANSPOSED(four, b + place<LINES>(line + 16 * k, first + 16 * n));
            const pair one[2] = {four[0], four[1]}, two[2] = {four[2], four[3]};
            MULTIPLY(sums[2 * n], a[k], one);
            MULTIPLY(sums[2 * n + 1], a[k], two);
        }
#endif
}

// Awaits all products that were begun but those of the newest LEFT; `sums` are of one that has come.
template <int LEFT, int N> __device__ __forceinline__ void await(float (&sums)[N][4]) {
#ifdef GROUPED
    group_wait<LEFT>(sums);
#endif
}

// Whether query i sees key j; no query that is not below `rows` does. There is no branch around the load, so that lanes
// and rows share it.
__device__ __forceinline__ bool sees(const int* until, int rows, int i, int j) {
    return (j <= i) & (i < until[min(j, rows - 1)]);
}

// What queries see of keys. bounds [rows / GROUP, 2] has the least and the greatest `until` of every GROUP keys, so that
// tiles that are seen as a whole, or not at all, are known by it; of some of the latter it says that something is.
enum Sight { NOTHING, SOME, ALL };
struct Bounds {
    int least, greatest;

    // Of N keys at least, from a multiple of N on.
    template <int N> static __device__ __forceinline__ Bounds of(const int* bounds, int key) {
        Bounds all = {bounds[key / GROUP * 2], bounds[key / GROUP * 2 + 1]};
#pragma unroll
        for (int at = key / GROUP + 1; at < (key + N) / GROUP; at++)
            all = {min(all.least, bounds[2 * at]), max(all.greatest, bounds[2 * at + 1])};
        return all;
    }

    // What the queries `first` to `last` see of `count` keys of these from `key` on.
    __device__ __forceinline__ Sight sight(int key, int count, int first, int last) const {
        if (key > last || greatest <= first) return NOTHING;
        return key + count - 1 <= first && last < least ? ALL : SOME;
    }
};

// The first multiple of N from `key`, which is one, on where a tile begins of which the queries from `first` to before
// `end` may see something; `end` or more where there is none. Where they see no key of a tile, they see none before the
// last `until` of it: a branch is one step.
template <int N> __device__ __forceinline__ int next_tile(const int* bounds, int key, int first, int end) {
    while (key < end) {
        const Bounds keys = Bounds::of<N>(bounds, key);
        if (keys.greatest > first) break;
        key = max(key + N, keys.greatest / N * N);
    }
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
        const bool faded = most != greatest[half];
        greatest[half] = most;
        total[half] *= fade;
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int part = 2 * half; part < 2 * half + 2; part++) {
                s[n][part] = exp2_fast(s[n][part] * scale - base);
                total[half] += s[n][part];
            }
        // Seldom after the first tiles: most have no greater score than the ones before.
        if (!__any_sync(ALL_LANES, faded)) continue;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            sums[n][2 * half] *= fade;
            sums[n][2 * half + 1] *= fade;
        }
    }
}

#define ATTENTION_FORWARD                                                                                              \
    real *out, float *lse, const real *q, const real *k, const real *v, const int *until, const int *bounds, const int *begin, int rows,  \
        int heads, int kv_heads, int d, int stride, int out_stride

// Grid: blocks of queries, heads.
template <int D> __device__ __forceinline__ void forward(ATTENTION_FORWARD) {
    constexpr int N = KEYS<D>, ROWS = QUERIES, THREADS = ROWS / OWN * WARP;
    DYNAMIC_SHARED(real, shared); // q [ROWS], then twice k [N] and v [N].
    real *const own = aligned(shared), *const tiles = own + ROWS * D;
    const int head = blockIdx.y, kv_head = head / (heads / kv_heads);
    const Part keys = part_of(k, kv_head, rows, d, stride), values = part_of(v, kv_head, rows, d, stride);
    // Those that see the most begin first.
    const int first = (gridDim.x - 1 - blockIdx.x) * ROWS, end = min(first + ROWS, rows);
    const int group = group_number() * GROUP, row = first + warp_number() * OWN;
    const float scale = rsqrtf((float)d);
    auto what_is_seen = [&](int key) {
        return Bounds::of<N>(bounds, key).sight(key, N, first + group, first + group + GROUP - 1);
    };

    int key = next_tile<N>(bounds, begin[first] / N * N, first, end);
    load<D, ROWS, THREADS>(own, part_of(q, head, rows, d, stride), first);
    load<D, N, THREADS>(tiles, keys, key);
    load<D, N, THREADS>(tiles + N * D, values, key);
    Sight seen = what_is_seen(key);
    float sums[D / 8][4] = {}, greatest[2] = {NEG_INFINITY, NEG_INFINITY}, total[2] = {};
    for (int turn = 0; key < end; turn ^= 1) {
        // This tile has come, and all have worked on the one before.
        COPY_WAIT();
        __syncthreads();
        real* const tile = tiles + turn * 2 * N * D;
        real* const other = tiles + (turn ^ 1) * 2 * N * D;
        float s[N / 8][4];
        if (seen != NOTHING) begin_products<D, N, ROWS, N>(s, own, group, tile, 0);
        const int next = next_tile<N>(bounds, key + N, first, end);
        if (next < end) {
            load<D, N, THREADS>(other, keys, next);
            load<D, N, THREADS>(other + N * D, values, next);
        }
        if (seen != NOTHING) {
            await<0>(s);
            if (seen == SOME) hide<N>(s, until, rows, row, key);
            soften<D, N>(s, greatest, total, sums, scale * LOG2_E);
            pair p[N / 16][4];
            round_all<N>(p, s);
            begin_weighted<D, N, N>(sums, p, tile + N * D, 0, 0);
        }
        if (next < end) key = next, seen = what_is_seen(next);
        else key = end;
        await<0>(sums);
    }
    float inverse[2];
    for (int half = 0; half < 2; half++) {
        total[half] = quad_sum(total[half]);
        // A row beyond the last has seen nothing.
        inverse[half] = total[half] > 0.0f ? 1.0f / total[half] : 0.0f;
        const int at = row + lane_number() / 4 + half * 8;
        if (lane_number() % 4 == 0 && at < rows)
            lse[(u64)head * rows + at] = greatest[half] * scale + logf(total[half]);
    }
    __syncthreads();
    store<D, ROWS>(part_of(out, head, rows, d, out_stride), row, sums, inverse[0], inverse[1], own,
                   warp_number() * OWN);
}

extern "C" __global__ __launch_bounds__(256, 1) void attention_forward_64(ATTENTION_FORWARD) {
    forward<64>(out, lse, q, k, v, until, bounds, begin, rows, heads, kv_heads, d, stride, out_stride);
}

extern "C" __global__ __launch_bounds__(256, 1) void attention_forward_128(ATTENTION_FORWARD) {
    forward<128>(out, lse, q, k, v, until, bounds, begin, rows, heads, kv_heads, d, stride, out_stride);
}

extern "C" __global__ __launch_bounds__(256, 1) void attention_forward_256(ATTENTION_FORWARD) {
    forward<256>(out, lse, q, k, v, until, bounds, begin, rows, heads, kv_heads, d, stride, out_stride);
}

// delta [heads, rows] = dout . out over a head. Half a warp per row and head.
extern "C" __global__ __launch_bounds__(256) void attention_delta(
    float* delta, const real* dout, const real* out, int rows, int heads, int d, int dout_stride, int out_stride) {
    constexpr int HALF = WARP / 2;
    const u64 task = (u64)blockIdx.x * (blockDim.x / HALF) + threadIdx.x / HALF;
    const u64 row = task / heads;
    const int head = task % heads, lane = threadIdx.x % HALF;
    float sum = 0.0f;
    if (row < rows) {
        dout += row * dout_stride + head * d;
        out += row * out_stride + head * d;
        if (((u64)dout | (u64)out) % sizeof(eight) == 0 && d % 8 == 0) {
            for (int column = 8 * lane; column < d; column += 8 * HALF) {
                const eight a = *reinterpret_cast<const eight*>(dout + column);
                const eight b = *reinterpret_cast<const eight*>(out + column);
#pragma unroll
                for (int i = 0; i < 8; i++) sum += widen(a.v[i]) * widen(b.v[i]);
            }
        } else {
            for (int column = lane; column < d; column += HALF) sum += widen(dout[column]) * widen(out[column]);
        }
    }
    for (int other = HALF / 2; other > 0; other /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, other);
    if (row < rows && lane == 0) delta[head * (u64)rows + row] = sum;
}

// Backward, with the gradient do of o, P = exp(c S - lse) and dS = P (dO V^T - delta): dQ = c dS K, dK = c dS^T Q,
// dV = P^T dO. P and dS are rounded to `real` before these products.

#define ATTENTION_DQ                                                                                                   \
    real *dq, const real *q, const real *k, const real *v, const real *dout, const float *lse, const float *delta,     \
        const int *until, const int *bounds, const int *begin, int rows, int heads, int kv_heads, int d, int dq_stride, int stride,       \
        int dout_stride

// dq lies as q does, in a matrix with rows dq_stride values apart. Grid: blocks of queries, heads.
template <int D> __device__ __forceinline__ void backward_queries(ATTENTION_DQ) {
    constexpr int N = TILE<D>, S = STEP<D>, ROWS = SLOPES<D>, THREADS = ROWS / OWN * WARP;
    DYNAMIC_SHARED(real, shared); // q and do [ROWS], then twice k and v [N].
    real *const own = aligned(shared), *const slopes = own + ROWS * D, *const tiles = slopes + ROWS * D;
    const int head = blockIdx.y, kv_head = head / (heads / kv_heads);
    const Part keys = part_of(k, kv_head, rows, d, stride), values = part_of(v, kv_head, rows, d, stride);
    const int first = (gridDim.x - 1 - blockIdx.x) * ROWS, end = min(first + ROWS, rows);
    const int group = group_number() * GROUP, row = first + warp_number() * OWN;
    const float scale = rsqrtf((float)d);

    int key = next_tile<N>(bounds, begin[first] / N * N, first, end);
    load<D, ROWS, THREADS>(own, part_of(q, head, rows, d, stride), first);
    load<D, ROWS, THREADS>(slopes, part_of(dout, head, rows, d, dout_stride), first);
    load<D, N, THREADS>(tiles, keys, key);
    load<D, N, THREADS>(tiles + N * D, values, key);
    float base[2], along[2];
    for (int half = 0; half < 2; half++) {
        const u64 at = (u64)head * rows + min(row + lane_number() / 4 + half * 8, rows - 1);
        base[half] = lse[at] * LOG2_E;
        along[half] = delta[at];
    }
    float sums[D / 8][4] = {};
    for (int turn = 0; key < end; turn ^= 1) {
        COPY_WAIT();
        __syncthreads();
        const int next = next_tile<N>(bounds, key + N, first, end);
        const Bounds here = Bounds::of<N>(bounds, key);
        real* const tile = tiles + turn * 2 * N * D;
        real* const other = tiles + (turn ^ 1) * 2 * N * D;
        if (next < end) {
            load<D, N, THREADS>(other, keys, next);
            load<D, N, THREADS>(other + N * D, values, next);
        }
#pragma unroll 1
        for (int at = 0; at < N; at += S) {
            const Sight seen = here.sight(key + at, S, first + group, first + group + GROUP - 1);
            if (seen == NOTHING) continue;
            float s[S / 8][4], ds[S / 8][4];
            begin_products<D, S, ROWS, N>(s, own, group, tile, at);
            begin_products<D, S, ROWS, N>(ds, slopes, group, tile + N * D, at);
            await<1>(s);
            if (seen == SOME) hide<S>(s, until, rows, row, key + at);
#pragma unroll
            for (int n = 0; n < S / 2; n++)
                s[n / 4][n % 4] = exp2_fast(s[n / 4][n % 4] * (scale * LOG2_E) - base[n % 4 / 2]);
            await<0>(ds);
#pragma unroll
            for (int n = 0; n < S / 2; n++) ds[n / 4][n % 4] = s[n / 4][n % 4] * (ds[n / 4][n % 4] - along[n % 4 / 2]);
            pair rounded[S / 16][4];
            round_all<S>(rounded, ds);
            begin_weighted<D, S, N>(sums, rounded, tile, at, 0);
            await<0>(sums);
        }
        key = next;
    }
    __syncthreads();
    store<D, ROWS>(part_of(dq, head, rows, d, dq_stride), row, sums, scale, scale, own, warp_number() * OWN);
}

extern "C" __global__ __launch_bounds__(384, 1) void attention_dq_64(ATTENTION_DQ) {
    backward_queries<64>(dq, q, k, v, dout, lse, delta, until, bounds, begin, rows, heads, kv_heads, d, dq_stride, stride,
                         dout_stride);
}

extern "C" __global__ __launch_bounds__(384, 1) void attention_dq_128(ATTENTION_DQ) {
    backward_queries<128>(dq, q, k, v, dout, lse, delta, until, bounds, begin, rows, heads, kv_heads, d, dq_stride, stride,
                          dout_stride);
}

extern "C" __global__ __launch_bounds__(128, 1) void attention_dq_256(ATTENTION_DQ) {
    backward_queries<256>(dq, q, k, v, dout, lse, delta, until, bounds, begin, rows, heads, kv_heads, d, dq_stride, stride,
                          dout_stride);
}

#define ATTENTION_DKDV                                                                                                 \
    real *dk, real *dv, const real *q, const real *k, const real *v, const real *dout, const float *lse,               \
        const float *delta, const int *until, const int *bounds, int rows, int heads, int kv_heads, int d, int dk_stride, int stride,     \
        int dout_stride

// dk and dv lie as k and v do, in a matrix with rows dk_stride values apart. Grid: blocks of keys, kv_heads, and the
// parts of W columns that the accumulators have registers for. Scores are transposed: a warp's rows are keys.
template <int D, int W> __device__ __forceinline__ void backward_keys(ATTENTION_DKDV) {
    constexpr int N = TILE<D>, S = STEP<D>, ROWS = OWNED<D>, THREADS = ROWS / OWN * WARP;
    DYNAMIC_SHARED(real, shared); // k and v [ROWS], then twice q and do [N], then twice lse and delta [N].
    real *const own = aligned(shared), *const own_values = own + ROWS * D, *const tiles = own_values + ROWS * D;
    float* const sides = reinterpret_cast<float*>(tiles + 4 * N * D);
    const int kv_head = blockIdx.y, heads_each = heads / kv_heads, column = blockIdx.z * W;
    const int first = blockIdx.x * ROWS, group = group_number() * GROUP, row = first + warp_number() * OWN;
    // A block's last group may be beyond the last row.
    int last = 0;
    for (int at = first; at < min(first + ROWS, rows); at += GROUP) last = max(last, Bounds::of<GROUP>(bounds, at).greatest);
    const Bounds keys = Bounds::of<GROUP>(bounds, min(first + group, rows - 1) / GROUP * GROUP);
    const float scale = rsqrtf((float)d);
    // What thread i has of the tile that comes next: lse of its query i, or delta of query i - N.
    float side = 0.0f;
    auto begin_turn = [&](real* tile, int head, int query) {
        load<D, N, THREADS>(tile, part_of(q, head, rows, d, stride), query);
        load<D, N, THREADS>(tile + N * D, part_of(dout, head, rows, d, dout_stride), query);
        const u64 at = (u64)head * rows + min(query + (int)threadIdx.x % N, rows - 1);
        if (threadIdx.x < 2 * N) side = threadIdx.x < N ? lse[at] * LOG2_E : delta[at];
    };

    load<D, ROWS, THREADS>(own, part_of(k, kv_head, rows, d, stride), first);
    load<D, ROWS, THREADS>(own_values, part_of(v, kv_head, rows, d, stride), first);
    int head = kv_head * heads_each, query = first;
    begin_turn(tiles, head, query);
    float dk_sums[W / 8][4] = {}, dv_sums[W / 8][4] = {};
#pragma unroll 1
    for (int turn = 0; head < (kv_head + 1) * heads_each; turn ^= 1) {
        float* const base = sides + turn * 2 * N;
        if (threadIdx.x < 2 * N) base[threadIdx.x] = side;
        COPY_WAIT();
        __syncthreads();
        const bool same = query + N < last;
        const int next_head = same ? head : head + 1, next_query = same ? query + N : first;
        if (next_head < (kv_head + 1) * heads_each) begin_turn(tiles + (turn ^ 1) * 2 * N * D, next_head, next_query);
        const real* tile = tiles + turn * 2 * N * D;
#pragma unroll 1
        for (int at = 0; at < N; at += S) {
            const Sight seen = keys.sight(first + group, GROUP, query + at, query + at + S - 1);
            if (seen == NOTHING) continue;
            float p[S / 8][4], ds[S / 8][4];
            begin_products<D, S, ROWS, N>(p, own, group, tile, at);
            begin_products<D, S, ROWS, N>(ds, own_values, group, tile + N * D, at);
            const float* const lane_base = base + at + lane_number() % 4 * 2;
            await<1>(p);
            if (seen == SOME) hide_transposed<S>(p, until, rows, query + at, row);
#pragma unroll
            for (int n = 0; n < S / 2; n++)
                p[n / 4][n % 4] = exp2_fast(p[n / 4][n % 4] * (scale * LOG2_E) - lane_base[n / 4 * 8 + n % 2]);
            pair rounded[S / 16][4], slopes[S / 16][4];
            round_all<S>(rounded, p);
            begin_weighted<W, S, N>(dv_sums, rounded, tile + N * D, at, column);
            await<1>(ds);
#pragma unroll
            for (int n = 0; n < S / 2; n++)
                ds[n / 4][n % 4] = p[n / 4][n % 4] * (ds[n / 4][n % 4] - lane_base[N + n / 4 * 8 + n % 2]);
            round_all<S>(slopes, ds);
            begin_weighted<W, S, N>(dk_sums, slopes, tile, at, column);
            await<1>(dv_sums);
            await<0>(dk_sums);
        }
        head = next_head, query = next_query;
    }
    __syncthreads();
    store<W, ROWS>(part_of(dk, kv_head, rows, d, dk_stride).from(column), row, dk_sums, scale, scale, own,
                   warp_number() * OWN);
    store<W, ROWS>(part_of(dv, kv_head, rows, d, dk_stride).from(column), row, dv_sums, 1.0f, 1.0f, own_values,
                   warp_number() * OWN);
}

extern "C" __global__ __launch_bounds__(256, 1) void attention_dkdv_64(ATTENTION_DKDV) {
    backward_keys<64, 64>(dk, dv, q, k, v, dout, lse, delta, until, bounds, rows, heads, kv_heads, d, dk_stride, stride,
                          dout_stride);
}

extern "C" __global__ __launch_bounds__(256, 1) void attention_dkdv_128(ATTENTION_DKDV) {
    backward_keys<128, 128>(dk, dv, q, k, v, dout, lse, delta, until, bounds, rows, heads, kv_heads, d, dk_stride, stride,
                            dout_stride);
}

extern "C" __global__ __launch_bounds__(128, 1) void attention_dkdv_256(ATTENTION_DKDV) {
    backward_keys<256, 128>(dk, dv, q, k, v, dout, lse, delta, until, bounds, rows, heads, kv_heads, d, dk_stride, stride,
                            dout_stride);
}

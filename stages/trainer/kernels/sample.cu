// Sampling: a token for each row of logits z [n, vocab], given a temperature T, top-p, and u uniform in [0, 1).
//
// Weights are w = exp((z - max z) / T). With top-p the tokens are taken likeliest first, equals in order, and only the
// fewest that together hold p of the weight; without (p >= 1) all are taken in order. The token is the one at which the
// running sum passes u of the whole. Below COLDEST the temperature acts as 0: the first of the greatest. A row with a
// NaN, or without a finite maximum, gives -1. A block of two warps at least per row; logits are overwritten.
//
// Nothing is sorted. A key orders the tokens (by weight, then place), and the token at which a running sum passes a
// bound is found bit by bit: the greatest key from which on tokens hold more than the bound. So that this need not read
// whole rows, threads first set aside what is above a bar that is low enough; where one has more than SLOTS, the row is
// read after all.

#define COLDEST 1e-6f
#define SLOTS 8

// A thread's share of a row, or of what it set aside: weights, and their tokens where these are not simply the thread's
// places in the row. Neighbours are blockDim.x apart.
struct Share {
    const float* weights;
    const int* tokens;
    int count;
};

// The greatest of a row; every thread has it. Infinity where there is a NaN.
__device__ __forceinline__ float greatest_of(const float* row, int vocab, float* scratch) {
    float greatest = NEG_INFINITY;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        const float logit = row[i];
        greatest = fmaxf(greatest, logit == logit ? logit : -NEG_INFINITY);
    }
    greatest = warp_max(greatest);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = greatest;
    __syncthreads();
    for (int warp = 0; warp < blockDim.x / WARP; warp++) greatest = fmaxf(greatest, scratch[warp]);
    __syncthreads();
    return greatest;
}

// Overwrites a row of logits with their weights, 1 for the greatest and 0 for others where the temperature acts as 0.
// Returns their sum.
__device__ __forceinline__ float weigh(float* row, int vocab, float greatest, float temperature, float* scratch) {
    const float inverse = 1.0f / temperature;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        const float logit = row[i];
        const float weight = temperature < COLDEST ? logit == greatest : expf((logit - greatest) * inverse);
        row[i] = weight;
        sum += weight;
    }
    return block_sum(sum, scratch);
}

// The token at which the running sum of weights, in order, passes `left`; the last of any weight where none does. Each
// warp adds up a part of the range, and the part in which the sum passes is the next range.
__device__ __forceinline__ int pick_in_order(const float* row, int vocab, float left, float* scratch) {
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP;
    int begin = 0, count = vocab;
    while (count > 1) {
        const int part = (count + warps - 1) / warps, end = min((warp + 1) * part, count);
        float sum = 0.0f;
        for (int i = warp * part + threadIdx.x % WARP; i < end; i += WARP) sum += row[begin + i];
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) scratch[warp] = sum;
        __syncthreads();
        int chosen = 0;
        float before = 0.0f, passed = 0.0f;
        for (int i = 0; i < warps && passed <= left; i++) {
            if (scratch[i] <= 0.0f) continue;
            chosen = i;
            before = passed;
            passed += scratch[i];
        }
        __syncthreads();
        begin += chosen * part;
        count = min(part, count - chosen * part);
        left -= before;
    }
    return begin;
}

// Orders tokens by weight, and equals from last to first. Weights are at most 1, so 30 bits hold them.
struct Keys {
    int vocab, bits;
    __device__ u64 of(float weight, int token) const {
        return (u64)__float_as_uint(weight) << bits | (vocab - 1 - token);
    }
    __device__ int token(u64 key) const { return vocab - 1 - (int)(key & ((1ull << bits) - 1)); }
};

// What the tokens from a key on hold.
__device__ __forceinline__ float held_from(const Share& share, const Keys& keys, u64 key, float* scratch) {
    float sum = 0.0f;
    for (int i = 0; i < share.count; i++) {
        const int at = i * blockDim.x;
        const float weight = share.weights[at];
        if (keys.of(weight, share.tokens ? share.tokens[at] : at + threadIdx.x) >= key) sum += weight;
    }
    return block_sum(sum, scratch);
}

// The greatest key from which on tokens hold more than `bound`; 0 where there is none.
__device__ __forceinline__ u64 passing(const Share& share, const Keys& keys, float bound, float* scratch) {
    u64 key = 0;
    for (int bit = keys.bits + 29; bit >= 0; bit--) {
        const u64 next = key | 1ull << bit;
        if (held_from(share, keys, next, scratch) > bound) key = next;
    }
    return key;
}

// The next lower float of a positive one: x >= y is x > below(y).
__device__ __forceinline__ float below(float x) { return __uint_as_float(__float_as_uint(x) - 1); }

// Sets aside the tokens above a bar that together hold `enough`, in the thread's own column of `weights` and `tokens`
// [SLOTS, blockDim.x]; the row itself where there are too many. No token under `floor` is needed.
__device__ __forceinline__ Share set_aside(const float* row, int vocab, float enough, float floor, float* weights,
                                           int* tokens, float* scratch) {
    float bar = 1.0f, held = 0.0f;
    int count = 0;
    do {
        bar *= 0.125f;
        float sum = 0.0f;
        count = 0;
        for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
            const float weight = row[i];
            if (weight < bar) continue;
            if (count < SLOTS) {
                weights[count * blockDim.x] = weight;
                tokens[count * blockDim.x] = i;
            }
            sum += weight;
            count++;
        }
        held = block_sum(sum, scratch);
    } while (held < enough && bar > floor);
    const bool fits = block_sum(count > SLOTS ? 1.0f : 0.0f, scratch) == 0.0f;
    if (fits) return {weights, tokens, count};
    return {row + threadIdx.x, nullptr, (vocab - (int)threadIdx.x + (int)blockDim.x - 1) / (int)blockDim.x};
}

__device__ __forceinline__ int pick_likely(const Share& share, int vocab, float enough, float unit, float* scratch) {
    const Keys keys = {vocab, 32 - __clz(vocab)};
    const float held = held_from(share, keys, passing(share, keys, below(enough), scratch), scratch);
    return keys.token(passing(share, keys, fminf(unit * held, below(held)), scratch));
}

// tokens [n]; settings [n, 3] are T, p and u of each row.
extern "C" __global__ __launch_bounds__(1024, 1) void sample_tokens(int* tokens, float* logits, const float* settings,
                                                                 int vocab) {
    // A float for every warp; the weights set aside, and their tokens.
    DYNAMIC_SHARED(float, scratch);
    float* weights = scratch + blockDim.x / WARP;
    int* places = reinterpret_cast<int*>(weights + SLOTS * blockDim.x);
    float* row = logits + (u64)blockIdx.x * vocab;
    const float temperature = settings[3 * blockIdx.x], top_p = settings[3 * blockIdx.x + 1];
    const float unit = temperature < COLDEST ? 0.0f : settings[3 * blockIdx.x + 2];
    const float greatest = greatest_of(row, vocab, scratch);
    int token = -1;
    if (fabsf(greatest) < -NEG_INFINITY) {
        const float total = weigh(row, vocab, greatest, temperature, scratch), enough = top_p * total;
        if (temperature < COLDEST || top_p >= 1.0f) {
            token = pick_in_order(row, vocab, unit * total, scratch);
        } else {
            const float floor = (1.0f - top_p) * total / vocab;
            const Share share =
                set_aside(row, vocab, enough, floor, weights + threadIdx.x, places + threadIdx.x, scratch);
            token = pick_likely(share, vocab, enough, unit, scratch);
        }
    }
    if (threadIdx.x == 0) tokens[blockIdx.x] = token;
}

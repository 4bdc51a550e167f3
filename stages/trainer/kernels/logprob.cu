// Log-probabilities of targets and their gradients by the hidden state, in one pass over chunks of the vocabulary.
//
// A row has a hidden state h [width], logits z = W h and a target t:
//   logp = z_t - ln sum_v exp(z_v),    d logp / dh = W_t - sum_v p_v W_v,    p_v = exp(z_v) / sum_u exp(z_u).
// For each chunk the host multiplies z [rows, count] = H W_chunk^T, `absorb` makes of it P = exp(z - base), and the
// host adds P W_chunk to expected [rows, width], which the first chunk's product overwrites. `finish` turns the sums
// into results.
//
// Floats have an exponent, so any base will do that keeps exp within their range: it is the greatest logit of the first
// chunk, and moves only where a later logit exceeds it by SLACK. Only then do the row's sums shrink, and is expected
// touched.
//
// state [3, rows]: base, sum of exp(z - base), target's logit. A block per row.

#define SLACK 20.0f

typedef few<float, 4> four;

// Four logits; those from `valid` on weigh nothing.
__device__ __forceinline__ four take(const float* from, int valid) {
    if (valid >= 4) return *reinterpret_cast<const four*>(from);
    four z;
    for (int i = 0; i < 4; i++) z.v[i] = i < valid ? from[i] : NEG_INFINITY;
    return z;
}

// The greatest over a block, as block_sum sums.
__device__ __forceinline__ float block_max(float x, float* scratch) {
    x = warp_max(x);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    float greatest = NEG_INFINITY;
    for (int warp = 0; warp < blockDim.x / WARP; warp++) greatest = fmaxf(greatest, scratch[warp]);
    __syncthreads();
    return greatest;
}

// Takes logits [rows, count] of tokens first .. first + count into the state. Rows of logits and weights are `stride`
// apart, a multiple of 4; weights between count and the next multiple of 4 are 0. Without a gradient, weights and
// expected are null.
extern "C" __global__ __launch_bounds__(256) void logprob_absorb(real* weights, float* expected, float* state,
                                                                 const float* logits, const int* targets, int first,
                                                                 int count, int stride, int width) {
    DYNAMIC_SHARED(float, scratch);
    float* kept = scratch + blockDim.x / WARP;
    const u64 rows = gridDim.x, row = blockIdx.x, step = 4 * blockDim.x;
    float greatest = NEG_INFINITY;
    for (int i = 4 * threadIdx.x; i < count; i += step) {
        const four z = take(logits + row * stride + i, count - i);
        *reinterpret_cast<four*>(kept + i) = z;
        for (int j = 0; j < 4; j++) greatest = fmaxf(greatest, z.v[j]);
    }
    greatest = block_max(greatest, scratch);
    const bool begins = first == 0;
    const float earlier = begins ? greatest : state[row];
    const float base = greatest > earlier + SLACK ? greatest : earlier;
    float sum = 0.0f;
    for (int i = 4 * threadIdx.x; i < count; i += step) {
        few<real, 4> powers;
        for (int j = 0; j < 4; j++) {
            const float power = __expf(kept[i + j] - base);
            sum += power;
            powers.v[j] = narrow(power);
        }
        if (weights) *reinterpret_cast<few<real, 4>*>(weights + row * stride + i) = powers;
    }
    sum = block_sum(sum, scratch);
    const float shrink = __expf(earlier - base);
    if (threadIdx.x == 0) {
        const int target = targets[row] - first;
        state[row] = base;
        state[rows + row] = begins ? sum : state[rows + row] * shrink + sum;
        if (target >= 0 && target < count) state[2 * rows + row] = kept[target];
        else if (begins) state[2 * rows + row] = 0.0f;
    }
    if (expected && base != earlier)
        for (int i = threadIdx.x; i < width; i += blockDim.x) expected[row * width + i] *= shrink;
}

// gradient = weight - expected / sum, N values at once.
template <int N>
__device__ __forceinline__ void subtract(real* gradient, const real* weight, const float* expected, float sum,
                                         int width) {
    const float inverse = 1.0f / sum;
    for (int i = N * threadIdx.x; i < width; i += N * blockDim.x) {
        const few<real, N> w = *reinterpret_cast<const few<real, N>*>(weight + i);
        const few<float, N> e = *reinterpret_cast<const few<float, N>*>(expected + i);
        few<real, N> difference;
        for (int j = 0; j < N; j++) difference.v[j] = narrow(widen(w.v[j]) - e.v[j] * inverse);
        *reinterpret_cast<few<real, N>*>(gradient + i) = difference;
    }
}

// logps [rows] and gradient [rows, width] from the state and expected [rows, width]. Rows of the head W are `stride`
// apart. Without a gradient, its width is 0.
extern "C" __global__ __launch_bounds__(256) void logprob_finish(float* logps, real* gradient, const float* state,
                                                                 const float* expected, const real* head,
                                                                 const int* targets, int stride, int width) {
    const u64 rows = gridDim.x, row = blockIdx.x;
    const float base = state[row], sum = state[rows + row], target = state[2 * rows + row];
    if (threadIdx.x == 0) logps[row] = target - base - logf(sum);
    gradient += row * width, expected += row * width, head += (u64)targets[row] * stride;
    const bool aligned = ((u64)gradient | (u64)expected | (u64)head) % 16 == 0 && width % 8 == 0;
    if (aligned) subtract<8>(gradient, head, expected, sum, width);
    else subtract<1>(gradient, head, expected, sum, width);
}

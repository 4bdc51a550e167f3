// AdamW (arXiv 1711.05101), as PyTorch computes it, on float arrays of n values: m = b1 m + (1 - b1) c g;
// v = b2 v + (1 - b2) (c g)^2; w = w (1 - lr l) - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).
// Before it, the clip factor c = min(1, most / norm) from the norm of the whole gradient; its squares are added up in
// two stages, in a fixed order. `clip` [2] holds the norm and c. Arrays begin at multiples of 16 bytes.

// partial[block] = the sum of the squares of the block's share of x [n].
extern "C" __global__ void sum_squares(float* partial, const float* x, int n) {
    DYNAMIC_SHARED(float, scratch);
    float squares = 0.0f;
    const u64 whole = n / 4 * 4, step = (u64)gridDim.x * blockDim.x;
    const u64 thread = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    for (u64 at = thread * 4; at < whole; at += step * 4) {
        float values[4];
        load(values, x + at);
        for (int i = 0; i < 4; i++) squares += values[i] * values[i];
    }
    if (whole + thread < n) squares += x[whole + thread] * x[whole + thread];
    squares = block_sum(squares, scratch);
    if (threadIdx.x == 0) partial[blockIdx.x] = squares;
}

// One block. A `most` of 0 does not clip.
extern "C" __global__ void clip_factor(float* clip, const float* partial, int count, float most) {
    DYNAMIC_SHARED(float, scratch);
    float squares = 0.0f;
    for (int i = threadIdx.x; i < count; i += blockDim.x) squares += partial[i];
    const float norm = sqrtf(block_sum(squares, scratch));
    if (threadIdx.x == 0) {
        clip[0] = norm;
        clip[1] = most > 0.0f && norm > most ? most / (norm + 1e-6f) : 1.0f;
    }
}

struct Rates {
    float decay, beta1, rest1, beta2, rest2, rate, correction, eps;
};

template <int N>
__device__ __forceinline__ void update(float* weights, float* first, float* second, const float* gradient, float factor,
                                       const Rates& r) {
    few<float, N> w = *reinterpret_cast<few<float, N>*>(weights);
    few<float, N> m = *reinterpret_cast<few<float, N>*>(first);
    few<float, N> v = *reinterpret_cast<few<float, N>*>(second);
    const few<float, N> g = *reinterpret_cast<const few<float, N>*>(gradient);
    for (int i = 0; i < N; i++) {
        const float slope = factor * g.v[i];
        m.v[i] = r.beta1 * m.v[i] + r.rest1 * slope;
        v.v[i] = r.beta2 * v.v[i] + r.rest2 * slope * slope;
        w.v[i] = w.v[i] * r.decay - r.rate * m.v[i] / (sqrtf(v.v[i]) / r.correction + r.eps);
    }
    *reinterpret_cast<few<float, N>*>(weights) = w;
    *reinterpret_cast<few<float, N>*>(first) = m;
    *reinterpret_cast<few<float, N>*>(second) = v;
}

// Leaves all as it is where the norm is not finite. decay = 1 - lr l, rest1 = 1 - b1, rest2 = 1 - b2,
// rate = lr / (1 - b1^t), correction = sqrt(1 - b2^t). Four values a thread.
extern "C" __global__ void adamw(float* weights, float* first, float* second, const float* gradient,
                                 const float* clip, int n, float decay, float beta1, float rest1, float beta2,
                                 float rest2, float rate, float correction, float eps) {
    if (!(clip[0] < -NEG_INFINITY)) return;
    const Rates rates = {decay, beta1, rest1, beta2, rest2, rate, correction, eps};
    const u64 begin = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (begin + 4 <= n) update<4>(weights + begin, first + begin, second + begin, gradient + begin, clip[1], rates);
    else for (u64 i = begin; i < n; i++) update<1>(weights + i, first + i, second + i, gradient + i, clip[1], rates);
}

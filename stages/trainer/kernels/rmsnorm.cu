// RMSNorm: y = g x / rms(x), rms(x) = sqrt(mean(x^2) + eps), row by row. A block per row of n values, each thread with
// HELD times N of them at a time: all that it reads of a row is on its way at once. A row that the block holds at once
// stays in registers between its two passes; a longer one is read again. The rows of y, delta and dy are their own
// stride apart; those of x, sum and dx are n apart.

constexpr int HELD = 2;

template <int N> __device__ __forceinline__ bool held_at_once(int n) { return n <= blockDim.x * N * HELD; }

// N values from number `first` of a row of n on, and HELD times so, a block's width further each time; zeros beyond.
template <int N>
__device__ __forceinline__ void take(few<real, N> (&to)[HELD], const real* from, int first, int n) {
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        const int at = first + i * blockDim.x * N;
        to[i] = at < n ? *reinterpret_cast<const few<real, N>*>(from + at) : few<real, N>{};
    }
}

template <int N>
__device__ __forceinline__ void put(real* to, const few<real, N> (&from)[HELD], int first, int n) {
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        const int at = first + i * blockDim.x * N;
        if (at < n) *reinterpret_cast<few<real, N>*>(to + at) = from[i];
    }
}

// y from x, or with delta from sum = x + delta, which is written too.
template <int N>
__device__ __forceinline__ void normalise(real* y, real* sum, const real* x, const real* delta, const real* gain, int n,
                                          float eps, float* scratch) {
    const int begin = threadIdx.x * N, step = blockDim.x * N * HELD;
    few<real, N> values[HELD], g[HELD];
    float squares = 0.0f;
    for (int first = begin; first < n; first += step) {
        take(values, x, first, n);
        if (delta) {
            take(g, delta, first, n);
            // Rounded before it is used: the backward reads it so.
#pragma unroll
            for (int i = 0; i < HELD * N; i++)
                values[i / N].v[i % N] = narrow(widen(values[i / N].v[i % N]) + widen(g[i / N].v[i % N]));
            put(sum, values, first, n);
        }
#pragma unroll
        for (int i = 0; i < HELD * N; i++) squares += widen(values[i / N].v[i % N]) * widen(values[i / N].v[i % N]);
    }
    const bool held = held_at_once<N>(n);
    if (held) take(g, gain, begin, n);
    const float inverse = rsqrtf(block_sum(squares, scratch) / n + eps);
    for (int first = begin; first < n; first += step) {
        if (!held) {
            take(values, delta ? sum : x, first, n);
            take(g, gain, first, n);
        }
#pragma unroll
        for (int i = 0; i < HELD * N; i++)
            values[i / N].v[i % N] = narrow(widen(g[i / N].v[i % N]) * (widen(values[i / N].v[i % N]) * inverse));
        put(y, values, first, n);
    }
}

// Two sums at once, as block_sum sums; `scratch` holds two floats a warp, and is used once.
__device__ __forceinline__ void block_sums(float& a, float& b, float* scratch) {
    const int warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    a = warp_sum(a), b = warp_sum(b);
    if (threadIdx.x % WARP == 0) scratch[warp] = a, scratch[warps + warp] = b;
    __syncthreads();
    a = b = 0.0f;
    for (int i = 0; i < warps; i++) a += scratch[i], b += scratch[warps + i];
}

// w = g dy, and x; from number `first` of a row on, as `take` takes them.
template <int N>
__device__ __forceinline__ void take_both(float (&w)[HELD * N], few<real, N> (&values)[HELD], const real* dy,
                                          const real* x, const real* gain, int first, int n) {
    few<real, N> slopes[HELD], g[HELD];
    take(values, x, first, n);
    take(slopes, dy, first, n);
    take(g, gain, first, n);
#pragma unroll
    for (int i = 0; i < HELD * N; i++) w[i] = widen(g[i / N].v[i % N]) * widen(slopes[i / N].v[i % N]);
}

// From the sums of x^2 and of w x over the row.
template <int N>
__device__ __forceinline__ void propagate(real* dx, const real* dy, const real* x, const real* gain, int n, float eps,
                                          float* scratch) {
    const int begin = threadIdx.x * N, step = blockDim.x * N * HELD;
    few<real, N> values[HELD], d[HELD];
    float w[HELD * N], squares = 0.0f, along = 0.0f;
    for (int first = begin; first < n; first += step) {
        take_both(w, values, dy, x, gain, first, n);
        take(d, dx, first, n);
#pragma unroll
        for (int i = 0; i < HELD * N; i++) {
            const float value = widen(values[i / N].v[i % N]);
            squares += value * value;
            along += w[i] * value;
        }
    }
    block_sums(squares, along, scratch);
    const float inverse = rsqrtf(squares / n + eps);
    const float slope = along / n * inverse * inverse * inverse;
    const bool held = held_at_once<N>(n);
    for (int first = begin; first < n; first += step) {
        if (!held) {
            take_both(w, values, dy, x, gain, first, n);
            take(d, dx, first, n);
        }
#pragma unroll
        for (int i = 0; i < HELD * N; i++) {
            const float more = w[i] * inverse - widen(values[i / N].v[i % N]) * slope;
            d[i / N].v[i % N] = narrow(widen(d[i / N].v[i % N]) + more);
        }
        put(dx, d, first, n);
    }
}

// y [rows, n], x [rows, n], gain [n].
extern "C" __global__ __launch_bounds__(512) void rmsnorm_forward(real* y, const real* x, const real* gain, int n,
                                                                   int y_stride, float eps) {
    DYNAMIC_SHARED(float, scratch);
    const bool eights = in_eights(x, n, n) && in_eights(gain, n, n) && in_eights(y, y_stride, n);
    x += (u64)blockIdx.x * n;
    y += (u64)blockIdx.x * y_stride;
    if (eights) normalise<8>(y, nullptr, x, nullptr, gain, n, eps, scratch);
    else normalise<1>(y, nullptr, x, nullptr, gain, n, eps, scratch);
}

// sum = x + delta and y = the norm of sum, all [rows, n]. sum may be x.
extern "C" __global__ __launch_bounds__(512) void add_rmsnorm_forward(real* sum, real* y, const real* x,
                                                                       const real* delta, const real* gain, int n,
                                                                       int delta_stride, int y_stride, float eps) {
    DYNAMIC_SHARED(float, scratch);
    const bool eights = in_eights(sum, n, n) && in_eights(x, n, n) && in_eights(gain, n, n) &&
                        in_eights(y, y_stride, n) && in_eights(delta, delta_stride, n);
    sum += (u64)blockIdx.x * n;
    x += (u64)blockIdx.x * n;
    y += (u64)blockIdx.x * y_stride;
    delta += (u64)blockIdx.x * delta_stride;
    if (eights) normalise<8>(y, sum, x, delta, gain, n, eps, scratch);
    else normalise<1>(y, sum, x, delta, gain, n, eps, scratch);
}

// dx += r w - x r^3 mean(w x), with r = 1 / rms(x) and w = g dy, all [rows, n].
extern "C" __global__ __launch_bounds__(512) void rmsnorm_backward(real* dx, const real* dy, const real* x,
                                                                    const real* gain, int n, int dy_stride, float eps) {
    DYNAMIC_SHARED(float, scratch);
    const bool eights = in_eights(dx, n, n) && in_eights(x, n, n) && in_eights(gain, n, n) &&
                        in_eights(dy, dy_stride, n);
    dx += (u64)blockIdx.x * n;
    x += (u64)blockIdx.x * n;
    dy += (u64)blockIdx.x * dy_stride;
    if (eights) propagate<8>(dx, dy, x, gain, n, eps, scratch);
    else propagate<1>(dx, dy, x, gain, n, eps, scratch);
}

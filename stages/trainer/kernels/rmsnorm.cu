// RMSNorm: y = g x / rms(x), rms(x) = sqrt(mean(x^2) + eps), row by row. A block per row of n values, each thread with
// N of them at a time. A row that the block holds at once stays in registers between its two passes; a longer one is
// read again. The rows of y, delta and dy are their own stride apart; those of x, sum and dx are n apart.

template <int N> __device__ __forceinline__ bool held_at_once(int n) { return n <= blockDim.x * N; }

// y from x, or with delta from sum = x + delta, which is written too.
template <int N>
__device__ __forceinline__ void normalise(real* y, real* sum, const real* x, const real* delta, const real* gain, int n,
                                          float eps, float* scratch) {
    float values[N], squares = 0.0f;
    for (int at = threadIdx.x * N; at < n; at += blockDim.x * N) {
        load(values, x + at);
        if (delta) {
            float more[N];
            load(more, delta + at);
            // Rounded before it is used: the backward reads it so.
            for (int i = 0; i < N; i++) values[i] = widen(narrow(values[i] + more[i]));
            store(sum + at, values);
        }
        for (int i = 0; i < N; i++) squares += values[i] * values[i];
    }
    const float inverse = rsqrtf(block_sum(squares, scratch) / n + eps);
    for (int at = threadIdx.x * N; at < n; at += blockDim.x * N) {
        float g[N];
        load(g, gain + at);
        if (!held_at_once<N>(n)) load(values, (delta ? sum : x) + at);
        for (int i = 0; i < N; i++) g[i] *= values[i] * inverse;
        store(y + at, g);
    }
}

// w = g dy, and x.
template <int N>
__device__ __forceinline__ void load_both(float (&w)[N], float (&values)[N], const real* dy, const real* x,
                                          const real* gain) {
    float g[N];
    load(values, x);
    load(w, dy);
    load(g, gain);
    for (int i = 0; i < N; i++) w[i] *= g[i];
}

template <int N>
__device__ __forceinline__ void propagate(real* dx, const real* dy, const real* x, const real* gain, int n, float eps,
                                          float* scratch) {
    float w[N], values[N], squares = 0.0f, along = 0.0f;
    for (int at = threadIdx.x * N; at < n; at += blockDim.x * N) {
        load_both(w, values, dy + at, x + at, gain + at);
        for (int i = 0; i < N; i++) {
            squares += values[i] * values[i];
            along += w[i] * values[i];
        }
    }
    const float inverse = rsqrtf(block_sum(squares, scratch) / n + eps);
    const float slope = block_sum(along, scratch) / n * inverse * inverse * inverse;
    for (int at = threadIdx.x * N; at < n; at += blockDim.x * N) {
        float d[N];
        load(d, dx + at);
        if (!held_at_once<N>(n)) load_both(w, values, dy + at, x + at, gain + at);
        for (int i = 0; i < N; i++) d[i] += w[i] * inverse - values[i] * slope;
        store(dx + at, d);
    }
}

// y [rows, n], x [rows, n], gain [n].
extern "C" __global__ __launch_bounds__(1024) void rmsnorm_forward(real* y, const real* x, const real* gain, int n,
                                                                   int y_stride, float eps) {
    DYNAMIC_SHARED(float, scratch);
    const bool eights = in_eights(x, n, n) && in_eights(gain, n, n) && in_eights(y, y_stride, n);
    x += (u64)blockIdx.x * n;
    y += (u64)blockIdx.x * y_stride;
    if (eights) normalise<8>(y, nullptr, x, nullptr, gain, n, eps, scratch);
    else normalise<1>(y, nullptr, x, nullptr, gain, n, eps, scratch);
}

// sum = x + delta and y = the norm of sum, all [rows, n]. sum may be x.
extern "C" __global__ __launch_bounds__(1024) void add_rmsnorm_forward(real* sum, real* y, const real* x,
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
extern "C" __global__ __launch_bounds__(1024) void rmsnorm_backward(real* dx, const real* dy, const real* x,
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

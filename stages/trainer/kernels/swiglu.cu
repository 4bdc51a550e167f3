// SwiGLU: h = silu(g) u, with silu(g) = g s and s = 1 / (1 + exp(-g)). A row of gate_up [rows, 2f] holds the gate g,
// then u. Blocks: [rows, parts of a row]. The rows of each matrix are its own stride apart.

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

// The first value of a row's N that are this thread's, and how far it is to the next.
template <int N> __device__ __forceinline__ int first() { return (blockIdx.y * blockDim.x + threadIdx.x) * N; }
template <int N> __device__ __forceinline__ int step() { return gridDim.y * blockDim.x * N; }

template <int N> __device__ __forceinline__ void forward(real* h, const real* gate, const real* up, int f) {
    for (int at = first<N>(); at < f; at += step<N>()) {
        float g[N], u[N];
        load(g, gate + at);
        load(u, up + at);
        for (int i = 0; i < N; i++) u[i] *= g[i] * sigmoid(g[i]);
        store(h + at, u);
    }
}

template <int N> __device__ __forceinline__ void backward(real* gate, real* up, const real* dh, int f) {
    for (int at = first<N>(); at < f; at += step<N>()) {
        float g[N], u[N], d[N];
        load(g, gate + at);
        load(u, up + at);
        load(d, dh + at);
        for (int i = 0; i < N; i++) {
            const float s = sigmoid(g[i]), silu = g[i] * s;
            g[i] = d[i] * u[i] * (s + silu * (1.0f - s));
            u[i] = d[i] * silu;
        }
        store(gate + at, g);
        store(up + at, u);
    }
}

// h [rows, f].
extern "C" __global__ void swiglu_forward(real* h, const real* gate_up, int f, int h_stride, int gate_up_stride) {
    const bool eights = in_eights(h, h_stride, f) && in_eights(gate_up, gate_up_stride, f);
    const real* gate = gate_up + (u64)blockIdx.x * gate_up_stride;
    h += (u64)blockIdx.x * h_stride;
    if (eights) forward<8>(h, gate, gate + f, f);
    else forward<1>(h, gate, gate + f, f);
}

// From dh [rows, f]: dg = dh u s (1 + g (1 - s)) and du = dh silu(g), written over g and u.
extern "C" __global__ void swiglu_backward(real* gate_up, const real* dh, int f, int gate_up_stride, int dh_stride) {
    const bool eights = in_eights(dh, dh_stride, f) && in_eights(gate_up, gate_up_stride, f);
    real* gate = gate_up + (u64)blockIdx.x * gate_up_stride;
    dh += (u64)blockIdx.x * dh_stride;
    if (eights) backward<8>(gate, gate + f, dh, f);
    else backward<1>(gate, gate + f, dh, f);
}

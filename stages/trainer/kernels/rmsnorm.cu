// RMSNorm: y = g x / rms(x), rms(x) = sqrt(mean(x^2) + eps), row by row. A block per row of n values.

// y [rows, n], x [rows, n], gain [n].
extern "C" __global__ void rmsnorm_forward(real* y, const real* x, const real* gain, int n, float eps) {
    DYNAMIC_SHARED(float, scratch);
    const u64 row = (u64)blockIdx.x * n;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float value = widen(x[row + i]);
        squares += value * value;
    }
    const float inverse = rsqrtf(block_sum(squares, scratch) / n + eps);
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[row + i] = narrow(widen(x[row + i]) * inverse * widen(gain[i]));
}

// dx += r w - x r^3 mean(w x), with r = 1 / rms(x) and w = g dy.
extern "C" __global__ void rmsnorm_backward(real* dx, const real* dy, const real* x, const real* gain, int n, float eps) {
    DYNAMIC_SHARED(float, scratch);
    const u64 row = (u64)blockIdx.x * n;
    float squares = 0.0f, along = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float value = widen(x[row + i]);
        squares += value * value;
        along += widen(gain[i]) * widen(dy[row + i]) * value;
    }
    const float inverse = rsqrtf(block_sum(squares, scratch) / n + eps);
    const float slope = block_sum(along, scratch) / n * inverse * inverse * inverse;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float w = widen(gain[i]) * widen(dy[row + i]);
        dx[row + i] = narrow(widen(dx[row + i]) + w * inverse - widen(x[row + i]) * slope);
    }
}

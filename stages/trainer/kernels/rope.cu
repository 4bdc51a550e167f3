// Rotary position embedding, half-rotation as in Hugging Face: at position p, the values i and i + d/2 of a head are
// turned by the angle whose cosine and sine the tables have at (p, i). In place, on some heads of each row, of which
// each has a block.

// N angles of a head at once; x is the row's first head.
template <int N>
__device__ __forceinline__ void turn(real* x, const float* cos, const float* sin, int heads, int half, float sign) {
    for (int at = threadIdx.x * N; at < heads * half; at += blockDim.x * N) {
        const int angle = at % half;
        real* first = x + at / half * 2 * half + angle;
        float a[N], b[N], c[N], s[N];
        load(a, first);
        load(b, first + half);
        load(c, cos + angle);
        load(s, sin + angle);
        for (int i = 0; i < N; i++) {
            const float before = a[i];
            s[i] *= sign;
            a[i] = before * c[i] - b[i] * s[i];
            b[i] = b[i] * c[i] + before * s[i];
        }
        store(first, a);
        store(first + half, b);
    }
}

// x [rows, heads * d], rows `stride` values apart; cos and sin [positions, d/2]; positions [rows]. Sign 1 turns
// forward, -1 backward, which is its transpose.
extern "C" __global__ void rope(real* x, const float* cos, const float* sin, const int* positions, int stride,
                                int heads, int d, float sign) {
    const int half = d / 2;
    const u64 angles = (u64)positions[blockIdx.x] * half;
    real* row = x + (u64)blockIdx.x * stride;
    if (in_eights(x, stride, half)) turn<8>(row, cos + angles, sin + angles, heads, half, sign);
    else turn<1>(row, cos + angles, sin + angles, heads, half, sign);
}

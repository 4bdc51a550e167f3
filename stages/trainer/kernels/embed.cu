// Rows picked from a table, and their gradients put back. A block per row that is written.

template <int N> __device__ __forceinline__ void copy(real* to, const real* from, int width) {
    for (int at = threadIdx.x * N; at < width; at += blockDim.x * N)
        *reinterpret_cast<few<real, N>*>(to + at) = *reinterpret_cast<const few<real, N>*>(from + at);
}

// out [count, width] = rows `indices` [count] of a table whose rows are `stride` values apart.
extern "C" __global__ void gather_rows(real* out, const real* table, const int* indices, int width, int stride) {
    const bool eights = in_eights(out, width, width) && in_eights(table, stride, width);
    out += (u64)blockIdx.x * width;
    table += (u64)indices[blockIdx.x] * stride;
    if (eights) copy<8>(out, table, width);
    else copy<1>(out, table, width);
}

// The targets that a row predicts.
struct Targets {
    const int* begin;
    const int* end;
    const int* sequences;
    const float* coefficients;
};

template <int N>
__device__ __forceinline__ void add_up(real* dx, const real* d_gathered, const Targets& targets, int width) {
    for (int at = threadIdx.x * N; at < width; at += blockDim.x * N) {
        float sum[N] = {};
        for (const int* target = targets.begin; target < targets.end; target++) {
            const float coefficient = targets.coefficients[targets.sequences[*target]];
            float values[N];
            load(values, d_gathered + (u64)*target * width + at);
            for (int i = 0; i < N; i++) sum[i] += coefficient * values[i];
        }
        store(dx + at, sum);
    }
}

// dx [rows, width]: each row is the sum over its targets of their rows of d_gathered [targets, width], times the
// coefficient of the target's sequence; zero where it has none. Row i's are at first[i] to first[i + 1] of `targets`.
extern "C" __global__ void scatter_rows(real* dx, const real* d_gathered, const int* first, const int* targets,
                                        const int* sequences, const float* coefficients, int width) {
    const int row = blockIdx.x;
    const Targets own = {targets + first[row], targets + first[row + 1], sequences, coefficients};
    const bool eights = in_eights(dx, width, width) && in_eights(d_gathered, width, width);
    dx += (u64)row * width;
    if (eights) add_up<8>(dx, d_gathered, own, width);
    else add_up<1>(dx, d_gathered, own, width);
}

// The adapter as more terms of a frozen product: y = [x | S] [W | sB]^T, S = x A^T. So dy [W | sB] = [dx' | dS], and
//   dx = dx' + dS A,    dA += dS^T x,    dB += s dy^T S.
// W lies in memory as [out, in + R], x as [rows, in + R]. Matrices that share an input are one W with their A's stacked
// [R, in]; the B of each has its own rows and columns, and the other rows of these columns are 0.
//
// S and the gradients are products of the library's. What is here reads dx and dS straight into what the matrix instruction
// takes, 8 or 16 bytes a lane, and A by way of shared memory: the terms of a sum, and the columns of a result, may be
// numbered as it suits.

// [rows, columns]; rows are `stride` values apart.
struct Matrix {
    const real* values;
    int stride, rows, columns;
};

// Whether N values can be read at once wherever a column's number is a multiple of N.
template <int N> __device__ __forceinline__ bool is_even(const Matrix& m) {
    return ((u64)m.values | (u64)m.stride * sizeof(real)) % alignof(few<real, N>) == 0 && m.columns % N == 0;
}

// N values of a row from a column on, of a matrix that is even; beyond the last column the last ones, for sums that
// nobody reads.
template <int N> __device__ __forceinline__ few<real, N> take(const Matrix& m, int row, int column) {
    return *reinterpret_cast<const few<real, N>*>(m.values + (u64)row * m.stride + min(column, m.columns - N));
}

// The row, or the last one, for sums that nobody reads.
__device__ __forceinline__ int nearest(const Matrix& m, int row) { return min(row, m.rows - 1); }

template <int N> __device__ __forceinline__ pair pair_at(const few<real, N>& values, int i) {
    return {values.v[i], values.v[i + 1]};
}

// Rounds scale `from` [rows, columns] into a matrix whose rows are `stride` apart: a B into W, or an A into the stack.
extern "C" __global__ __launch_bounds__(256) void lora_place(real* to, const float* from, int stride, int rows,
                                                             int columns, float scale) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * columns) to[(u64)(i / columns) * stride + i % columns] = narrow(scale * from[i]);
}

// Zeros [rows, columns] of a matrix.
extern "C" __global__ __launch_bounds__(256) void lora_clear(real* to, int stride, int rows, int columns) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * columns) to[(u64)(i / columns) * stride + i % columns] = narrow(0.0f);
}

// gradient [count] += scale product [count]: a product by itself cannot be added to what is there already, and scaled.
extern "C" __global__ __launch_bounds__(256) void lora_add_scaled(float* gradient, const float* product, int count,
                                                                  float scale) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) gradient[at] += scale * product[at];
}

// dx += dS A: a block makes 128 rows and 64 columns, a warp 16 of the rows. A lane has eight columns side by side of
// either half of the columns, in two rows: four lanes read and write whole sectors of a row at once.
#define ADD_WARPS 8
#define ADD_ROWS 16
#define ADD_COLUMNS 64
// Terms that a block has of A in shared memory, whose rows lie in different banks.
#define ADD_TERMS 48
#define ADD_LINE (ADD_COLUMNS + 8)

// The matrix instruction number j of a half makes columns 2 t and 2 t + 1 for the lanes t, where these lanes have columns
// 8 t + 2 j and the next of the half; and its terms 2 t, 2 t + 1, 2 t + 8 and 2 t + 9 are what they have of a row's
// terms, 4 t to 4 t + 3. So pairs of columns and of terms change places on their way to shared memory.
__device__ __forceinline__ int column_for(int column) {
    return column / 32 * 32 + column / 2 % 4 * 8 + column / 8 % 4 * 2 + column % 2;
}
__device__ __forceinline__ int term_for(int k) { return k / 16 * 16 + k / 2 % 2 * 8 + k / 4 % 4 * 2 + k % 2; }

// Rows `first` and on of the stacked A, and columns from `column` on, to shared memory; zeros beyond.
__device__ __forceinline__ void share(real* to, const Matrix& a, int first, int column) {
    const int terms = (min(a.rows - first, ADD_TERMS) + 15) / 16 * 16;
    for (int at = threadIdx.x; at < terms * (ADD_COLUMNS / 8); at += blockDim.x) {
        const int k = at / (ADD_COLUMNS / 8), from = at % (ADD_COLUMNS / 8) * 8;
        const bool there = first + k < a.rows && column + from < a.columns;
        const few<real, 8> values = there ? take<8>(a, first + k, column + from) : few<real, 8>{};
#pragma unroll
        for (int i = 0; i < 8; i += 2)
            *reinterpret_cast<pair*>(to + term_for(k) * ADD_LINE + column_for(from + i)) = pair_at(values, i);
    }
}

// Sixteen terms of ds from number k on, in this lane's two of a warp's rows; zeros beyond the last.
struct Terms {
    few<real, 4> top, low;

    __device__ __forceinline__ Terms(const Matrix& ds, int row, int k) {
        const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
        top = take<4>(ds, nearest(ds, row + group), k + 4 * part);
        low = take<4>(ds, nearest(ds, row + 8 + group), k + 4 * part);
        if (k + 4 * part >= ds.columns) top = low = few<real, 4>{};
    }
};

// sums += these terms times their rows of A, in shared memory.
__device__ __forceinline__ void add_down(float (&sums)[8][4], const Terms& ds, const real* a) {
    const int lane = threadIdx.x % WARP;
    const pair parts[4] = {pair_at(ds.top, 0), pair_at(ds.low, 0), pair_at(ds.top, 2), pair_at(ds.low, 2)};
#pragma unroll
    for (int tile = 0; tile < 8; tile += 2) {
        pair four[4];
        LOAD_TRANSPOSED(four, a + lane % 16 * ADD_LINE + 8 * tile + lane / 16 * 8);
        const pair one[2] = {four[0], four[1]}, two[2] = {four[2], four[3]};
        MULTIPLY(sums[tile], parts, one);
        MULTIPLY(sums[tile + 1], parts, two);
    }
}

// The derivatives of d silu(g) u by g and u, written over them.
__device__ __forceinline__ void through_swiglu(real& g, real& u, float d) {
    const float gate = widen(g), s = __fdividef(1.0f, 1.0f + __expf(-gate)), silu = gate * s;
    g = narrow(d * widen(u) * (s + silu * (1.0f - s)));
    u = narrow(d * silu);
}

// Eight values to where `take` has them from.
__device__ __forceinline__ void put(const Matrix& m, int row, int column, const few<real, 8>& values) {
    *reinterpret_cast<few<real, 8>*>(const_cast<real*>(m.values) + (u64)row * m.stride + column) = values;
}

// This warp's part of dx + dS A, a value at a time, for matrices that cannot be read several at once: added to dx, or
// taken through SwiGLU.
template <bool GATED>
__device__ __forceinline__ void add_slowly(const Matrix& dx, const Matrix& ds, const Matrix& a, const Matrix& gate,
                                           const Matrix& up, int row, int column) {
    for (int i = threadIdx.x % WARP; i < ADD_ROWS * ADD_COLUMNS; i += WARP) {
        const int r = row + i / ADD_COLUMNS, c = column + i % ADD_COLUMNS;
        if (r >= ds.rows || c >= a.columns) continue;
        real* to = const_cast<real*>(dx.values) + (u64)r * dx.stride + c;
        float sum = 0.0f;
        for (int k = 0; k < a.rows; k++)
            sum += widen(ds.values[(u64)r * ds.stride + k]) * widen(a.values[(u64)k * a.stride + c]);
        sum += widen(*to);
        const u64 at = (u64)r * gate.stride + c;
        if (GATED) through_swiglu(const_cast<real*>(gate.values)[at], const_cast<real*>(up.values)[at], sum);
        else *to = narrow(sum);
    }
}

// The same for all. `shared` is [ADD_TERMS, ADD_LINE].
template <bool GATED>
__device__ __forceinline__ void add_all(real* shared, const Matrix& dx, const Matrix& ds, const Matrix& a,
                                        const Matrix& gate, const Matrix& up) {
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    const int column = blockIdx.x * ADD_COLUMNS, row = (blockIdx.y * ADD_WARPS + threadIdx.x / WARP) * ADD_ROWS;
    if (!is_even<8>(dx) || !is_even<4>(ds) || !is_even<8>(a) || (GATED && !(is_even<8>(gate) && is_even<8>(up))))
        return add_slowly<GATED>(dx, ds, a, gate, up, row, column);
    // Asked for first: all that a warp reads is on its way while it multiplies.
    few<real, 8> values[4], gates[GATED ? 4 : 1], ups[GATED ? 4 : 1];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int r = nearest(dx, row + i / 2 * 8 + group), c = column + i % 2 * 32 + 8 * part;
        values[i] = take<8>(dx, r, c);
        if (GATED) gates[i] = take<8>(gate, r, c), ups[i] = take<8>(up, r, c);
    }
    float sums[8][4] = {};
    Terms terms(ds, row, 0);
    for (int first = 0; first < a.rows; first += ADD_TERMS) {
        if (first > 0) __syncthreads();
        share(shared, a, first, column);
        __syncthreads();
        for (int k = 0; k < min(a.rows - first, ADD_TERMS); k += 16) {
            const Terms next(ds, row, first + k + 16);
            add_down(sums, terms, shared + k * ADD_LINE);
            terms = next;
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int r = row + i / 2 * 8 + group, c = column + i % 2 * 32 + 8 * part;
        if (r >= dx.rows || c >= dx.columns) continue;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const float d = widen(values[i].v[j]) + sums[i % 2 * 4 + j / 2][i / 2 * 2 + j % 2];
            if (GATED) through_swiglu(gates[i].v[j], ups[i].v[j], d);
            else values[i].v[j] = narrow(d);
        }
        if (GATED) put(gate, r, c, gates[i]), put(up, r, c, ups[i]);
        else put(dx, r, c, values[i]);
    }
}

// dx [rows, width] += ds [rows, rank] times the stacked A [rank, width]; ds and dx are columns of one matrix.
extern "C" __global__ __launch_bounds__(256, 3) void lora_add_down(real* dx, const real* ds, const real* a, int stride,
                                                                int a_stride, int rows, int width, int rank) {
    DYNAMIC_SHARED(real, shared);
    const Matrix to = {dx, stride, rows, width}, terms = {ds, stride, rows, rank}, stack = {a, a_stride, rank, width};
    add_all<false>(shared, to, terms, stack, to, to);
}

// The backward of SwiGLU with dh + ds A for the gradient of its outputs: a row of gate_up [rows, 2 width] holds the gate,
// then u, and gets their gradients. dh and ds lie as dx and ds above; dh stays.
extern "C" __global__ __launch_bounds__(256, 2) void lora_swiglu_backward(real* gate_up, const real* dh, const real* ds,
                                                                       const real* a, int gate_up_stride, int stride,
                                                                       int a_stride, int rows, int width, int rank) {
    DYNAMIC_SHARED(real, shared);
    const Matrix from = {dh, stride, rows, width}, terms = {ds, stride, rows, rank}, stack = {a, a_stride, rank, width};
    const Matrix gate = {gate_up, gate_up_stride, rows, width}, up = {gate_up + width, gate_up_stride, rows, width};
    add_all<true>(shared, from, terms, stack, gate, up);
}

// The adapter as more terms of a frozen product: y = [x | S] [W | sB]^T, S = x A^T. So dy [W | sB] = [dx' | dS], and
//   dx = dx' + dS A,    dA += dS^T x,    dB += s dy^T S.
// W lies in memory as [out, in + R], x as [rows, in + R]. Matrices that share an input are one W with their A's stacked
// [R, in]; the B of each has its own rows and columns, and the other rows of these columns are 0.
//
// Memory is read straight into what the matrix instruction takes, 8 or 16 bytes a lane: the terms of a sum, and the
// columns of a result, may be numbered as it suits.

// Values of a row side by side, as memory gives them at once: 16 bytes at most.
template <class T, int N> struct __align__(N * sizeof(T) < 16 ? N * sizeof(T) : 16) few {
    T v[N];
};

// [rows, columns]; rows are `stride` values apart.
struct Matrix {
    const real* values;
    int stride, rows, columns;
};

// Whether N values can be read at once wherever a column's number is a multiple of N.
template <int N> __device__ __forceinline__ bool is_even(const Matrix& m) {
    return ((u64)m.values | (u64)m.stride * sizeof(real)) % alignof(few<real, N>) == 0 && m.columns % N == 0;
}

// N values of a row from a column on. WHOLE: at once, of a row that exists and of a matrix that is even; beyond the
// last column they are the last ones, for sums that nobody reads. Else one by one, and 0 beyond the borders.
template <int N, bool WHOLE> __device__ __forceinline__ few<real, N> take(const Matrix& m, int row, int column) {
    const real* from = m.values + (u64)row * m.stride;
    if (WHOLE) return *reinterpret_cast<const few<real, N>*>(from + min(column, m.columns - N));
    const int valid = row < m.rows ? m.columns - column : 0;
    few<real, N> values;
#pragma unroll
    for (int i = 0; i < N; i++) values.v[i] = i < valid ? from[column + i] : narrow(0.0f);
    return values;
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

// S = x A^T: a block makes 32 rows and 64 columns. Its warps share `in` by strips of 32, and a lane has 8 of a strip.
#define DOWN_WARPS 4
#define DOWN_ROWS 32
#define DOWN_COLUMNS 64
// Between rows of a warp's sums in shared memory: lanes that write at once meet different banks.
#define DOWN_LINE (DOWN_COLUMNS + 8)

template <bool WHOLE>
__device__ __forceinline__ void down(float (&sums)[2][8][4], const Matrix& x, const Matrix& a, int row, int column,
                                     int strip) {
    // Columns of S, by eights, whose A is awaited together.
    constexpr int BATCH = WHOLE ? 4 : 1;
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    few<real, 8> left[4];
#pragma unroll
    for (int i = 0; i < 4; i++) left[i] = take<8, WHOLE>(x, nearest(x, row + 8 * i + group), strip + 8 * part);
#pragma unroll
    for (int first = 0; first < 8; first += BATCH) {
        if (column + 8 * first >= a.rows) continue;
        few<real, 8> right[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            right[i] = take<8, WHOLE>(a, nearest(a, column + 8 * (first + i) + group), strip + 8 * part);
#pragma unroll
        for (int i = 0; i < BATCH; i++)
#pragma unroll
            for (int k = 0; k < 8; k += 4) {
                const pair b[2] = {pair_at(right[i], k), pair_at(right[i], k + 2)};
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const few<real, 8>&top = left[2 * half], &low = left[2 * half + 1];
                    const pair parts[4] = {pair_at(top, k), pair_at(low, k), pair_at(top, k + 2), pair_at(low, k + 2)};
                    MULTIPLY(sums[half][first + i], parts, b);
                }
            }
    }
}

// s [rows, rank] of x [rows, width] and the stacked A [rank, width]; s and x are columns of one matrix.
extern "C" __global__ __launch_bounds__(128, 4) void lora_down(real* s, const real* x, const real* a, int stride,
                                                            int a_stride, int rows, int width, int rank) {
    DYNAMIC_SHARED(float, shared);
    const int warp = threadIdx.x / WARP, group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    const int column = blockIdx.x * DOWN_COLUMNS, row = blockIdx.y * DOWN_ROWS;
    const Matrix inputs = {x, stride, rows, width}, stack = {a, a_stride, rank, width};
    const bool even = is_even<8>(inputs) && is_even<8>(stack);
    float sums[2][8][4] = {};
    int strip = warp * 32;
    if (even)
        for (; strip + 32 <= width; strip += DOWN_WARPS * 32) down<true>(sums, inputs, stack, row, column, strip);
    for (; strip < width; strip += DOWN_WARPS * 32) down<false>(sums, inputs, stack, row, column, strip);
    // Every warp's sums side by side, then added in the order of the warps.
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int tile = 0; tile < 8; tile++) {
            float* to = shared + (warp * DOWN_ROWS + 8 * i + group) * DOWN_LINE + 8 * tile + 2 * part;
            const float(&from)[4] = sums[i / 2][tile];
            *reinterpret_cast<few<float, 2>*>(to) = {from[i % 2 * 2], from[i % 2 * 2 + 1]};
        }
    __syncthreads();
    for (int i = threadIdx.x; i < DOWN_ROWS * DOWN_COLUMNS; i += blockDim.x) {
        const int r = i / DOWN_COLUMNS, c = i % DOWN_COLUMNS;
        float sum = 0.0f;
#pragma unroll
        for (int w = 0; w < DOWN_WARPS; w++) sum += shared[(w * DOWN_ROWS + r) * DOWN_LINE + c];
        if (row + r < rows && column + c < rank) s[(u64)(row + r) * stride + column + c] = narrow(sum);
    }
}

// gradient [count] += scale product [count]: a product by itself cannot be added to what is there already, and scaled.
extern "C" __global__ __launch_bounds__(256) void lora_add_scaled(float* gradient, const float* product, int count,
                                                                  float scale) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) gradient[at] += scale * product[at];
}

// dx += dS A: a warp makes 16 rows and 64 columns. A lane has eight columns side by side of either half of the columns,
// in two rows: four lanes read and write whole sectors of a row at once.
#define ADD_WARPS 4
#define ADD_ROWS 16
#define ADD_COLUMNS 64

// Sixteen terms from number k on, of matrices that can be read four values at once. The matrix instruction number `tile`
// makes columns 8 t + 2 (tile % 4) and the next, of half tile / 4, for the lanes t; so of A the lanes g give the columns
// 8 (g / 2) + 2 (tile % 4) + g % 2 of that half.
__device__ __forceinline__ void add_down(float (&sums)[8][4], const Matrix& ds, const Matrix& a, int row, int column,
                                         int k) {
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    few<real, 4> top = take<4, true>(ds, nearest(ds, row + group), k + 4 * part);
    few<real, 4> low = take<4, true>(ds, nearest(ds, row + 8 + group), k + 4 * part);
    // Terms beyond the last are zeros, times values of A that are there.
    if (k + 4 * part >= a.rows) top = low = few<real, 4>{};
    const pair parts[4] = {pair_at(top, 0), pair_at(low, 0), pair_at(top, 2), pair_at(low, 2)};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        // Of columns beyond the last nobody reads the sums.
        const int from = min(column + 32 * half + group / 2 * 8, a.columns - 8);
        const real* lines[4];
#pragma unroll
        for (int i = 0; i < 4; i++) lines[i] = a.values + (u64)nearest(a, k + 4 * part + i) * a.stride + from;
#pragma unroll
        for (int tile = 0; tile < 4; tile++) {
            real terms[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const pair two = *reinterpret_cast<const pair*>(lines[i] + 2 * tile);
                terms[i] = group % 2 ? two.y : two.x;
            }
            const pair b[2] = {{terms[0], terms[1]}, {terms[2], terms[3]}};
            MULTIPLY(sums[4 * half + tile], parts, b);
        }
    }
}

// The same a value at a time, for matrices that cannot be read so.
__device__ __forceinline__ void add_down_slowly(real* dx, const Matrix& ds, const Matrix& a, int row, int column) {
    for (int i = threadIdx.x % WARP; i < ADD_ROWS * ADD_COLUMNS; i += WARP) {
        const int r = row + i / ADD_COLUMNS, c = column + i % ADD_COLUMNS;
        if (r >= ds.rows || c >= a.columns) continue;
        real* to = dx + (u64)r * ds.stride + c;
        float sum = 0.0f;
        for (int k = 0; k < a.rows; k++)
            sum += widen(ds.values[(u64)r * ds.stride + k]) * widen(a.values[(u64)k * a.stride + c]);
        *to = narrow(widen(*to) + sum);
    }
}

// dx [rows, width] += ds [rows, rank] times the stacked A [rank, width]; ds and dx are columns of one matrix.
extern "C" __global__ __launch_bounds__(128, 5) void lora_add_down(real* dx, const real* ds, const real* a, int stride,
                                                                int a_stride, int rows, int width, int rank) {
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    const int column = blockIdx.x * ADD_COLUMNS, row = (blockIdx.y * ADD_WARPS + threadIdx.x / WARP) * ADD_ROWS;
    const Matrix old = {dx, stride, rows, width}, terms = {ds, stride, rows, rank}, stack = {a, a_stride, rank, width};
    if (!is_even<8>(old) || !is_even<4>(terms) || !is_even<8>(stack))
        return add_down_slowly(dx, terms, stack, row, column);
    // Asked for first: all that a warp reads of dx is on its way while it multiplies.
    few<real, 8> values[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        values[i] = take<8, true>(old, nearest(old, row + i / 2 * 8 + group), column + i % 2 * 32 + 8 * part);
    float sums[8][4] = {};
    for (int k = 0; k < rank; k += 16) add_down(sums, terms, stack, row, column, k);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int r = row + i / 2 * 8 + group, c = column + i % 2 * 32 + 8 * part;
        if (r >= rows || c >= width) continue;
#pragma unroll
        for (int j = 0; j < 8; j++)
            values[i].v[j] = narrow(widen(values[i].v[j]) + sums[i % 2 * 4 + j / 2][i / 2 * 2 + j % 2]);
        *reinterpret_cast<few<real, 8>*>(dx + (u64)r * stride + c) = values[i];
    }
}

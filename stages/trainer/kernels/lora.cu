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

// Gradients are sums over rows, [columns of thin, columns of wide] = thin^T wide. A warp makes 64 x 32 of one over a
// share of the rows.
#define GRADIENT_WARPS 4
#define GRADIENT_WIDE (GRADIENT_WARPS * 32)
#define GRADIENT_THIN 64

// Sixteen rows of the four columns 4 g .. 4 g + 4 from `column` on, as the matrix instruction takes them where it sums
// over rows: pairs[c] are those of one column at rows 2 t, 2 t + 1 and at rows 2 t + 8, 2 t + 9.
template <bool WHOLE>
__device__ __forceinline__ void take_columns(pair (&pairs)[4][2], const Matrix& m, int row, int column) {
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const few<real, 4> first = take<4, WHOLE>(m, row + 8 * half + 2 * part, column + 4 * group);
        const few<real, 4> second = take<4, WHOLE>(m, row + 8 * half + 2 * part + 1, column + 4 * group);
#pragma unroll
        for (int c = 0; c < 4; c++) pairs[c][half] = {first.v[c], second.v[c]};
    }
}

template <bool WHOLE>
__device__ __forceinline__ void gradient(float (&sums)[2][8][4], const Matrix& wide, const Matrix& thin,
                                         int wide_column, int thin_column, int row) {
    pair left[4][2], right[2][4][2];
    take_columns<WHOLE>(left, wide, row, wide_column);
#pragma unroll
    for (int half = 0; half < 2; half++)
        if (WHOLE && thin_column + 32 * half < thin.columns)
            take_columns<WHOLE>(right[half], thin, row, thin_column + 32 * half);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (thin_column + 32 * half >= thin.columns) continue;
        // Above, so that all is awaited together; here, where registers are scarce.
        if (!WHOLE) take_columns<WHOLE>(right[half], thin, row, thin_column + 32 * half);
#pragma unroll
        for (int c = 0; c < 8; c++) {
            const pair(&top)[2] = left[c % 2 * 2], (&low)[2] = left[c % 2 * 2 + 1];
            const pair parts[4] = {top[0], low[0], top[1], low[1]};
            MULTIPLY(sums[c % 2][4 * half + c / 2], parts, right[half][c / 2]);
        }
    }
}

// partials [shares, thin_width, wide_width]: the gradients over every share of the rows of wide [rows, wide_width] and
// of thin [rows, thin_width].
extern "C" __global__ __launch_bounds__(128, 4) void lora_gradient(float* partials, const real* wide, const real* thin,
                                                                int wide_stride, int thin_stride, int wide_width,
                                                                int thin_width, int rows, int share) {
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    const int n = blockIdx.x * GRADIENT_THIN, m = blockIdx.y * GRADIENT_WIDE + threadIdx.x / WARP * 32;
    int row = blockIdx.z * share;
    const int last = min(row + share, rows);
    const Matrix wides = {wide, wide_stride, last, wide_width}, thins = {thin, thin_stride, last, thin_width};
    const bool even = is_even<4>(wides) && is_even<4>(thins);
    float sums[2][8][4] = {};
    if (even)
        for (; row + 16 <= last; row += 16) gradient<true>(sums, wides, thins, m, n, row);
    for (; row < last; row += 16) gradient<false>(sums, wides, thins, m, n, row);
    partials += (u64)blockIdx.z * thin_width * wide_width;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        // Of thin a lane has two columns of every tile, of wide four side by side.
        const int tile = i / 2, side = i % 2, to_n = n + tile / 4 * 32 + 4 * (2 * part + side) + tile % 4;
        const int to_m = m + 4 * group;
        const float(&first)[4] = sums[0][tile], (&second)[4] = sums[1][tile];
        const few<float, 4> found = {first[side], first[side + 2], second[side], second[side + 2]};
        float* to = partials + (u64)to_n * wide_width + to_m;
        if (to_n >= thin_width || to_m >= wide_width) continue;
        if (wide_width % 4 == 0) *reinterpret_cast<few<float, 4>*>(to) = found;
        else
            for (int j = 0; j < min(4, wide_width - to_m); j++) to[j] = found.v[j];
    }
}

// gradient += scale times the sum of partials [shares, thin, wide] in their order. The value of column i of thin and j
// of wide is at i * thin_step + j * wide_step.
extern "C" __global__ __launch_bounds__(256) void lora_gradient_sum(float* gradient, const float* partials, int shares,
                                                                    int wide, int thin, int wide_step, int thin_step,
                                                                    float scale) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= wide * thin) return;
    float sum = 0.0f;
    for (int share = 0; share < shares; share++) sum += partials[(u64)share * wide * thin + at];
    gradient[(u64)(at / wide) * thin_step + (u64)(at % wide) * wide_step] += scale * sum;
}

// dx += dS A: a warp makes 32 rows and 64 columns, of which a lane has 16 side by side in four rows.
#define ADD_WARPS 4
#define ADD_COLUMNS 64

template <bool WHOLE>
__device__ __forceinline__ void add_down(float (&sums)[2][8][4], const Matrix& ds, const Matrix& a, int row, int column,
                                         int k) {
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    few<real, 4> left[4];
    few<real, 8> right[4];
#pragma unroll
    for (int i = 0; i < 4; i++) left[i] = take<4, WHOLE>(ds, nearest(ds, row + 8 * i + group), k + 4 * part);
#pragma unroll
    for (int i = 0; i < 4; i++) right[i] = take<8, WHOLE>(a, k + 4 * part + i, column + 8 * group);
#pragma unroll
    for (int tile = 0; tile < 8; tile++) {
        const pair b[2] = {{right[0].v[tile], right[1].v[tile]}, {right[2].v[tile], right[3].v[tile]}};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const few<real, 4>&top = left[2 * half], &low = left[2 * half + 1];
            const pair parts[4] = {pair_at(top, 0), pair_at(low, 0), pair_at(top, 2), pair_at(low, 2)};
            MULTIPLY(sums[half][tile], parts, b);
        }
    }
}

// dx [rows, width] += ds [rows, rank] times the stacked A [rank, width]; ds and dx are columns of one matrix.
extern "C" __global__ __launch_bounds__(128, 4) void lora_add_down(real* dx, const real* ds, const real* a, int stride,
                                                                int a_stride, int rows, int width, int rank) {
    const int group = threadIdx.x % WARP / 4, part = threadIdx.x % 4;
    const int column = blockIdx.x * ADD_COLUMNS, row = (blockIdx.y * ADD_WARPS + threadIdx.x / WARP) * 32;
    const Matrix old = {dx, stride, rows, width}, terms = {ds, stride, rows, rank}, stack = {a, a_stride, rank, width};
    const bool even = is_even<8>(old) && is_even<4>(terms) && is_even<8>(stack);
    float sums[2][8][4] = {};
    int k = 0;
    if (even)
        for (; k + 16 <= rank; k += 16) add_down<true>(sums, terms, stack, row, column, k);
    for (; k < rank; k += 16) add_down<false>(sums, terms, stack, row, column, k);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        // Eight columns of a row: column n of tile j of the sums is column 8 n + j.
        const int r = row + i / 2 * 8 + group, c = column + 8 * (2 * part + i % 2);
        if (r >= rows || c >= width) continue;
        few<real, 8> values = even ? take<8, true>(old, r, c) : take<8, false>(old, r, c);
#pragma unroll
        for (int j = 0; j < 8; j++) values.v[j] = narrow(widen(values.v[j]) + sums[i / 4][j][i / 2 % 2 * 2 + i % 2]);
        real* to = dx + (u64)r * stride + c;
        if (even) *reinterpret_cast<few<real, 8>*>(to) = values;
        else
            for (int j = 0; j < min(8, width - c); j++) to[j] = values.v[j];
    }
}

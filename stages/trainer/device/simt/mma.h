// The matrix instruction as a warp operation: each lane hands in its part of A and B, and adds its part of A B.
// Beside it, how such parts come from shared memory, and what copies to it while the thread goes on.
//
// Layout of m16n8k16 in the PTX manual, with g = lane / 4 and t = lane % 4: A [16][16] has a[0] at (g, 2t) and (g, 2t + 1),
// a[1] at (g + 8, 2t), a[2] at (g, 2t + 8), a[3] at (g + 8, 2t + 8); B [16][8] has b[0] at (2t, g) and (2t + 1, g), b[1] at
// (2t + 8, g); the sums [16][8] have 0 and 1 at (g, 2t), 2 and 3 at (g + 8, 2t).
#pragma once

namespace simt {

[[noreturn]] inline void misaligned(int line) {
    fprintf(stderr, "misaligned: the 16 bytes of line %d\n", line);
    abort();
}

template <class Pair> struct Parts {
    Pair a[4], b[2];
};

template <class Pair, class Widen>
UNCHECKED void multiply(float (&sums)[4], const Pair (&a)[4], const Pair (&b)[2], Widen widen, int line) {
    Parts<Pair> mine;
    memcpy(mine.a, a, sizeof a);
    memcpy(mine.b, b, sizeof b);
    auto all = exchange(mine, line);
    unsigned group = lane() / 4, t = lane() % 4;
    for (int part = 0; part < 4; part++) {
        float sum = 0.0f;
        for (unsigned two = 0; two < 8; two++) {
            const Pair& left = all[group * 4 + two % 4].a[(two / 4) * 2 + part / 2];
            const Pair& right = all[(2 * t + part % 2) * 4 + two % 4].b[two / 4];
            sum += widen(left.x) * widen(right.x);
            sum += widen(left.y) * widen(right.y);
        }
        sums[part] += sum;
    }
}

// Four matrices [8][8], of which lane 8 i + r names row r of matrix i.
template <class Pair, class Real>
void load_matrices(Pair (&into)[4], const Real* row, bool transposed, int line) {
    auto rows = exchange(row, line);
    // A row is read as 16 bytes, so that a wrong alignment is an error here too.
    auto at = [&](unsigned matrix, unsigned r, unsigned c) {
        if (reinterpret_cast<uintptr_t>(rows[8 * matrix + r]) % 16 != 0) misaligned(line);
        return rows[8 * matrix + r][c];
    };
    const unsigned g = lane() / 4, t = lane() % 4;
    for (unsigned i = 0; i < 4; i++)
        into[i] = transposed ? Pair{at(i, 2 * t, g), at(i, 2 * t + 1, g)} : Pair{at(i, g, 2 * t), at(i, g, 2 * t + 1)};
}

// As late as a GPU may do it: when the thread waits.
template <class Real> void copy_async(Real* to, const Real* from, bool there, int line) {
    for (const Real* at : {const_cast<const Real*>(to), from})
        if (reinterpret_cast<uintptr_t>(at) % 16 != 0) misaligned(line);
    running->copies.push_back([=] {
        for (int i = 0; i < 8; i++) to[i] = there ? from[i] : Real{};
    });
}

inline void copy_wait() {
    for (auto& copy : running->copies) copy();
    running->copies.clear();
}

} // namespace simt

#define LOAD_MATRICES(into, row) simt::load_matrices(into, row, false, __LINE__)
#define LOAD_TRANSPOSED(into, row) simt::load_matrices(into, row, true, __LINE__)
#define COPY_ASYNC(to, from, there) simt::copy_async(to, from, there, __LINE__)
#define COPY_WAIT() simt::copy_wait()
#define MULTIPLY(sums, a, b) simt::multiply(sums, a, b, [](real x) { return widen(x); }, __LINE__)

// The matrix instruction as a warp operation: each lane hands in its part of A and B, and adds its part of A B.
//
// Layout of m16n8k16 in the PTX manual, with g = lane / 4 and t = lane % 4: A[16][16] has v[0,1] at (g, 2t), v[2,3] at
// (g + 8, 2t), v[4,5] at (g, 2t + 8), v[6,7] at (g + 8, 2t + 8); B[16][8] has v[0,1] at (2t, g), v[2,3] at (2t + 8, g);
// the sums [16][8] have v[0,1] at (g, 2t), v[2,3] at (g + 8, 2t).
#pragma once

namespace simt {

template <class T> struct Parts {
    T a[8], b[4];
};

template <class T, class Widen> void multiply(float (&sums)[4], const T (&a)[8], const T (&b)[4], Widen widen, int line) {
    Parts<T> mine, all[LANES];
    memcpy(mine.a, a, sizeof a);
    memcpy(mine.b, b, sizeof b);
    exchange(mine, line, all);
    unsigned group = lane() / 4, t = lane() % 4;
    for (int part = 0; part < 4; part++) {
        unsigned row = group + (part / 2) * 8, column = 2 * t + part % 2;
        float sum = 0.0f;
        for (unsigned k = 0; k < 16; k++) {
            unsigned from = (row % 8) * 4 + (k % 8) / 2, to = column * 4 + (k % 8) / 2;
            float left = widen(all[from].a[(k / 8) * 4 + (row / 8) * 2 + k % 2]);
            sum += left * widen(all[to].b[(k / 8) * 2 + k % 2]);
        }
        sums[part] += sum;
    }
}

} // namespace simt

#define MULTIPLY(sums, a, b) simt::multiply(sums, a, b, [](real x) { return widen(x); }, __LINE__)

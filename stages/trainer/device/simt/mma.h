// The matrix instruction as a warp operation: each lane hands in its part of A and B, and adds its part of A B.
//
// Layout of m16n8k16 in the PTX manual, with g = lane / 4 and t = lane % 4: A [16][16] has a[0] at (g, 2t) and (g, 2t + 1),
// a[1] at (g + 8, 2t), a[2] at (g, 2t + 8), a[3] at (g + 8, 2t + 8); B [16][8] has b[0] at (2t, g) and (2t + 1, g), b[1] at
// (2t + 8, g); the sums [16][8] have 0 and 1 at (g, 2t), 2 and 3 at (g + 8, 2t).
#pragma once

namespace simt {

template <class Pair> struct Parts {
    Pair a[4], b[2];
};

template <class Pair, class Widen>
void multiply(float (&sums)[4], const Pair (&a)[4], const Pair (&b)[2], Widen widen, int line) {
    Parts<Pair> mine, all[LANES];
    memcpy(mine.a, a, sizeof a);
    memcpy(mine.b, b, sizeof b);
    exchange(mine, line, all);
    auto half = [&](const Pair& pair, unsigned k) { return widen(k % 2 ? pair.y : pair.x); };
    for (int part = 0; part < 4; part++) {
        unsigned row = lane() / 4 + (part / 2) * 8, column = 2 * (lane() % 4) + part % 2;
        float sum = 0.0f;
        for (unsigned k = 0; k < 16; k++) {
            const Parts<Pair>&left = all[(row % 8) * 4 + (k % 8) / 2], &right = all[column * 4 + (k % 8) / 2];
            sum += half(left.a[(k / 8) * 2 + row / 8], k) * half(right.b[k / 8], k);
        }
        sums[part] += sum;
    }
}

} // namespace simt

#define MULTIPLY(sums, a, b) simt::multiply(sums, a, b, [](real x) { return widen(x); }, __LINE__)

// CUDA's model of threads on one core: every thread of a block is a fiber, and runs until it waits for others.
//
// What a GPU leaves undefined is an error here: threads that wait at different barriers, or end before one that others
// wait at; a warp operation that not all lanes reach. Memory of every allocation and of every block's shared memory has
// its exact size (AddressSanitizer sees a step beyond it) and holds NaN until it is written. Blocks run one after the
// other. Threads run in an order that the launch names: a result that depends on it shows a barrier that is missing.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ucontext.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

struct dim3 {
    unsigned x, y, z;
};

namespace simt {

// Of the simulation itself nothing need be checked; what a kernel does in its own code is.
#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

constexpr size_t STACK = 256 << 10;
constexpr unsigned LANES = 32;

enum class Order { Forward, Backward, Mixed };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    dim3 thread{};
    bool done = false;
    // The line of the barrier, or of the warp operation, that the thread waits at; 0 where it can run.
    int barrier = 0, warp = 0;
    // What it hands to the lanes of its warp, and what all of them handed in.
    alignas(16) unsigned char given[64];
    const unsigned char (*all)[64] = nullptr;
    // What it has begun to copy and not waited for.
    std::vector<std::function<void()>> copies;
    void* fake_stack = nullptr;
};

inline dim3 grid, block, block_index;
inline std::vector<Fiber> fibers;
inline std::vector<unsigned char[LANES][64]> exchanged;
inline Fiber* running = nullptr;
inline ucontext_t scheduler;
inline std::unique_ptr<unsigned char[]> shared_memory;
inline std::function<void()> body;
inline std::string fault;
inline const void* main_stack = nullptr;
inline size_t main_size = 0;

inline void enter(Fiber& fiber) {
    running = &fiber;
#ifdef __SANITIZE_ADDRESS__
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack.get(), STACK);
#endif
    swapcontext(&scheduler, &fiber.context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

inline void leave() {
    Fiber& fiber = *running;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fiber.done ? nullptr : &fiber.fake_stack, main_stack, main_size);
#endif
    swapcontext(&fiber.context, &scheduler);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fiber.fake_stack, &main_stack, &main_size);
#endif
}

inline void main_of_fiber() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_size);
#endif
    body();
    running->done = true;
    leave();
}

inline void barrier(int line) {
    running->barrier = line;
    leave();
}

// What the lanes of a warp handed in, until they meet again.
template <class T> struct All {
    const unsigned char (*given)[64];
    UNCHECKED const T& operator[](unsigned lane) const { return *reinterpret_cast<const T*>(given[lane]); }
};

// Hands a value to the warp and returns those of all lanes, once all have come.
template <class T> UNCHECKED All<T> exchange(const T& value, int line) {
    static_assert(sizeof(T) <= 64);
    memcpy(running->given, &value, sizeof(T));
    running->warp = line;
    leave();
    return {running->all};
}

inline unsigned lane() { return running->thread.x % LANES; }

inline std::string place(const Fiber& fiber) {
    std::string at = "thread " + std::to_string(fiber.thread.x) + " of block " + std::to_string(block_index.x) + "," +
                     std::to_string(block_index.y) + "," + std::to_string(block_index.z);
    if (fiber.done) return at + " has ended";
    return at + (fiber.barrier ? " waits at the barrier of line " + std::to_string(fiber.barrier)
                               : " waits at the warp operation of line " + std::to_string(fiber.warp));
}

// Lets a warp go of which all lanes wait at one operation; whether it did.
UNCHECKED inline bool release_warp(size_t warp) {
    Fiber* lanes = &fibers[warp * LANES];
    for (unsigned lane = 0; lane < LANES; lane++)
        if (lanes[lane].warp == 0 || lanes[lane].warp != lanes[0].warp) return false;
    for (unsigned lane = 0; lane < LANES; lane++) {
        memcpy(exchanged[warp][lane], lanes[lane].given, 64);
        lanes[lane].all = exchanged[warp];
        lanes[lane].warp = 0;
    }
    return true;
}

// Lets the block go where all its threads wait at one barrier.
UNCHECKED inline bool release_block() {
    int line = fibers[0].barrier;
    for (Fiber& fiber : fibers)
        if (line == 0 || fiber.done || fiber.barrier != line) return false;
    for (Fiber& fiber : fibers) fiber.barrier = 0;
    return true;
}

UNCHECKED inline void run_if_it_can(Fiber& fiber) {
    if (!fiber.done && !fiber.barrier && !fiber.warp) enter(fiber);
}

// Runs every thread that can, and lets warps go; whether one went. A warp runs on as far as it can before the next one
// does, or, in mixed order, all warps for an operation.
UNCHECKED inline bool turn(Order order, unsigned seed) {
    const size_t count = fibers.size(), warps = count / LANES;
    bool went = false;
    if (order == Order::Mixed) {
        for (size_t at = 0; at < count; at++) run_if_it_can(fibers[(at * 37 + seed) % count]);
        for (size_t warp = 0; warp < warps; warp++) went |= release_warp(warp);
        return went;
    }
    for (size_t at = 0; at < warps; at++) {
        const size_t warp = order == Order::Forward ? at : warps - 1 - at;
        do {
            for (unsigned i = 0; i < LANES; i++)
                run_if_it_can(fibers[warp * LANES + (order == Order::Forward ? i : LANES - 1 - i)]);
        } while (release_warp(warp));
    }
    return went;
}

UNCHECKED inline bool all_ended() {
    for (const Fiber& fiber : fibers)
        if (!fiber.done) return false;
    return true;
}

inline bool run_block(Order order) {
    unsigned seed = block_index.x + 1;
    for (Fiber& fiber : fibers) {
        fiber.done = false;
        fiber.barrier = fiber.warp = 0;
        fiber.copies.clear();
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, main_of_fiber, 0);
    }
    while (true) {
        const bool went = turn(order, seed);
        seed = seed * 1103515245u + 12345u;
        if (all_ended()) return true;
        if (!went && !release_block()) {
            Fiber* one = nullptr;
            for (Fiber& fiber : fibers) {
                if (!one) one = &fiber;
                else if (fiber.done != one->done || fiber.barrier != one->barrier || fiber.warp != one->warp) {
                    fault = "threads part: " + place(*one) + ", " + place(fiber);
                    return false;
                }
            }
            fault = "stuck: " + place(fibers[0]);
            return false;
        }
    }
}

// Runs a kernel over a grid. False where it did what a GPU leaves undefined; `fault` says what.
inline bool run(dim3 grid_size, dim3 block_size, size_t shared_bytes, Order order, std::function<void()> kernel) {
    fault.clear();
    if (block_size.x % LANES != 0 || block_size.x > 1024 || block_size.y != 1 || block_size.z != 1) {
        fault = "a block has a whole number of warps, in one dimension, and at most 1024 threads";
        return false;
    }
    if (grid_size.x < 1 || grid_size.y < 1 || grid_size.z < 1 || grid_size.y > 65535 || grid_size.z > 65535) {
        fault = "a grid has at least one block in every dimension, and at most 65535 in the second and third";
        return false;
    }
    grid = grid_size, block = block_size, body = std::move(kernel);
    if (fibers.size() != block.x) {
        fibers = std::vector<Fiber>(block.x);
        exchanged = std::vector<unsigned char[LANES][64]>(block.x / LANES);
        for (unsigned x = 0; x < block.x; x++) fibers[x].thread = {x, 0, 0};
    }
    for (block_index.z = 0; block_index.z < grid.z; block_index.z++)
        for (block_index.y = 0; block_index.y < grid.y; block_index.y++)
            for (block_index.x = 0; block_index.x < grid.x; block_index.x++) {
                shared_memory.reset(new unsigned char[shared_bytes]);
                memset(shared_memory.get(), 0xff, shared_bytes);
                if (!run_block(order)) return false;
            }
    return true;
}

} // namespace simt

// For what the host does otherwise.
#define SIMT
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define threadIdx (simt::running->thread)
#define blockIdx (simt::block_index)
#define blockDim (simt::block)
#define gridDim (simt::grid)
#define __syncthreads() simt::barrier(__LINE__)
#define __syncwarp() ((void)simt::shuffle(0, 0, __LINE__))
#define __shfl_xor_sync(mask, value, with) simt::shuffle(value, simt::lane() ^ (unsigned)(with), __LINE__)
#define __shfl_sync(mask, value, from) simt::shuffle(value, (unsigned)(from) % simt::LANES, __LINE__)
#define __any_sync(mask, value) simt::any(value, __LINE__)
#define __all_sync(mask, value) (!simt::any(!(value), __LINE__))
// Shared memory of the size that the launch gives.
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(simt::shared_memory.get())

namespace simt {
template <class T> T shuffle(T value, unsigned from, int line) {
    return exchange(value, line)[from];
}
inline bool any(bool value, int line) {
    auto all = exchange(value, line);
    bool some = false;
    for (unsigned lane = 0; lane < LANES; lane++) some = some || all[lane];
    return some;
}
} // namespace simt

inline float __uint_as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
template <class A, class B> auto min(A a, B b) { return b < a ? b : a; }
template <class A, class B> auto max(A a, B b) { return a < b ? b : a; }

#include "mma.h"

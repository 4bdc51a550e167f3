// A machine that a test talks to over its standard input and output: memory, launches and products.
//
// Every command is a line of text, and bytes where it says so; every answer is a line that begins with `ok` or `error`, and
// bytes. Addresses are this process's own. What AddressSanitizer finds ends the process, with its report on standard error.
#pragma once

#include <iostream>
#include <map>
#include <new>
#include <sstream>
#include <tuple>

#include "simt.h"

namespace simt {

// What addresses of memory are multiples of, as a GPU's are.
constexpr std::align_val_t ALIGNMENT{256};

// Reads a launch's arguments in the order of the kernel's parameters.
struct Arguments {
    std::istream& line;
    template <class T> T next() {
        if constexpr (std::is_pointer_v<T>) {
            uint64_t address = 0;
            line >> address;
            return reinterpret_cast<T>(address);
        } else if constexpr (std::is_floating_point_v<T>) {
            uint32_t bits = 0;
            line >> bits;
            return __uint_as_float(bits);
        } else {
            T value{};
            line >> value;
            return value;
        }
    }
};

using Kernel = std::function<std::function<void()>(std::istream&, std::string&)>;

// A kernel with its parameters' types, which are read from a line. A line with more or fewer is an error.
template <class... T> Kernel kernel(void (*function)(T...)) {
    return [function](std::istream& line, std::string& error) -> std::function<void()> {
        Arguments arguments{line};
        std::tuple<std::remove_const_t<T>...> values{arguments.next<std::remove_const_t<T>>()...};
        std::string more;
        if (line.fail() || line >> more) error = "takes " + std::to_string(sizeof...(T)) + " arguments";
        return [=] { std::apply(function, values); };
    };
}

// C [m][n] = A B + beta C, A [m][k] and B [k][n] or their transposes lie row by row with strides. Types: f (float), r (real).
struct Product {
    size_t m, n, k, lda, ldb, ldc;
    int transpose_a, transpose_b;
    float beta;
    char type_a, type_b, type_c;
};

template <class Widen, class Narrow, size_t SIZE>
void multiply(const Product& p, uint64_t a, uint64_t b, uint64_t c, Widen widen, Narrow narrow) {
    auto read = [&](char type, uint64_t base, size_t at) {
        return type == 'f' ? reinterpret_cast<float*>(base)[at] : widen(base + at * SIZE);
    };
    for (size_t row = 0; row < p.m; row++)
        for (size_t column = 0; column < p.n; column++) {
            float sum = 0.0f;
            for (size_t k = 0; k < p.k; k++)
                sum += read(p.type_a, a, p.transpose_a ? k * p.lda + row : row * p.lda + k) *
                       read(p.type_b, b, p.transpose_b ? column * p.ldb + k : k * p.ldb + column);
            size_t at = row * p.ldc + column;
            if (p.beta != 0.0f) sum += p.beta * read(p.type_c, c, at);
            if (p.type_c == 'f') reinterpret_cast<float*>(c)[at] = sum;
            else narrow(c + at * SIZE, sum);
        }
}

inline void answer(const std::string& text) { std::cout << (text.empty() ? "ok" : "error " + text) << std::endl; }

inline void launch(std::istream& line, const std::map<std::string, Kernel>& kernels) {
    std::string name, error;
    dim3 grid, block;
    size_t shared = 0;
    int order = 0;
    line >> name >> grid.x >> grid.y >> grid.z >> block.x >> block.y >> block.z >> shared >> order;
    auto found = kernels.find(name);
    if (found == kernels.end()) return answer("there is no kernel " + name);
    auto body = found->second(line, error);
    if (error.empty() && !run(grid, block, shared, static_cast<Order>(order), body)) error = fault;
    answer(error.empty() ? "" : name + ": " + error);
}

template <class Multiply> int serve(const std::map<std::string, Kernel>& kernels, Multiply product) {
    std::string text, what;
    while (std::getline(std::cin, text)) {
        std::istringstream line(text);
        uint64_t address = 0, bytes = 0;
        line >> what;
        if (what == "allocate") {
            line >> bytes;
            auto* memory = new (ALIGNMENT) unsigned char[bytes];
            memset(memory, 0xff, bytes);
            std::cout << "ok " << reinterpret_cast<uint64_t>(memory) << std::endl;
        } else if (what == "free") {
            line >> address;
            operator delete[](reinterpret_cast<void*>(address), ALIGNMENT);
            answer("");
        } else if (what == "write") {
            line >> address >> bytes;
            std::cin.read(reinterpret_cast<char*>(address), bytes);
            answer("");
        } else if (what == "zero") {
            line >> address >> bytes;
            memset(reinterpret_cast<void*>(address), 0, bytes);
            answer("");
        } else if (what == "read") {
            line >> address >> bytes;
            answer("");
            std::cout.write(reinterpret_cast<char*>(address), bytes).flush();
        } else if (what == "launch") {
            launch(line, kernels);
        } else if (what == "multiply") {
            uint64_t a, b, c;
            Product p;
            line >> p.m >> p.n >> p.k >> p.lda >> p.ldb >> p.ldc >> p.transpose_a >> p.transpose_b >> p.beta;
            line >> p.type_a >> p.type_b >> p.type_c >> a >> b >> c;
            const bool empty = p.m < 1 || p.n < 1 || p.k < 1;
            if (!empty) product(p, a, b, c);
            answer(empty ? "a product of nothing" : "");
        } else {
            answer("there is no command " + what);
        }
    }
    return 0;
}

} // namespace simt

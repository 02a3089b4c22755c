#pragma once
// Numbers that begin a cache line, so that no whole vector of them lies on two.

#include <cstddef>
#include <new>
#include <vector>

namespace ase_mlip::simd {

template <typename T> struct Aligned {
    using value_type = T;
    static constexpr std::align_val_t alignment{64}; // bytes

    Aligned() = default;
    template <typename U> Aligned(const Aligned<U>&) {}

    T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), alignment)); }
    void deallocate(T* numbers, std::size_t) { ::operator delete(numbers, alignment); }
    friend bool operator==(const Aligned&, const Aligned&) { return true; }
};

template <typename T> using Numbers = std::vector<T, Aligned<T>>;

} // namespace ase_mlip::simd

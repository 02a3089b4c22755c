#pragma once
// What a test without torch counts and prints.

#include <cstdio>

inline int failures = 0;

inline void expect(bool passed, const char* what, double value) {
    std::printf("%s  %s: %.3g\n", passed ? "ok  " : "FAIL", what, value);
    failures += passed ? 0 : 1;
}

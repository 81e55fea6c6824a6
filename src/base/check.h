#pragma once

namespace tide::internal {

/// Prints the broken invariant with its place to standard error and aborts.
[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace tide::internal

/// States an invariant of our own code; stays on in production, because stopping beats corrupting.
/// Never used on input: bytes from disk, network or a user return kCorrupt or kInvalid instead.
#define TIDE_CHECK(expression)                                         \
  do {                                                                 \
    if (!(expression)) [[unlikely]] {                                  \
      ::tide::internal::check_failed(#expression, __FILE__, __LINE__); \
    }                                                                  \
  } while (false)

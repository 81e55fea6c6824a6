#pragma once

#include <chrono>
#include <cstdint>

namespace tide::env {

/// Sleeps while `*word` is `expected`, until somebody wakes the word's sleepers or `timeout` has
/// passed; may return early for no reason. The word may lie in memory that processes share.
void futex_wait(const uint32_t* word, uint32_t expected, std::chrono::milliseconds timeout);

/// Wakes all that sleep on the word, in every process.
void futex_wake_all(const uint32_t* word);

}  // namespace tide::env

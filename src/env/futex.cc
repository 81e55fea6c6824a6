#include "env/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>

namespace tide::env {

void futex_wait(const uint32_t* word, uint32_t expected, std::chrono::milliseconds timeout) {
  auto patience_ms = std::max<int64_t>(0, timeout.count());
  timespec patience{patience_ms / 1000, patience_ms % 1000 * 1000000};
  ::syscall(SYS_futex, word, FUTEX_WAIT, expected, &patience, nullptr, 0);
}

void futex_wake_all(const uint32_t* word) {
  ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace tide::env

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/page_tag.h"
#include "base/result.h"
#include "contracts/redo_ring.h"
#include "env/file.h"
#include "redo/redo_pool.h"

namespace tide::redo::internal {

/// The pool's side of one helper's ring (contracts/redo_ring.h): one batch at a time.
///
/// What the helper could overwrite is never trusted: where things lie is remembered here.
class Ring {
 public:
  static Result<std::unique_ptr<Ring>> create(size_t bytes);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  int fd() const { return fd_.get(); }
  /// Bytes of the largest record that a batch of one page can carry.
  size_t record_bytes_max() const;

  /// Before a helper is started on it; none may live.
  void reset();

  /// Begins a batch of at most this many pages.
  void begin(size_t page_count_max);
  /// Adds a page with as many of its records as fit and returns how many that were; 0: nothing
  /// added. Unless the batch is empty a page goes in whole or not at all.
  size_t add(const PageTag& tag, const std::byte* base, std::span<const Record> records);
  size_t page_count() const { return image_offsets_.size(); }

  /// Hands the batch to the helper.
  void submit();
  bool is_answered() const;
  /// Sleeps until something has happened to the answer (or for no reason), at most this long.
  void wait(std::chrono::nanoseconds timeout) const;
  /// The helper is dead: wakes the waiter. Not an answer.
  void abandon();

  /// Pages of the batch that the helper says it has finished, at most page_count().
  size_t done_pages() const;
  uint32_t helper_state() const;
  /// Result of a finished page; copies the page to `out` if it is TIDE_REDO_OK.
  uint32_t take(size_t index, std::byte* out, std::string* error) const;

 private:
  Ring(env::FileDescriptor fd, std::byte* memory, size_t bytes);
  TideRedoHeader* header() const { return reinterpret_cast<TideRedoHeader*>(memory_); }
  TideRedoPage* page(size_t index) const {
    return reinterpret_cast<TideRedoPage*>(memory_ + TIDE_REDO_PAGES_OFFSET) + index;
  }

  env::FileDescriptor fd_;
  std::byte* memory_;
  size_t bytes_;
  uint32_t number_ = 0;  ///< of the newest batch
  size_t free_offset_ = 0;
  size_t page_count_max_ = 0;
  std::vector<size_t> image_offsets_;
};

}  // namespace tide::redo::internal

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"

namespace tide::redo {

/// One WAL record as the page's history holds it.
struct Record {
  Lsn end_lsn;      ///< of the record; becomes the page's LSN
  BytesView bytes;  ///< the whole raw record, xl_tot_len bytes
};

/// One page to bring forward. The caller owns everything that is pointed to.
struct PageRequest {
  PageTag tag;
  /// kPageSize bytes, or null: then the first record must initialise the page or bring its image.
  const std::byte* base = nullptr;
  /// In WAL order, at least one, all with an end behind the base's LSN and all naming this block. A
  /// visibility map page also takes the heap records that cleared its bits without naming it.
  std::span<const Record> records;
  std::byte* out = nullptr;  ///< kPageSize bytes; may be `base`; undefined unless `status` is OK
  /// kInvalid: the records cannot belong to this page as they are. kCorrupt: PostgreSQL's redo
  /// raised an error, or crashed twice, on this page (DETAIL: the helper's last words).
  Status status;
};

struct Options {
  std::string directory;           ///< scratch: data directories and logs of the helpers
  std::string postgres;            ///< the server program
  std::string library;             ///< tidewater.so, absolute
  std::string template_directory;  ///< a cluster made by initdb without checksums: gives pg_control
  std::string instance;            ///< appears in the helpers' process arguments
  int helpers = 2;
  std::chrono::milliseconds batch_timeout{60'000};
  size_t ring_bytes = 16 << 20;  ///< of each helper; memory is used only as batches fill it
};

struct Stats {
  uint64_t batches = 0;
  uint64_t pages = 0;    ///< brought forward
  uint64_t records = 0;  ///< applied to them
  uint64_t failed_pages = 0;
  uint64_t helper_starts = 0;
  uint64_t helper_deaths = 0;  ///< unexpected ones: crashes, timeouts, redo errors
  uint64_t busy_micros = 0;    ///< sum over batches, hand-over to result
  int helpers = 0;
  int helpers_alive = 0;
};

/// Stock PostgreSQL's redo functions as a service: pages and WAL records in, pages out.
///
/// Helpers are `postgres --single` processes with tidewater.so in its redo role, sandboxed, each
/// behind one shared-memory ring. They start in the background, end with this process, and are
/// replaced when they die; a page that fails takes no other page with it.
class RedoPool {
 public:
  /// Checks the options and begins to start the helpers. kDenied for root: PostgreSQL refuses to
  /// run so.
  static Result<std::unique_ptr<RedoPool>> open(Options options);
  /// Ends the helpers. No call to apply() may be under way.
  ~RedoPool();
  RedoPool(const RedoPool&) = delete;
  RedoPool& operator=(const RedoPool&) = delete;

  /// Applies each page's records and sets each page's `status`. Any number of threads, pages and
  /// records; blocks. An error means that helpers could not be had (kUnavailable, kRetry): pages
  /// without a result then carry it too.
  Status apply(std::span<PageRequest> pages);

  Stats stats() const;

 private:
  class Impl;
  explicit RedoPool(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tide::redo

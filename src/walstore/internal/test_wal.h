#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "env/file.h"
#include "pgformat/wal_format.h"
#include "pgformat/wal_segment.h"

/// For tests only.
namespace tide::walstore {

/// A directory that goes with it.
class TestDirectory {
 public:
  TestDirectory() {
    char pattern[] = "/tmp/tide-unit-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~TestDirectory() { env::remove_tree(path_).ignore("scratch"); }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// WAL made by hand, page headers and all, from `begin` on.
class TestWal {
 public:
  TestWal(Lsn begin, Lsn prev) : begin_(begin), at_(begin), prev_(prev) {}

  /// Appends a record; `blocks`: block references as they stand in a record, `data`: what follows
  /// them all. Returns its end, normalized.
  Lsn add(pgformat::Rmgr rmgr, uint8_t info, std::string_view main_data,
          std::string_view blocks = {}, std::string_view data = {}, uint32_t xid = 0) {
    std::string body(blocks);
    if (!main_data.empty()) {
      if (main_data.size() < 256) {
        append(body, uint8_t{255});
        append(body, static_cast<uint8_t>(main_data.size()));
      } else {
        append(body, uint8_t{254});
        append(body, static_cast<uint32_t>(main_data.size()));
      }
    }
    body += data;
    body += main_data;
    pgformat::WalRecordHeader header;
    header.total_length = static_cast<uint32_t>(pgformat::kRecordHeaderSize + body.size());
    header.xid = xid;
    header.prev = prev_.value();
    header.info = info;
    header.rmgr = static_cast<uint8_t>(rmgr);
    uint32_t crc = crc32c_extend(kCrc32cInit, as_bytes(body));
    header.crc =
        crc32c_finish(crc32c_extend(crc, {reinterpret_cast<const std::byte*>(&header), 20}));
    std::string record;
    append(record, header);
    return put(record + body);
  }

  /// A record of `size` bytes of main data that changes nothing.
  Lsn noop(size_t size = 16) {
    return add(pgformat::Rmgr::kXlog, pgformat::xlog::kNoop, std::string(size, 'n'));
  }

  /// Full image of a page, which makes the page what `page` is.
  Lsn image(const PageTag& tag, const std::string& page) {
    std::string block;
    append(block, uint8_t{0});                                                       // block id
    append(block, static_cast<uint8_t>(static_cast<uint8_t>(tag.rel.fork) | 0x10));  // HAS_IMAGE
    append(block, uint16_t{0});
    append(block, uint16_t{kPageSize});
    append(block, uint16_t{0});
    append(block, uint8_t{0x02});  // APPLY
    append(block, tag.rel.spc);
    append(block, tag.rel.db);
    append(block, tag.rel.rel);
    append(block, tag.block);
    return add(pgformat::Rmgr::kXlog, pgformat::xlog::kFpi, {}, block, page);
  }

  Lsn shutdown_checkpoint(pgformat::CheckPoint checkpoint) {
    checkpoint.redo = record_start(at_).value();
    std::string data;
    append(data, checkpoint);
    return add(pgformat::Rmgr::kXlog, pgformat::xlog::kCheckpointShutdown, data);
  }

  /// A commit of `xid` at `unix_us`.
  Lsn commit(uint32_t xid, int64_t unix_us) {
    std::string data;
    append(data, unix_us - int64_t{946684800} * 1000000);
    return add(pgformat::Rmgr::kXact, pgformat::xact::kCommit, data, {}, {}, xid);
  }

  Lsn at() const { return at_; }      ///< end of the last record
  Lsn prev() const { return prev_; }  ///< its start
  const std::string& bytes() const { return bytes_; }

  /// Writes [from, to) into segment files, as a compute would; both at or behind the begin.
  void write_to(const std::string& directory, Lsn from, Lsn to) const {
    while (from < to) {
      uint64_t number = pgformat::segment_number(from);
      Lsn end = std::min(to, pgformat::segment_start(number + 1));
      std::string path = directory + "/" + pgformat::segment_file_name(number);
      env::FileDescriptor file = env::open_file(path, O_RDWR | O_CREAT).value();
      if (::ftruncate(file.get(), kWalSegmentSize) != 0) std::abort();
      std::string_view part = std::string_view(bytes_).substr(from - begin_, end - from);
      if (!env::write_at(file.get(), from - pgformat::segment_start(number), as_bytes(part)).ok())
        std::abort();
      from = end;
    }
  }
  void write_to(const std::string& directory) const { write_to(directory, begin_, at_); }

 private:
  Lsn put(std::string_view record) {
    Lsn start;
    while (!record.empty()) {
      if (at_.value() % kWalPageSize == 0) page_header(start.is_valid() ? record.size() : 0);
      if (!start.is_valid()) start = at_;
      std::string_view here = record.substr(0, kWalPageSize - at_.value() % kWalPageSize);
      write(here);
      record.remove_prefix(here.size());
    }
    write(std::string(pgformat::max_align(at_.value()) - at_.value(), '\0'));
    prev_ = start;
    return at_;
  }

  void page_header(uint64_t remaining) {
    pgformat::WalPageHeader header;
    header.page_address = at_.value();
    header.info = remaining > 0 ? pgformat::kPageFirstIsContrecord : 0;
    header.remaining_length = static_cast<uint32_t>(remaining);
    std::string text;
    if (at_.value() % kWalSegmentSize == 0) {
      header.info |= pgformat::kPageLongHeader;
      append(text, pgformat::WalLongPageHeader{header, 77, kWalSegmentSize, kWalPageSize});
    } else {
      append(text, header);
    }
    write(text);
  }

  void write(std::string_view text) {
    bytes_ += text;
    at_ = at_ + text.size();
  }

  Lsn begin_;
  Lsn at_;
  Lsn prev_;
  std::string bytes_;
};

}  // namespace tide::walstore

#define ASSERT_OK(expression)                                                            \
  do {                                                                                   \
    auto&& assert_ok_outcome = (expression);                                             \
    ASSERT_TRUE(assert_ok_outcome.ok()) << ::tide::walstore::text_of(assert_ok_outcome); \
  } while (false)
#define EXPECT_OK(expression)                                                            \
  do {                                                                                   \
    auto&& expect_ok_outcome = (expression);                                             \
    EXPECT_TRUE(expect_ok_outcome.ok()) << ::tide::walstore::text_of(expect_ok_outcome); \
  } while (false)

namespace tide::walstore {
inline std::string text_of(const Status& status) { return status.to_string(); }
template <typename T>
std::string text_of(const Result<T>& result) {
  return result.status().to_string();
}
}  // namespace tide::walstore

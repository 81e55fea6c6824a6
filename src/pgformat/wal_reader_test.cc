#include "pgformat/wal_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <sstream>

#include "base/crc32c.h"
#include "pgformat/internal/test_cluster.h"
#include "pgformat/wal_format.h"
#include "pgformat/wal_record.h"
#include "pgformat/wal_segment.h"

namespace tide::pgformat {
namespace {

/// Writes records as PostgreSQL would, page headers and all, into one string that begins at
/// `begin`.
class WalWriter {
 public:
  explicit WalWriter(Lsn begin) : begin_(begin), at_(begin) {}

  /// A record of the XLOG manager with `size` bytes of main data; returns its start.
  Lsn add(uint32_t size, uint8_t op = xlog::kNoop, std::string data = {}) {
    data.resize(size, 'd');
    std::string body;
    append(body, uint8_t{254});
    append(body, size);
    body += data;
    WalRecordHeader header;
    header.total_length = static_cast<uint32_t>(kRecordHeaderSize + body.size());
    header.prev = prev_.value();
    header.info = op;
    uint32_t crc = crc32c_extend(kCrc32cInit, as_bytes(body));
    header.crc =
        crc32c_finish(crc32c_extend(crc, {reinterpret_cast<const std::byte*>(&header), 20}));
    std::string record;
    append(record, header);
    record += body;
    return put(record);
  }

  Lsn put(std::string_view record) {
    Lsn start;
    while (!record.empty()) {
      if (at_.value() % kWalPageSize == 0) page_header(start.is_valid() ? record.size() : 0);
      if (!start.is_valid()) start = at_;
      std::string_view here = record.substr(0, kWalPageSize - at_.value() % kWalPageSize);
      write(here);
      record.remove_prefix(here.size());
    }
    write(std::string(max_align(at_.value()) - at_.value(), '\0'));
    prev_ = start;
    return start;
  }

  void page_header(uint64_t remaining, uint16_t flags = 0) {
    WalPageHeader header;
    header.page_address = at_.value();
    header.info = flags | (remaining > 0 ? kPageFirstIsContrecord : 0);
    header.remaining_length = static_cast<uint32_t>(remaining);
    std::string text;
    if (at_.value() % kWalSegmentSize == 0) {
      header.info |= kPageLongHeader;
      append(text, WalLongPageHeader{header, 77, kWalSegmentSize, kWalPageSize});
    } else {
      append(text, header);
    }
    write(text);
  }

  void write(std::string_view text) {
    bytes_ += text;
    at_ = at_ + text.size();
  }
  void zeros_to(Lsn lsn) { write(std::string(lsn - at_, '\0')); }
  void cut_to(Lsn lsn) {
    bytes_.resize(lsn - begin_);
    at_ = lsn;
  }

  Lsn at() const { return at_; }
  Lsn prev() const { return prev_; }
  void set_prev(Lsn prev) { prev_ = prev; }
  std::string& bytes() { return bytes_; }

 private:
  Lsn begin_;
  Lsn at_;
  Lsn prev_;
  std::string bytes_;
};

struct Read {
  std::vector<std::pair<Lsn, Lsn>> records;
  std::vector<std::string> contents;
  Status error;
  bool ended = false;
  Lsn valid_end;
};

Read read_all(WalReader::Options options, std::string_view bytes, size_t chunk = SIZE_MAX) {
  WalReader reader(options);
  Read read;
  size_t fed = 0;
  while (true) {
    auto next = reader.next();
    if (!next.ok()) {
      read.error = next.status();
      break;
    }
    if (next->has_value()) {
      read.records.emplace_back((*next)->start, (*next)->end);
      read.contents.emplace_back(as_chars((*next)->bytes));
      continue;
    }
    if (reader.ended() || fed == bytes.size()) break;
    std::string_view piece = bytes.substr(fed, chunk);
    reader.feed(as_bytes(piece));
    fed += piece.size();
  }
  read.ended = reader.ended();
  read.valid_end = reader.valid_end();
  return read;
}

constexpr Lsn kBegin = Lsn(5 * kWalSegmentSize);

TEST(WalReaderTest, RecordsOfAllSizesInAllPieces) {
  WalWriter writer(kBegin);
  std::vector<Lsn> starts;
  std::mt19937 random(1);
  // Every distance to the page's end, so that headers and lengths are cut everywhere.
  for (uint32_t i = 0; i < 3000; ++i) starts.push_back(writer.add(random() % 900));
  starts.push_back(writer.add(100'000));
  starts.push_back(writer.add(20'000'000));
  starts.push_back(writer.add(1));
  Lsn end = writer.at();
  for (size_t chunk : {size_t{1} << 30, size_t{8192}, size_t{1000}, size_t{13}}) {
    Read read = read_all({.start = kBegin, .system_id = 77}, writer.bytes(), chunk);
    EXPECT_TRUE(read.error.ok()) << read.error.to_string();
    ASSERT_EQ(read.records.size(), starts.size());
    for (size_t i = 0; i < starts.size(); ++i) {
      EXPECT_EQ(read.records[i].first, starts[i]);
      if (i > 0) {
        EXPECT_EQ(record_start(read.records[i - 1].second), starts[i]);
      }
    }
    EXPECT_EQ(read.valid_end, end);
    EXPECT_FALSE(read.ended);
  }
}

TEST(WalReaderTest, RecordEndsAtPageAndSegmentBoundary) {
  for (uint64_t boundary : {kWalPageSize, kWalSegmentSize}) {
    WalWriter writer(kBegin);
    writer.add(8);
    uint64_t room = kWalPageSize - writer.at().value() % kWalPageSize;
    while ((writer.at() - kBegin) / kWalPageSize + 1 < boundary / kWalPageSize) {
      writer.add(static_cast<uint32_t>(room - 29));  // fills the page to its last byte
      EXPECT_EQ(writer.at().value() % kWalPageSize, 0U);
      room = kWalPageSize - 24;
    }
    Lsn last = writer.add(static_cast<uint32_t>(room - 29));
    EXPECT_EQ(writer.at() - kBegin, boundary);
    Lsn behind = writer.add(5);
    Read read = read_all({.start = kBegin}, writer.bytes());
    ASSERT_TRUE(read.error.ok()) << read.error.to_string();
    size_t count = read.records.size();
    EXPECT_EQ(read.records[count - 2], std::make_pair(last, kBegin + boundary));
    EXPECT_EQ(read.records[count - 1].first, behind);
    // Both spellings of the boundary start a reader.
    for (Lsn start : {kBegin + boundary, behind}) {
      Read rest = read_all({.start = start, .prev = last}, writer.bytes().substr(start - kBegin));
      EXPECT_TRUE(rest.error.ok()) << rest.error.to_string();
      ASSERT_EQ(rest.records.size(), 1U);
      EXPECT_EQ(rest.records[0].first, behind);
    }
    WalReader fresh({.start = behind});
    EXPECT_EQ(fresh.valid_end(), kBegin + boundary);
  }
}

TEST(WalReaderTest, ZerosAreTheEndAndTornRecordsAreNot) {
  WalWriter writer(kBegin);
  writer.add(100);
  Lsn good = writer.at();
  writer.add(30'000);
  std::string bytes = writer.bytes();

  std::string zeros = bytes.substr(0, good - kBegin) + std::string(40'000, '\0');
  Read read = read_all({.start = kBegin}, zeros);
  EXPECT_TRUE(read.error.ok());
  EXPECT_TRUE(read.ended);
  EXPECT_EQ(read.valid_end, good);
  EXPECT_EQ(read.records.size(), 1U);

  // Cut at every place: never an invalid record, never a lost one.
  for (size_t cut = 0; cut < bytes.size(); cut += 37) {
    Read torn = read_all({.start = kBegin}, bytes.substr(0, cut));
    EXPECT_TRUE(torn.error.ok());
    EXPECT_FALSE(torn.ended);
    EXPECT_EQ(torn.valid_end, cut >= good - kBegin ? good : cut == 0 ? kBegin : torn.valid_end);
    // ... and with zeros behind: the end, or an error that says why.
    std::string padded = bytes.substr(0, cut) + std::string(bytes.size() + 8192 - cut, '\0');
    Read over_zeros = read_all({.start = kBegin}, padded);
    EXPECT_TRUE(over_zeros.ended || over_zeros.error.code() == Code::kCorrupt) << cut;
    EXPECT_LE(over_zeros.records.size(), 1U);
  }
}

TEST(WalReaderTest, EveryFlippedByteIsFound) {
  WalWriter writer(kBegin);
  writer.add(300);
  Lsn second = writer.add(9000);
  std::string good = writer.bytes();
  std::mt19937 random(3);
  for (size_t i = 0; i < good.size(); ++i) {
    bool padding = i >= 16 && i < 24;  // rem_len without a continued record, and padding
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << random() % 8));
    Read read = read_all({.start = kBegin, .system_id = 77}, bad);
    bool second_header_padding = i >= kWalPageSize + 20 && i < kWalPageSize + 24;
    bool removable_flag = i == 2 || i == kWalPageSize + 2;  // flags that are allowed to differ
    if (padding || second_header_padding || removable_flag || read.records.size() < 2) continue;
    // Alignment bytes between records belong to none.
    EXPECT_TRUE((kBegin + i + 8 >= second && kBegin + i < second) || i + 8 >= good.size()) << i;
  }
}

TEST(WalReaderTest, SwitchSkipsTheRestOfTheSegment) {
  WalWriter writer(kBegin);
  writer.add(50);
  Lsn record = writer.add(0, xlog::kSwitch);
  writer.zeros_to(kBegin + kWalSegmentSize);
  Lsn behind = writer.add(60);
  for (size_t chunk : {size_t{1} << 30, size_t{100'000}, size_t{777}}) {
    Read read = read_all({.start = kBegin}, writer.bytes(), chunk);
    ASSERT_TRUE(read.error.ok()) << read.error.to_string();
    ASSERT_EQ(read.records.size(), 3U);
    EXPECT_EQ(read.records[1], std::make_pair(record, kBegin + kWalSegmentSize));
    EXPECT_EQ(read.records[2].first, behind);
  }
}

TEST(WalReaderTest, PreviousRecordIsChecked) {
  WalWriter writer(kBegin);
  Lsn first = writer.add(50);
  Lsn wrong = writer.at();
  writer.set_prev(first + 8);
  writer.add(60);
  Read strict = read_all({.start = kBegin}, writer.bytes());
  EXPECT_EQ(strict.error.code(), Code::kCorrupt);
  EXPECT_EQ(strict.valid_end, wrong);
  EXPECT_NE(strict.error.message().find(wrong.to_string()), std::string::npos);
  using enum WalReader::PrevCheck;
  EXPECT_TRUE(read_all({.start = kBegin, .prev_check = kOrdered}, writer.bytes()).error.ok());
  writer.set_prev(writer.at() + 8);
  writer.add(60);
  EXPECT_EQ(read_all({.start = kBegin, .prev_check = kOrdered}, writer.bytes()).error.code(),
            Code::kCorrupt);
}

TEST(WalReaderTest, OverwrittenRecordIsLeftOut) {
  WalWriter writer(kBegin);
  Lsn kept = writer.add(50);
  Lsn torn = writer.add(20'000);
  writer.cut_to(kBegin + kWalPageSize);
  writer.page_header(0, kPageFirstIsOverwriteContrecord);
  writer.set_prev(kept);
  std::string note;
  append(note, uint8_t{255});
  append(note, uint8_t{16});
  append(note, torn.value());
  append(note, uint64_t{0});
  WalRecordHeader header;
  header.total_length = static_cast<uint32_t>(kRecordHeaderSize + note.size());
  header.prev = kept.value();
  header.info = xlog::kOverwriteContrecord;
  uint32_t crc = crc32c_extend(kCrc32cInit, as_bytes(note));
  header.crc = crc32c_finish(crc32c_extend(crc, {reinterpret_cast<const std::byte*>(&header), 20}));
  std::string record;
  append(record, header);
  Lsn noted = writer.put(record + note);
  Lsn behind = writer.add(10);
  Read read = read_all({.start = kBegin}, writer.bytes());
  ASSERT_TRUE(read.error.ok()) << read.error.to_string();
  ASSERT_EQ(read.records.size(), 3U);
  EXPECT_EQ(read.records[1].first, noted);
  EXPECT_EQ(read.records[2].first, behind);
}

TEST(WalReaderTest, ForeignPagesAreRefused) {
  WalWriter writer(kBegin);
  writer.add(50);
  Read other_system = read_all({.start = kBegin, .system_id = 78}, writer.bytes());
  EXPECT_EQ(other_system.error.code(), Code::kCorrupt);
  Read old_page = read_all({.start = kBegin + kWalSegmentSize}, writer.bytes());
  EXPECT_EQ(old_page.error.code(), Code::kCorrupt);
  std::string other_timeline = writer.bytes();
  other_timeline[4] = 2;
  EXPECT_EQ(read_all({.start = kBegin}, other_timeline).error.code(), Code::kCorrupt);
}

TEST(WalReaderTest, SkipsToTheFirstRecord) {
  WalWriter writer(kBegin);
  writer.add(50);
  writer.add(30'000);
  Lsn behind = writer.add(10);
  Lsn page = kBegin + kWalPageSize;
  for (size_t chunk : {size_t{1} << 30, size_t{999}}) {
    Read read = read_all({.start = page, .skip_continued_record = true},
                         std::string_view(writer.bytes()).substr(kWalPageSize), chunk);
    ASSERT_TRUE(read.error.ok()) << read.error.to_string();
    ASSERT_EQ(read.records.size(), 1U);
    EXPECT_EQ(read.records[0].first, behind);
  }
  Read refused = read_all({.start = page}, std::string_view(writer.bytes()).substr(kWalPageSize));
  EXPECT_EQ(refused.error.code(), Code::kCorrupt);
}

/// The line that pg_waldump prints, but for the description between `head` and `tail`.
struct DumpLine {
  std::string head;
  std::string tail;
};

DumpLine dump_line(const WalRecord& record) {
  size_t images = 0;
  DumpLine line;
  for (const BlockRef& block : record.blocks()) {
    images += block.image.size();
    const RelFork& rel = block.tag.rel;
    std::string fork = rel.fork == Fork::kMain ? "" : fmt::format(" fork {}", fork_name(rel.fork));
    line.tail += fmt::format(", blkref #{}: rel {}/{}/{}{} blk {}", block.id, rel.spc, rel.db,
                             rel.rel, fork, block.tag.block);
    if (block.has_image) line.tail += block.apply_image ? " FPW" : " FPW for WAL verification";
  }
  auto lsn = [](Lsn lsn) {
    return fmt::format("{:X}/{:08X}", lsn.value() >> 32, lsn.value() & 0xFFFFFFFF);
  };
  line.head =
      fmt::format("rmgr: {:<11} len (rec/tot): {:6}/{:6}, tx: {:10}, lsn: {}, prev {}, desc: ",
                  rmgr_name(record.rmgr()), record.bytes().size() - images, record.bytes().size(),
                  record.xid(), lsn(record.start()), lsn(record.prev()));
  return line;
}

TEST(RealWalTest, EveryRecordIsReadAsPgWaldumpReadsIt) {
  if (!postgres_is_installed()) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  TestCluster cluster;
  ASSERT_TRUE(
      cluster.init("wal_level=logical\ntrack_commit_timestamp=on\nmax_prepared_transactions=10\n"
                   "wal_log_hints=on\n"));
  ASSERT_TRUE(cluster.start());
  ASSERT_TRUE(cluster.sql(kWorkload));
  ASSERT_TRUE(cluster.crash());  // leaves an end that no shutdown has tidied up

  std::string wal = cluster.all_wal(1);
  std::string output;
  run_as_postgres(kPostgresBin + "pg_waldump -p " + cluster.wal() + " -s 0/01000028", &output);
  std::istringstream lines(output);
  WalReader reader({.start = Lsn(kWalSegmentSize)});
  WalRecord record;
  std::string line;
  size_t count = 0;
  std::array<size_t, kRmgrCount> by_rmgr{};
  constexpr size_t kChunk = 128 * 1024;
  size_t fed = 0;
  while (true) {
    auto next = reader.next();
    ASSERT_TRUE(next.ok()) << next.status().to_string();
    if (!next->has_value()) {
      if (reader.ended() || fed >= wal.size()) break;
      reader.feed(as_bytes(std::string_view(wal).substr(fed, kChunk)));
      fed += kChunk;
      continue;
    }
    Status parsed = record.parse(**next);
    ASSERT_TRUE(parsed.ok()) << parsed.to_string();
    do {
      ASSERT_TRUE(std::getline(lines, line)) << "pg_waldump stopped before " << record.describe();
    } while (line.find("rmgr: ") != 0);
    DumpLine ours = dump_line(record);
    ASSERT_EQ(line.substr(0, ours.head.size()), ours.head);
    ASSERT_TRUE(line.size() >= ours.tail.size() &&
                line.compare(line.size() - ours.tail.size(), ours.tail.size(), ours.tail) == 0)
        << line << "\nwants " << ours.tail;
    size_t first = line.find(", blkref #");
    ASSERT_EQ(first == std::string::npos ? 0 : line.size() - first, ours.tail.size()) << line;
    ++by_rmgr[record.rmgr()];
    ++count;
  }
  while (std::getline(lines, line)) ASSERT_NE(line.find("rmgr: "), 0U) << "we miss " << line;
  EXPECT_TRUE(reader.ended());
  EXPECT_GT(count, 50'000U);
  for (size_t rmgr = 0; rmgr < kRmgrCount; ++rmgr) {
    // What the workload cannot reach: tablespaces and generic records.
    if (rmgr == 5 || rmgr == 20) continue;
    EXPECT_GT(by_rmgr[rmgr], 0U) << rmgr_name(static_cast<uint8_t>(rmgr));
  }
}

}  // namespace
}  // namespace tide::pgformat

#include "pgformat/wal_segment.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "pgformat/internal/test_cluster.h"
#include "pgformat/wal_format.h"
#include "pgformat/wal_reader.h"
#include "pgformat/wal_record.h"

namespace tide::pgformat {
namespace {

TEST(WalSegmentTest, Names) {
  EXPECT_EQ(segment_file_name(1), "000000010000000000000001");
  EXPECT_EQ(segment_file_name(0x123FF), "0000000100000123000000FF");
  EXPECT_EQ(*parse_segment_file_name("0000000100000123000000FF"), 0x123FFU);
  for (const char* bad : {"", "000000020000000000000001", "00000001000000000000000g",
                          "000000010000000000000100", "000000010000000000000001.partial"}) {
    EXPECT_EQ(parse_segment_file_name(bad).status().code(), Code::kInvalid) << bad;
  }
}

constexpr Lsn kSegment = Lsn(9 * kWalSegmentSize);

/// Positions at which something can go wrong: mid-page, boundaries, and all splits of the record.
std::vector<Lsn> positions() {
  std::vector<Lsn> all = {kSegment + 0x123450,  kSegment,      kSegment + 40,      kSegment + 8192,
                          kSegment + 8192 + 24, kSegment + 48, kSegment + 5 * 8192};
  for (uint64_t before : {8, 16, 24, 32, 48, 112, 120, 128}) {
    all.push_back(kSegment + 3 * 8192 - before);
    all.push_back(kSegment + kWalSegmentSize - before);
  }
  return all;
}

std::map<uint64_t, std::string> lay_out(const std::vector<SegmentPiece>& pieces) {
  std::map<uint64_t, std::string> segments;
  for (const SegmentPiece& piece : pieces) {
    std::string& segment = segments[piece.segment];
    segment.resize(kWalSegmentSize, '\0');
    segment.replace(piece.offset, piece.bytes.size(), piece.bytes);
  }
  return segments;
}

TEST(WalSegmentTest, ReaderFindsTheRecordWhereverItLies) {
  for (Lsn at : positions()) {
    StartRecord start{.at = at, .prev = at - 64, .system_id = 4711};
    start.checkpoint.next_xid = 5'000'000'000;
    auto pieces = lay_start_record(start, std::nullopt);
    ASSERT_TRUE(pieces.ok()) << pieces.status().to_string();
    std::string wal;
    auto segments = lay_out(*pieces);
    for (const auto& [number, bytes] : segments) wal += bytes;
    Lsn begin = segment_start(segments.begin()->first);

    for (bool from_segment_start : {true, false}) {
      Lsn from = from_segment_start ? begin : normalize(at);
      WalReader reader({.start = from,
                        .prev = from_segment_start ? Lsn() : start.prev,
                        .system_id = 4711,
                        .skip_continued_record = from_segment_start});
      reader.feed(as_bytes(std::string_view(wal).substr(from - begin)));
      auto next = reader.next();
      ASSERT_TRUE(next.ok()) << at.to_string() << next.status().to_string();
      ASSERT_TRUE(next->has_value()) << at.to_string();
      EXPECT_EQ((*next)->start, record_start(normalize(at)));
      EXPECT_EQ((*next)->prev, start.prev);
      EXPECT_EQ((*next)->end, checkpoint_record_end(at)) << at.to_string();
      auto checkpoint = load<CheckPoint>((*next)->bytes.data() + 26);
      EXPECT_EQ(checkpoint.next_xid, 5'000'000'000U);
      EXPECT_EQ(checkpoint.redo, (*next)->start.value());
      auto end = reader.next();
      ASSERT_TRUE(end.ok()) << end.status().to_string();
      EXPECT_FALSE(end->has_value());
      // Behind the record there is nothing: zeros, or the file's end.
      EXPECT_TRUE(reader.ended() || reader.fed_end() == reader.valid_end());
    }
  }
}

TEST(WalSegmentTest, RefusesPlacesWhereNoRecordBegins) {
  StartRecord start{.at = kSegment + 0x1234, .prev = kSegment, .system_id = 1};
  EXPECT_EQ(lay_start_record(start, std::nullopt).status().code(), Code::kInvalid);
  start.at = kSegment + 16;
  EXPECT_EQ(lay_start_record(start, std::nullopt).status().code(), Code::kInvalid);
  start.at = Lsn();
  EXPECT_EQ(lay_start_record(start, std::nullopt).status().code(), Code::kInvalid);
  start.at = kSegment + 0x12340;
  std::string page(0x340, 'x');
  EXPECT_EQ(lay_start_record(start, as_bytes(page)).status().code(), Code::kInvalid);
  page.resize(8);
  EXPECT_EQ(lay_start_record(start, as_bytes(page)).status().code(), Code::kInvalid);
}

TEST(ControlFileTest, RefusesDamage) {
  ControlFile file;
  file.system_id = 42;
  std::string bytes = file.serialize();
  ASSERT_EQ(bytes.size(), kControlFileSize);
  ASSERT_TRUE(parse_control_file(as_bytes(bytes)).ok());
  for (size_t i = 0; i < 288; ++i) {
    std::string bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    EXPECT_FALSE(parse_control_file(as_bytes(bad)).ok()) << i;
  }
  EXPECT_EQ(parse_control_file(as_bytes("short")).status().code(), Code::kCorrupt);
  file.wal_segment_size = 64 << 20;
  EXPECT_EQ(parse_control_file(as_bytes(file.serialize())).status().code(), Code::kInvalid);
}

/// pg_controldata's lines as name -> value.
std::map<std::string, std::string> control_data(const TestCluster& cluster) {
  std::string output;
  run_as_postgres("LC_ALL=C TZ=UTC " + kPostgresBin + "pg_controldata " + cluster.data(), &output);
  std::map<std::string, std::string> values;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    size_t value = line.find_first_not_of(' ', colon + 1);
    values[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
  }
  return values;
}

TEST(RealStartTest, StockPostgresStartsAtAnyLsn) {
  if (!postgres_is_installed()) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  TestCluster cluster;
  ASSERT_TRUE(
      cluster.init("wal_level=logical\nfull_page_writes=off\nmax_connections=77\n"
                   "max_wal_senders=7\nmax_prepared_transactions=3\n"));
  ASSERT_TRUE(cluster.start());
  ASSERT_TRUE(cluster.sql("CREATE TABLE t AS SELECT generate_series(1,1000) x;"));
  ASSERT_TRUE(cluster.stop());

  // The control file says what pg_controldata says, and survives a round trip.
  std::string file = cluster.control_file();
  auto control = parse_control_file(as_bytes(file));
  ASSERT_TRUE(control.ok()) << control.status().to_string();
  EXPECT_EQ(control->serialize(), file);
  auto values = control_data(cluster);
  auto expect = [&](const char* name, auto value) {
    EXPECT_EQ(values[name], fmt::format("{}", value));
  };
  expect("Database system identifier", control->system_id);
  expect("Latest checkpoint location", Lsn(control->checkpoint_lsn));
  expect("Latest checkpoint's REDO location", Lsn(control->checkpoint.redo));
  expect("Latest checkpoint's NextXID", fmt::format("{}:{}", control->checkpoint.next_xid >> 32,
                                                    control->checkpoint.next_xid & 0xFFFFFFFF));
  expect("Latest checkpoint's NextOID", control->checkpoint.next_oid);
  expect("Latest checkpoint's NextMultiXactId", control->checkpoint.next_multi);
  expect("Latest checkpoint's NextMultiOffset", control->checkpoint.next_multi_offset);
  expect("Latest checkpoint's oldestXID", control->checkpoint.oldest_xid);
  expect("Latest checkpoint's oldestXID's DB", control->checkpoint.oldest_xid_db);
  expect("Latest checkpoint's oldestActiveXID", control->checkpoint.oldest_active_xid);
  expect("Latest checkpoint's oldestMultiXid", control->checkpoint.oldest_multi);
  expect("Latest checkpoint's oldestMulti's DB", control->checkpoint.oldest_multi_db);
  expect("Latest checkpoint's full_page_writes",
         control->checkpoint.full_page_writes ? "on" : "off");
  expect("Fake LSN counter for unlogged rels", Lsn(control->unlogged_lsn));
  expect("max_connections setting", 77);
  EXPECT_EQ(control->max_connections, 77);
  expect("max_worker_processes setting", control->max_worker_processes);
  expect("max_wal_senders setting", 7);
  EXPECT_EQ(control->max_wal_senders, 7);
  expect("max_prepared_xacts setting", control->max_prepared_xacts);
  expect("max_locks_per_xact setting", control->max_locks_per_xact);
  expect("Data page checksum version", control->data_checksum_version);
  expect("Maximum size of a TOAST chunk", control->toast_max_chunk_size);
  EXPECT_EQ(control->wal_level, 2);
  EXPECT_EQ(control->state, ClusterState::kShutDown);
  std::string nonce;
  for (uint8_t byte : control->mock_authentication_nonce) nonce += fmt::format("{:02x}", byte);
  expect("Mock authentication nonce", nonce);

  // In the middle of real WAL: records before and after the synthetic one are one stream.
  {
    std::string wal = cluster.all_wal(1);
    WalReader reader({.start = Lsn(kWalSegmentSize)});
    reader.feed(as_bytes(wal));
    while (true) {
      auto next = reader.next();
      ASSERT_TRUE(next.ok());
      if (!next->has_value()) break;
    }
    Lsn at = reader.valid_end();
    StartRecord start{control->checkpoint, at, reader.last_record(), control->system_id};
    uint64_t in_page = at.value() % kWalPageSize;
    auto before = as_bytes(wal).subspan(at.value() - kWalSegmentSize - in_page, in_page);
    auto pieces = lay_start_record(start, before);
    ASSERT_TRUE(pieces.ok()) << pieces.status().to_string();
    cluster.write_pieces(*pieces);
    cluster.write_control(shut_down_at(*control, start).serialize());
    ASSERT_TRUE(cluster.start()) << cluster.log();
    ASSERT_TRUE(cluster.sql("INSERT INTO t SELECT generate_series(1,100);"));
    ASSERT_TRUE(cluster.stop());
    std::string longer = cluster.all_wal(1);
    WalReader whole({.start = Lsn(kWalSegmentSize), .system_id = control->system_id});
    whole.feed(as_bytes(longer));
    size_t found = 0;
    while (true) {
      auto next = whole.next();
      ASSERT_TRUE(next.ok()) << next.status().to_string();
      if (!next->has_value()) break;
      found += (*next)->start == record_start(at) ? 1 : 0;
    }
    EXPECT_EQ(found, 1U);
    EXPECT_GT(whole.valid_end(), checkpoint_record_end(at));
  }

  // At places of our choice, with no WAL from before.
  std::vector<Lsn> places = {kSegment + 0x123450,
                             kSegment + kWalSegmentSize + 5 * kWalPageSize,
                             kSegment + 3 * kWalSegmentSize,
                             kSegment + 4 * kWalSegmentSize + 3 * kWalPageSize - 8,
                             kSegment + 5 * kWalSegmentSize + 3 * kWalPageSize - 120,
                             kSegment + 7 * kWalSegmentSize - 48,
                             kSegment + 9 * kWalSegmentSize - 120};
  int rows = 1100;
  for (Lsn at : places) {
    SCOPED_TRACE(at.to_string());
    control = parse_control_file(as_bytes(cluster.control_file()));
    ASSERT_TRUE(control.ok());
    StartRecord start{control->checkpoint, at, at - 80, control->system_id};
    for (const auto& entry : std::filesystem::directory_iterator(cluster.wal())) {
      std::filesystem::remove_all(entry.path());
    }
    std::filesystem::remove(cluster.root() + "/log");
    auto pieces = lay_start_record(start, std::nullopt);
    ASSERT_TRUE(pieces.ok()) << pieces.status().to_string();
    cluster.write_pieces(*pieces);
    cluster.write_control(shut_down_at(*control, start).serialize());
    auto said = control_data(cluster);
    EXPECT_EQ(said["Database cluster state"], "shut down");
    EXPECT_EQ(said["Latest checkpoint location"], record_start(at).to_string());

    ASSERT_TRUE(cluster.start()) << cluster.log();
    EXPECT_NE(cluster.log().find("database system was shut down at"), std::string::npos);
    EXPECT_EQ(cluster.log().find("recovery"), std::string::npos) << cluster.log();
    std::string output;
    ASSERT_TRUE(cluster.sql(
        "SELECT count(*) FROM t; INSERT INTO t VALUES (1); SELECT sum(1) FROM t;", &output));
    EXPECT_EQ(output, fmt::format("{}\n{}\n", rows, rows + 1));
    ++rows;
    ASSERT_TRUE(cluster.sql("CHECKPOINT;"));
    ASSERT_TRUE(cluster.stop());

    std::string wal = cluster.all_wal(segment_number(at));
    Lsn segment = segment_start(segment_number(at));
    WalReader reader({.start = at, .prev = start.prev, .system_id = control->system_id});
    reader.feed(as_bytes(std::string_view(wal).substr(at - segment)));
    size_t count = 0;
    while (true) {
      auto next = reader.next();
      ASSERT_TRUE(next.ok()) << next.status().to_string();
      if (!next->has_value()) break;
      if (count++ == 0) {
        EXPECT_EQ((*next)->start, record_start(at));
        EXPECT_EQ((*next)->end, checkpoint_record_end(at));
      }
    }
    EXPECT_GT(count, 4U);
    auto after = parse_control_file(as_bytes(cluster.control_file()));
    ASSERT_TRUE(after.ok());
    EXPECT_EQ(after->checkpoint_lsn, reader.last_record().value());
    // pg_waldump starts at the segment's beginning and finds the synthetic record first.
    std::string dump;
    run_as_postgres(
        kPostgresBin + "pg_waldump -n 1 -p " + cluster.wal() + " -s " + segment.to_string(), &dump);
    EXPECT_NE(dump.find("CHECKPOINT_SHUTDOWN"), std::string::npos) << dump;
  }
}

}  // namespace
}  // namespace tide::pgformat

#include "pgformat/wal_effects.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "base/crc32c.h"
#include "pgformat/internal/test_cluster.h"
#include "pgformat/transaction_record.h"
#include "pgformat/wal_reader.h"

namespace tide::pgformat {
namespace {

using Page = std::vector<std::byte>;

/// Keeps all state but the pages that need redo, by the contracts of EffectSink alone.
class ModelStore : public EffectSink {
 public:
  Lsn lsn;
  CheckPoint counters;
  CheckPoint before_shutdown;  ///< counters as tracked when the last shutdown checkpoint arrived
  ControlFile parameters;
  std::map<PageTag, Page> images;  ///< pages whose last change was an image
  std::map<PageTag, std::set<uint32_t>> vm_cleared;
  std::map<PageTag, Page> vm;  ///< rebuilt from VISIBLE records and vm_clear
  std::set<PageTag> vm_images;
  std::set<RelFork> relations;
  std::map<std::pair<Slru, uint32_t>, Page> slru;
  std::set<uint32_t> offsets_made_early;
  std::map<uint32_t, std::string> twophase;
  std::map<std::pair<uint32_t, uint32_t>, std::string> relmaps;
  std::set<std::pair<uint32_t, uint32_t>> databases;
  std::map<uint16_t, Lsn> origins;
  std::map<std::string, size_t> calls;
  std::string last_message;
  std::vector<int64_t> commit_times;
  std::vector<std::pair<PageTag, bool>> records;

  Page& slru_page(Slru kind, uint32_t page) {
    Page& bytes = slru[{kind, page}];
    if (bytes.empty()) bytes.resize(kPageSize);
    return bytes;
  }

  Status page_record(const PageTag& tag, bool will_init) override {
    ++calls["page_record"];
    images.erase(tag);
    relations.insert(tag.rel);
    records.emplace_back(tag, will_init);
    return {};
  }
  Status page_image(const PageTag& tag, BytesView page) override {
    ++calls["page_image"];
    EXPECT_EQ(page.size(), kPageSize);
    EXPECT_TRUE(page_is_valid(page.data())) << fmt::format("{}", tag);
    if (!page_is_new(page.data())) {
      EXPECT_EQ(page_lsn(page.data()), lsn);
    }
    images[tag] = Page(page.begin(), page.end());
    relations.insert(tag.rel);
    if (tag.rel.fork == Fork::kVisibilityMap) {
      vm[tag] = images[tag];
      vm_images.insert(tag);
    }
    return {};
  }
  Status vm_clear(const PageTag& vm_page, std::span<const uint32_t> heap_blocks,
                  uint8_t flags) override {
    ++calls[flags == kVmAllFrozen ? "vm_clear_frozen" : "vm_clear"];
    EXPECT_EQ(vm_page.rel.fork, Fork::kVisibilityMap);
    EXPECT_GE(heap_blocks.size(), 1U);
    EXPECT_LE(heap_blocks.size(), 2U);
    auto found = vm.find(vm_page);
    for (uint32_t block : heap_blocks) {
      EXPECT_EQ(vm_block(block), vm_page.block);
      vm_cleared[vm_page].insert(block);
      if (found != vm.end()) vm_clear_bits(found->second.data(), block, flags);
    }
    return {};
  }
  Status rel_create(const RelFork& fork) override {
    ++calls["rel_create"];
    relations.insert(fork);
    return {};
  }
  Status rel_truncate(const RelFork& main, uint32_t blocks, uint32_t flags) override {
    ++calls["rel_truncate"];
    EXPECT_EQ(main.fork, Fork::kMain);
    RelFork vm_fork = main;
    vm_fork.fork = Fork::kVisibilityMap;
    if ((flags & kTruncateVm) == 0) return {};
    MapTruncation cut = vm_truncation(blocks);
    for (auto it = vm.begin(); it != vm.end();) {
      if (it->first.rel == vm_fork && it->first.block >= cut.blocks) {
        it = vm.erase(it);
        continue;
      }
      if (it->first.rel == vm_fork && cut.has_tail && it->first.block == cut.tail_block) {
        vm_clear_tail(it->second.data(), blocks);
      }
      ++it;
    }
    return {};
  }
  Status rel_drop(std::span<const RelFork> dropped) override {
    ++calls["rel_drop"];
    for (RelFork rel : dropped) {
      for (int fork = 0; fork < 4; ++fork) {
        rel.fork = static_cast<Fork>(fork);
        relations.erase(rel);
        std::erase_if(images, [&](const auto& image) { return image.first.rel == rel; });
        std::erase_if(vm, [&](const auto& page) { return page.first.rel == rel; });
      }
    }
    return {};
  }
  Status db_create(uint32_t spc, uint32_t db) override {
    ++calls["db_create"];
    databases.insert({spc, db});
    return {};
  }
  Status db_copy(uint32_t source_spc, uint32_t source_db, uint32_t spc, uint32_t db) override {
    ++calls["db_copy"];
    EXPECT_EQ(source_spc, 1663U);
    EXPECT_EQ(spc, 1663U);
    EXPECT_NE(source_db, db);
    databases.insert({spc, db});
    return {};
  }
  Status db_drop(uint32_t db, std::span<const uint32_t> tablespaces) override {
    ++calls["db_drop"];
    for (uint32_t spc : tablespaces) EXPECT_EQ(databases.erase({spc, db}), 1U);
    return {};
  }
  Status relmap_update(uint32_t spc, uint32_t db, BytesView content) override {
    ++calls["relmap_update"];
    relmaps[{spc, db}] = as_chars(content);
    return {};
  }
  Status clog_status(std::span<const uint32_t> xids, XidStatus status) override {
    ++calls[status == XidStatus::kCommitted ? "committed" : "aborted"];
    for (uint32_t xid : xids) {
      set_clog_status(slru_page(Slru::kClog, clog_page(xid)).data(), xid, status);
    }
    return {};
  }
  Status commit_time(int64_t unix_time_us, Lsn begin, Lsn end) override {
    EXPECT_LT(begin, end);
    EXPECT_EQ(end, lsn);
    commit_times.push_back(unix_time_us);
    return {};
  }
  Status commit_timestamps(std::span<const uint32_t> xids, CommitTimestamp timestamp) override {
    if (parameters.track_commit_timestamp == 0) return {};
    for (uint32_t xid : xids) {
      set_commit_timestamp(slru_page(Slru::kCommitTs, commit_ts_page(xid)).data(), xid, timestamp);
    }
    return {};
  }
  Status clog_zero_page(uint32_t page) override {
    ++calls["clog_zero_page"];
    slru_page(Slru::kClog, page).assign(kPageSize, std::byte{0});
    return {};
  }
  Status clog_truncate(uint32_t, uint32_t, uint32_t) override {
    ++calls["clog_truncate"];
    return {};
  }
  Status commit_ts_zero_page(uint32_t page) override {
    ++calls["commit_ts_zero_page"];
    slru_page(Slru::kCommitTs, page).assign(kPageSize, std::byte{0});
    return {};
  }
  Status commit_ts_truncate(uint32_t, uint32_t) override { return {}; }
  Status multixact_create(const MultixactCreate& create) override {
    ++calls["multixact_create"];
    auto put = [&](uint32_t multi, uint32_t offset) {
      set_multixact_offset(slru_page(Slru::kMultixactOffsets, multixact_offsets_page(multi)).data(),
                           multi, offset);
    };
    put(create.multi, create.offset);
    uint32_t next_page = multixact_offsets_page(create.next_multi());
    if (!slru.contains({Slru::kMultixactOffsets, next_page})) offsets_made_early.insert(next_page);
    put(create.next_multi(), create.next_offset());
    for (uint32_t i = 0; i < create.members.size(); ++i) {
      uint32_t offset = create.offset + i;
      set_multixact_member(
          slru_page(Slru::kMultixactMembers, multixact_members_page(offset)).data(), offset,
          create.members[i]);
    }
    return {};
  }
  Status multixact_zero_offsets_page(uint32_t page) override {
    ++calls["multixact_zero_offsets"];
    if (offsets_made_early.erase(page) != 0) return {};
    slru_page(Slru::kMultixactOffsets, page).assign(kPageSize, std::byte{0});
    return {};
  }
  Status multixact_zero_members_page(uint32_t page) override {
    ++calls["multixact_zero_members"];
    slru_page(Slru::kMultixactMembers, page).assign(kPageSize, std::byte{0});
    return {};
  }
  Status multixact_truncate(const MultixactTruncate&) override { return {}; }
  Status twophase_put(uint32_t xid, BytesView state_file) override {
    ++calls["twophase_put"];
    EXPECT_TRUE(twophase.emplace(xid, as_chars(state_file)).second);
    return {};
  }
  Status twophase_delete(uint32_t xid) override {
    ++calls["twophase_delete"];
    EXPECT_EQ(twophase.erase(xid), 1U);
    return {};
  }
  Status xid_used(uint32_t xid) override {
    advance_next_xid(&counters, xid);
    return {};
  }
  Status next_oid(uint32_t oid) override {
    ++calls["next_oid"];
    counters.next_oid = oid;
    return {};
  }
  Status next_multixact(uint32_t next_multi, uint32_t next_offset) override {
    advance_next_multi(&counters, next_multi, next_offset);
    return {};
  }
  Status checkpoint(const CheckPoint& record, bool shutdown) override {
    ++calls[shutdown ? "shutdown_checkpoint" : "online_checkpoint"];
    if (shutdown) before_shutdown = counters;
    merge_checkpoint(&counters, record, shutdown);
    return {};
  }
  Status running_xacts(const RunningXacts& running) override {
    ++calls["running_xacts"];
    EXPECT_LE(running.oldest_running_xid, running.next_xid);
    EXPECT_LT(running.latest_completed_xid, running.next_xid);
    return {};
  }
  Status parameter_change(const ParameterChange& change) override {
    ++calls["parameter_change"];
    change.apply(&parameters);
    return {};
  }
  Status full_page_writes_change(bool) override { return {}; }
  Status replication_origin_set(uint16_t id, Lsn remote_lsn, bool force) override {
    ++calls["origin_set"];
    if (force || origins[id] < remote_lsn) origins[id] = remote_lsn;
    return {};
  }
  Status replication_origin_drop(uint16_t id) override {
    ++calls["origin_drop"];
    origins.erase(id);
    return {};
  }
  Status logical_message(const LogicalMessage& message) override {
    ++calls["logical_message"];
    if (message.body.size() < 100) {
      last_message =
          fmt::format("{}:{}:{}", message.prefix, as_chars(message.body), message.transactional);
    } else {
      EXPECT_EQ(message.body.size(), 20'000'000U);
    }
    return {};
  }
  Status restore_point(std::string_view name, int64_t) override {
    EXPECT_EQ(name, "here");
    ++calls["restore_point"];
    return {};
  }
  Status wal_switch() override {
    ++calls["wal_switch"];
    return {};
  }
};

/// A VISIBLE record sets bits by redo, which the model does not have otherwise.
void set_visible(const WalRecord& record, ModelStore* model) {
  if (!record.is(Rmgr::kHeap2) || (record.info() & heap::kOpMask) != heap2::kVisible) return;
  const BlockRef* vm = record.block(0);
  const BlockRef* heap = record.block(1);
  ASSERT_TRUE(vm != nullptr && heap != nullptr);
  Page& page = model->vm[vm->tag];
  if (page.empty()) page.resize(kPageSize);
  if (vm->apply_image) {
    // Newer than the page of redo: the image already has the bit.
    ASSERT_TRUE(restore_image(*vm, page.data()).ok());
    return;
  }
  auto flags = load<uint8_t>(record.main_data().data() + 4);
  uint32_t block = heap->tag.block;
  size_t byte = kPageHeaderSize + block % kHeapBlocksPerVmPage / 4;
  page[byte] |= static_cast<std::byte>((flags & kVmValidBits) << block % 4 * 2);
}

std::string relation_path(const TestCluster& cluster, RelFork rel) {
  std::string base = rel.spc == 1664 ? "/global/" : fmt::format("/base/{}/", rel.db);
  std::string suffix = rel.fork == Fork::kMain ? "" : fmt::format("_{}", fork_name(rel.fork));
  return cluster.data() + base + std::to_string(rel.rel) + suffix;
}

void expect_slru_equal(const TestCluster& cluster, const ModelStore& model, Slru kind) {
  size_t compared = 0;
  for (const auto& [key, page] : model.slru) {
    if (key.first != kind) continue;
    std::string file = read_whole_file(fmt::format("{}/{}/{}", cluster.data(), slru_directory(kind),
                                                   slru_segment_name(key.second)));
    size_t offset = key.second % kSlruPagesPerSegment * kPageSize;
    if (file.size() < offset + kPageSize) continue;  // a page only prepared
    for (size_t i = 0; i < kPageSize; ++i) {
      // initdb's bootstrap set the first ids without WAL.
      if (kind == Slru::kClog && key.second == 0 && i == 0) continue;
      ASSERT_EQ(static_cast<int>(page[i]), static_cast<uint8_t>(file[offset + i]))
          << slru_directory(kind) << " page " << key.second << " byte " << i;
    }
    ++compared;
  }
  EXPECT_GT(compared, 0U) << slru_directory(kind);
}

TEST(RealEffectsTest, EffectsRebuildWhatPostgresKeeps) {
  if (!postgres_is_installed()) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  TestCluster cluster;
  ASSERT_TRUE(
      cluster.init("wal_level=logical\ntrack_commit_timestamp=on\nmax_prepared_transactions=10\n"));
  ASSERT_TRUE(cluster.start());
  ASSERT_TRUE(cluster.sql(kWorkload));
  // Many transactions, so that ids and multixacts fill more than a page.
  ASSERT_TRUE(cluster.sql(R"SQL(
CREATE TABLE many (id int PRIMARY KEY, v int);
INSERT INTO many SELECT i, 0 FROM generate_series(1,3000) i;
CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN
  FOR i IN 1..40000 LOOP
    INSERT INTO frozen VALUES (i);
    COMMIT;
  END LOOP; END $$;
CALL work();
BEGIN;
SELECT count(*) FROM (SELECT * FROM many FOR KEY SHARE) x;
DO $$ BEGIN FOR i IN 1..3000 LOOP
  BEGIN
    PERFORM 1 FROM many WHERE id = i FOR NO KEY UPDATE;
    UPDATE many SET v = 1 WHERE id = i;
  EXCEPTION WHEN division_by_zero THEN NULL; END;
END LOOP; END $$;
COMMIT;
VACUUM (FREEZE) copied;
SELECT count(*) FROM (SELECT * FROM copied WHERE x % 500 = 0 FOR SHARE) x;
)SQL"));
  std::string roots;
  ASSERT_TRUE(
      cluster.sql("SELECT array_agg(external_id || ' ' || remote_lsn) FROM "
                  "pg_replication_origin_status;",
                  &roots));
  ASSERT_TRUE(cluster.stop());

  ModelStore model;
  uint8_t image_kinds = 0;
  std::string wal = cluster.all_wal(1);
  WalReader reader({.start = Lsn(kWalSegmentSize)});
  WalRecord record;
  reader.feed(as_bytes(wal));
  while (true) {
    auto next = reader.next();
    ASSERT_TRUE(next.ok()) << next.status().to_string();
    if (!next->has_value()) break;
    ASSERT_TRUE(record.parse(**next).ok());
    model.lsn = record.end();
    if (record.is(Rmgr::kXlog) && record.info() == xlog::kSwitch) {
      EXPECT_EQ(record.end().value() % kWalSegmentSize, 0U);
    }
    Status decoded = decode_effects(record, model);
    ASSERT_TRUE(decoded.ok()) << decoded.to_string();
    set_visible(record, &model);
    for (const BlockRef& block : record.blocks()) image_kinds |= block.image_info;
  }
  EXPECT_EQ(image_kinds & kImageCompressed,
            kImageCompressed);  // images of all three kinds were read
  ASSERT_TRUE(reader.ended());

  auto control = parse_control_file(as_bytes(cluster.control_file()));
  ASSERT_TRUE(control.ok()) << control.status().to_string();
  EXPECT_EQ(model.counters.next_xid, control->checkpoint.next_xid);
  EXPECT_EQ(reader.last_record().value(), control->checkpoint_lsn);
  // What was tracked record by record agrees with what the last shutdown then said.
  EXPECT_EQ(model.before_shutdown.next_xid, control->checkpoint.next_xid);
  EXPECT_EQ(model.before_shutdown.next_multi, control->checkpoint.next_multi);
  EXPECT_EQ(model.before_shutdown.next_multi_offset, control->checkpoint.next_multi_offset);
  EXPECT_GE(model.before_shutdown.next_oid, control->checkpoint.next_oid);
  EXPECT_LE(model.before_shutdown.next_oid, control->checkpoint.next_oid + 8192);
  EXPECT_EQ(model.counters.oldest_xid, control->checkpoint.oldest_xid);
  EXPECT_EQ(model.parameters.max_connections, control->max_connections);
  EXPECT_EQ(model.parameters.wal_level, control->wal_level);
  EXPECT_EQ(model.parameters.max_prepared_xacts, control->max_prepared_xacts);
  EXPECT_EQ(model.parameters.track_commit_timestamp, control->track_commit_timestamp);

  expect_slru_equal(cluster, model, Slru::kClog);
  expect_slru_equal(cluster, model, Slru::kMultixactOffsets);
  expect_slru_equal(cluster, model, Slru::kMultixactMembers);
  expect_slru_equal(cluster, model, Slru::kCommitTs);

  ASSERT_EQ(model.twophase.size(), 1U);
  for (const auto& [xid, file] : model.twophase) {
    EXPECT_EQ(file, read_whole_file(fmt::format("{}/pg_twophase/{:08X}", cluster.data(), xid)));
    auto state = parse_twophase_state(as_bytes(file));
    ASSERT_TRUE(state.ok()) << state.status().to_string();
    EXPECT_EQ(state->gid, "stays");
    EXPECT_EQ(state->xid, xid);
    EXPECT_EQ(state->subxids.size(), 1U);
    EXPECT_FALSE(state->abort_drops.empty());
    EXPECT_FALSE(state->commit_drops.empty());
  }
  EXPECT_FALSE(model.relmaps.empty());
  for (const auto& [place, map] : model.relmaps) {
    std::string path =
        place.second == 0 ? std::string("/global") : fmt::format("/base/{}", place.second);
    EXPECT_EQ(map, read_whole_file(cluster.data() + path + "/pg_filenode.map")) << path;
  }
  for (auto [spc, db] : model.databases) {
    EXPECT_TRUE(std::filesystem::exists(fmt::format("{}/base/{}", cluster.data(), db)));
  }

  // Relations: what lives in the model lives on disk. Files of dropped main forks stay there empty
  // until the next checkpoint, which the shutdown was.
  for (const RelFork& rel : model.relations) {
    if (rel.fork == Fork::kFreeSpaceMap) continue;
    EXPECT_TRUE(std::filesystem::exists(relation_path(cluster, rel))) << fmt::format("{}", rel);
  }

  // Images that nothing changed afterwards are the index pages on disk, but for hints (in line
  // pointers and the special area), junk in the hole, and the LSN where the build left it out.
  size_t compared = 0;
  for (const auto& [tag, page] : model.images) {
    std::string file = read_whole_file(relation_path(cluster, tag.rel));
    size_t offset = size_t{tag.block} * kPageSize;
    size_t special = page_special(page.data());
    if (file.size() < offset + kPageSize || special == 0 || special == kPageSize) continue;
    ++compared;
    const std::byte* disk = as_bytes(file).data() + offset;
    size_t upper = page_upper(page.data());
    EXPECT_TRUE(std::equal(page.begin() + 10, page.begin() + 20, disk + 10))
        << fmt::format("{}", tag);
    EXPECT_TRUE(std::equal(page.begin() + static_cast<long>(upper),
                           page.begin() + static_cast<long>(special), disk + upper))
        << fmt::format("{}", tag);
  }
  EXPECT_GT(compared, 300U);

  // Visibility maps: rebuilt from VISIBLE records and the implicit clears alone.
  size_t maps = 0;
  for (const auto& [tag, page] : model.vm) {
    std::string file = read_whole_file(relation_path(cluster, tag.rel));
    size_t offset = size_t{tag.block} * kPageSize;
    ASSERT_GE(file.size(), offset + kPageSize) << fmt::format("{}", tag);
    bool equal = true;
    bool subset = true;
    for (size_t i = kPageHeaderSize; i < kPageSize; ++i) {
      auto disk = static_cast<std::byte>(file[offset + i]);
      equal &= page[i] == disk;
      subset &= (page[i] & ~disk) == std::byte{0};
    }
    // CREATE DATABASE logs map pages as standard pages, so their content is a hole: stock standbys
    // lose the bits too, which is safe.
    EXPECT_TRUE(model.vm_images.contains(tag) ? subset : equal) << fmt::format("{}", tag);
    ++maps;
  }
  EXPECT_GT(maps, 5U);

  EXPECT_EQ(model.last_message, "tide-test:body:true");
  ASSERT_EQ(model.origins.size(), 1U);
  EXPECT_EQ(model.origins.begin()->second, Lsn(0x800000088)) << roots;
  EXPECT_TRUE(std::is_sorted(model.commit_times.begin(), model.commit_times.end()));
  int64_t now = time(nullptr);
  EXPECT_LT(std::abs(model.commit_times.back() / 1'000'000 - now), 3600);
  for (const char* call : {"page_record",
                           "page_image",
                           "vm_clear",
                           "vm_clear_frozen",
                           "rel_create",
                           "rel_truncate",
                           "rel_drop",
                           "db_create",
                           "db_copy",
                           "db_drop",
                           "relmap_update",
                           "committed",
                           "aborted",
                           "clog_zero_page",
                           "multixact_create",
                           "multixact_zero_offsets",
                           "multixact_zero_members",
                           "twophase_put",
                           "twophase_delete",
                           "next_oid",
                           "online_checkpoint",
                           "shutdown_checkpoint",
                           "running_xacts",
                           "parameter_change",
                           "origin_set",
                           "origin_drop",
                           "logical_message",
                           "restore_point",
                           "wal_switch",
                           "commit_ts_zero_page"}) {
    EXPECT_GT(model.calls[call], 0U) << call;
  }
}

/// A record made by hand: header, block headers, main data.
class RecordMaker {
 public:
  RecordMaker(uint8_t rmgr, uint8_t info, uint32_t xid = 900) {
    header_.rmgr = rmgr;
    header_.info = info;
    header_.xid = xid;
  }
  RecordMaker& block(uint8_t id, uint32_t block, uint8_t flags = 0) {
    append(heads_, id);
    append(heads_, flags);
    append(heads_, uint16_t{0});
    if ((flags & kBlockSameRel) == 0) {
      append(heads_, uint32_t{1663});
      append(heads_, uint32_t{5});
      append(heads_, uint32_t{16384});
    }
    append(heads_, block);
    return *this;
  }
  RecordMaker& raw(std::string_view text) {
    heads_ += text;
    return *this;
  }
  template <typename T>
  RecordMaker& main(T value) {
    append(main_, value);
    return *this;
  }
  WalRecordView view() {
    bytes_.clear();
    std::string tail = heads_;
    append(tail, uint8_t{255});
    append(tail, static_cast<uint8_t>(main_.size()));
    tail += main_;
    header_.total_length = static_cast<uint32_t>(kRecordHeaderSize + tail.size());
    append(bytes_, header_);
    bytes_ += tail;
    return {Lsn(0x5000028), Lsn(0x5000100), Lsn(0x5000000), as_bytes(bytes_)};
  }

 private:
  WalRecordHeader header_;
  std::string heads_;
  std::string main_;
  std::string bytes_;
};

Status decode(RecordMaker& maker, ModelStore* model) {
  WalRecord record;
  WalRecordView view = maker.view();
  model->lsn = view.end;
  TIDE_TRY(record.parse(view));
  return decode_effects(record, *model);
}
Status decode(RecordMaker& maker) {
  ModelStore model;
  return decode(maker, &model);
}

TEST(EffectsTest, UpdateClearsOldAndNewPage) {
  auto update = [](uint32_t new_block, std::optional<uint32_t> old_block, uint8_t flags) {
    ModelStore model;
    RecordMaker maker(10, heap::kUpdate);
    maker.block(0, new_block);
    if (old_block.has_value()) maker.block(1, *old_block, kBlockSameRel);
    maker.main(uint32_t{900}).main(uint16_t{1}).main(uint8_t{0}).main(flags);
    maker.main(uint32_t{0}).main(uint16_t{2});
    EXPECT_TRUE(decode(maker, &model).ok());
    std::vector<std::pair<uint32_t, uint32_t>> cleared;
    for (const auto& [tag, blocks] : model.vm_cleared) {
      for (uint32_t block : blocks) cleared.emplace_back(tag.block, block);
    }
    size_t calls = model.calls["vm_clear"];
    return std::pair(calls, cleared);
  };
  using Cleared = std::vector<std::pair<uint32_t, uint32_t>>;
  EXPECT_EQ(update(7, std::nullopt, 0x00), std::pair(size_t{0}, Cleared{}));
  EXPECT_EQ(update(7, std::nullopt, 0x01), std::pair(size_t{1}, Cleared{{0, 7}}));
  EXPECT_EQ(update(7, 3, 0x01), std::pair(size_t{1}, Cleared{{0, 3}}));
  EXPECT_EQ(update(7, 3, 0x02), std::pair(size_t{1}, Cleared{{0, 7}}));
  EXPECT_EQ(update(7, 3, 0x03), std::pair(size_t{1}, Cleared{{0, 3}, {0, 7}}));
  // The bits lie on two pages of the map.
  EXPECT_EQ(update(40000, 3, 0x03), std::pair(size_t{2}, Cleared{{0, 3}, {1, 40000}}));
}

TEST(EffectsTest, LocksClearOnlyTheFrozenBit) {
  for (auto [rmgr, info] : {std::pair{10, 0x60}, std::pair{9, 0x60}}) {
    ModelStore model;
    RecordMaker maker(static_cast<uint8_t>(rmgr), static_cast<uint8_t>(info));
    maker.block(0, 11).main(uint32_t{1}).main(uint16_t{1}).main(uint8_t{0}).main(uint8_t{1});
    ASSERT_TRUE(decode(maker, &model).ok());
    EXPECT_EQ(model.calls["vm_clear_frozen"], 1U);
    EXPECT_EQ(model.calls["vm_clear"], 0U);
  }
}

TEST(EffectsTest, UnknownRecordsAreErrors) {
  // All operations of all managers: decoded, or refused by name; never a crash, never silence.
  for (int rmgr = 0; rmgr < 256; ++rmgr) {
    for (int info = 0; info < 256; info += 16) {
      RecordMaker maker(static_cast<uint8_t>(rmgr), static_cast<uint8_t>(info));
      Status status = decode(maker);
      if (rmgr >= kRmgrCount) {
        EXPECT_EQ(status.code(), rmgr >= 128 ? Code::kInvalid : Code::kCorrupt);
      }
      if (status.ok()) continue;
      EXPECT_NE(status.message().find(fmt::format("rmgr {}, info 0x{:02X}", rmgr, info)),
                std::string::npos)
          << status.to_string();
    }
  }
  RecordMaker end_of_recovery(0, xlog::kEndOfRecovery);
  EXPECT_EQ(decode(end_of_recovery).code(), Code::kCorrupt);
  RecordMaker misplaced_block(1, xact::kCommit);
  misplaced_block.block(0, 1).main(int64_t{0});
  EXPECT_EQ(decode(misplaced_block).code(), Code::kCorrupt);
  CheckPoint other_timeline;
  other_timeline.tli = 2;
  RecordMaker checkpoint(0, xlog::kCheckpointOnline);
  EXPECT_EQ(decode(checkpoint.main(other_timeline)).code(), Code::kCorrupt);
}

TEST(EffectsTest, PreparedCommitFindsItsTransactionBehindEverything) {
  RecordMaker maker(1, xact::kCommitPrepared | xact::kHasInfo, 0);
  maker.raw(std::string("\xFD\x07\x00", 3));  // origin 7
  maker.main(int64_t{1000}).main(uint32_t{0x1FF & ~(1U << 6)});
  maker.main(uint32_t{5}).main(uint32_t{1663});                      // database
  maker.main(int32_t{2}).main(uint32_t{1001}).main(uint32_t{1002});  // subtransactions
  maker.main(int32_t{1}).main(FileNode{1663, 5, 77});                // files
  maker.main(int32_t{1}).main(DroppedStats{2, 5, 77});               // statistics
  maker.main(int32_t{1}).main(uint64_t{1}).main(uint64_t{2});        // invalidations
  maker.main(uint32_t{1000});                                        // the transaction
  maker.main('g').main('i').main('d').main('\0');
  maker.main(uint64_t{0xAB}).main(int64_t{2000});  // origin, unaligned
  ModelStore model;
  model.twophase[1000] = "state";
  Status status = decode(maker, &model);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(model.origins[7], Lsn(0xAB));
  EXPECT_EQ(model.counters.next_xid, 1003U);
  EXPECT_TRUE(model.twophase.empty());
  for (uint32_t xid : {1000U, 1001U, 1002U}) {
    EXPECT_EQ(clog_status(model.slru_page(Slru::kClog, 0).data(), xid), XidStatus::kCommitted);
  }
  EXPECT_EQ(model.calls["rel_drop"], 1U);
  EXPECT_EQ(model.commit_times.at(0), 1000 + kPostgresEpochUs);

  WalRecord record;
  ASSERT_TRUE(record.parse(maker.view()).ok());
  auto end = parse_transaction_end(record);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->gid, "gid");
  EXPECT_EQ(end->db, 5U);
  // Cut short or longer by a byte: no guess.
  maker.main(uint8_t{0});
  EXPECT_EQ(decode(maker, &model).code(), Code::kCorrupt);
}

TEST(EffectsTest, MultixactsWrap) {
  RecordMaker maker(6, multixact::kCreate, 0);
  maker.main(uint32_t{0xFFFFFFFF}).main(uint32_t{0xFFFFFFFE}).main(int32_t{2});
  maker.main(MultixactMember{0x10, 0}).main(MultixactMember{0x80000010, 4});
  ModelStore model;
  model.counters.next_xid = 0x80000000;
  model.counters.next_multi = 0xFFFFFFFF;
  model.counters.next_multi_offset = 0xFFFFFFFE;
  ASSERT_TRUE(decode(maker, &model).ok());
  EXPECT_EQ(model.counters.next_multi, 1U);
  EXPECT_EQ(model.counters.next_multi_offset, 1U);
  EXPECT_EQ(multixact_offset(model.slru_page(Slru::kMultixactOffsets, 0).data(), 1), 1U);
  EXPECT_EQ(model.counters.next_xid, 0x80000011U);
}

TEST(WalRecordTest, DamagedRecordsAreRefusedWithoutReadingBeyond) {
  RecordMaker maker(10, heap::kInsert);
  maker.block(0, 9).block(1, 10, kBlockSameRel).main(uint64_t{1});
  WalRecordView good = maker.view();
  std::mt19937 random(5);
  for (int round = 0; round < 20'000; ++round) {
    // An own allocation of the exact size, so that a sanitizer sees every byte too many.
    std::vector<std::byte> bytes(good.bytes.begin(), good.bytes.end());
    for (unsigned i = 0; i < 1 + random() % 3; ++i) {
      bytes[kRecordHeaderSize + random() % (bytes.size() - kRecordHeaderSize)] =
          static_cast<std::byte>(random());
    }
    if (random() % 4 == 0) {
      bytes.resize(kRecordHeaderSize + random() % (bytes.size() - kRecordHeaderSize));
      store(bytes.data(), static_cast<uint32_t>(bytes.size()));
    }
    bytes[17] = static_cast<std::byte>(random() % kRmgrCount);
    bytes[16] = static_cast<std::byte>(random());
    WalRecord record;
    Status parsed = record.parse({good.start, good.end, good.prev, bytes});
    if (!parsed.ok()) continue;
    ModelStore model;
    decode_effects(record, model).ignore("only that it ends");
  }
}

TEST(PglzTest, RefusesDamagedInput) {
  std::mt19937 random(9);
  std::array<std::byte, 200> output;
  for (int round = 0; round < 50'000; ++round) {
    std::vector<std::byte> input(random() % 60);
    for (std::byte& byte : input) byte = static_cast<std::byte>(random());
    (void)pglz_decompress(input, output.data(), output.size());
  }
  // "ab" then a match of 18 + 4 bytes at distance 2.
  std::vector<std::byte> input = {std::byte{4},    std::byte{'a'}, std::byte{'b'},
                                  std::byte{0x0F}, std::byte{2},   std::byte{4}};
  ASSERT_TRUE(pglz_decompress(input, output.data(), 24));
  EXPECT_EQ(as_chars(BytesView(output).first(24)), "abababababababababababab");
  EXPECT_FALSE(pglz_decompress(input, output.data(), 25));
}

}  // namespace
}  // namespace tide::pgformat

#include "deltalog/table_state.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>

#include "deltalog/checkpoint_rows.h"
#include "deltalog/log_listing.h"
#include "deltalog/protocol.h"

namespace tide::deltalog {
namespace {

Metadata metadata() {
  Metadata metadata;
  metadata.id = "t";
  metadata.schema_string = write_schema(from_columns({{"id", columns::Kind::kInt64}}));
  return metadata;
}

AddFile add(const std::string& path, std::optional<std::string> vector = std::nullopt) {
  AddFile add;
  add.path = path;
  add.size = 1;
  add.stats = R"({"numRecords":1})";
  if (vector) add.deletion_vector = DeletionVectorDescriptor{'u', *vector, 1, 34, 1};
  return add;
}

TableState fresh() {
  TableState state;
  state.apply(0, {Protocol(), metadata(), add("a"), add("b%20c")});
  EXPECT_TRUE(state.finish().ok());
  return state;
}

TEST(TableState, NewestReferenceWins) {
  TableState state = fresh();
  // Order inside a commit has no meaning: the remove comes last here.
  state.apply(1, {add("a", "one"), remove_of(add("a"), 5, true), Transaction{"app", 1, {}},
                  DomainMetadata{"d", "1", false}});
  state.apply(2, {remove_of(add("a", "one"), 6, true), add("a", "two"), Transaction{"app", 7, {}},
                  DomainMetadata{"d", "", true}, remove_of(add("b c"), 7, true)});
  ASSERT_TRUE(state.finish().ok());
  ASSERT_EQ(state.files().size(), 1U);
  EXPECT_EQ(state.sorted_files()[0]->deletion_vector->path_or_inline, "two");
  EXPECT_EQ(state.transaction("app"), 7);
  EXPECT_EQ(state.domain("d"), std::nullopt);
  EXPECT_EQ(state.tombstones().size(), 3U);
  state.expire_tombstones(7);
  EXPECT_EQ(state.tombstones().size(), 1U);
}

TEST(TableState, LogsWithoutProtocolOrMetadataAreCorrupt) {
  TableState without_protocol;
  without_protocol.apply(0, {metadata()});
  EXPECT_EQ(without_protocol.finish().code(), Code::kCorrupt);
  TableState without_metadata;
  without_metadata.apply(0, {Protocol()});
  EXPECT_EQ(without_metadata.finish().code(), Code::kCorrupt);
}

TEST(TableState, CheckpointRowsHoldAllOfIt) {
  TableState state = fresh();
  Metadata changed = metadata();
  changed.configuration = {{"k", "v"}};
  changed.partition_columns = {"p", "q"};
  changed.name = "name";
  AddFile partitioned = add("p=1/x", "vector");
  partitioned.partition_values = {{"p", "1"}, {"q", std::nullopt}};
  partitioned.tags = {{"t", "u"}};
  partitioned.data_change = false;
  state.apply(1,
              {lake_protocol(state.schema()), changed, partitioned, remove_of(add("a"), 5, false),
               Transaction{"app", 1, 2}, DomainMetadata{"d", "{}", false}});
  ASSERT_TRUE(state.finish().ok());
  Result<std::vector<Action>> actions = actions_of_rows(checkpoint_rows(state));
  ASSERT_TRUE(actions.ok()) << actions.status().to_string();
  TableState loaded;
  loaded.load(*actions);
  loaded.loaded(1);
  ASSERT_TRUE(loaded.finish().ok());
  EXPECT_TRUE(loaded.protocol() == state.protocol());
  EXPECT_TRUE(loaded.metadata() == state.metadata());
  EXPECT_TRUE(loaded.transactions() == state.transactions());
  EXPECT_TRUE(loaded.domains() == state.domains());
  EXPECT_TRUE(loaded.tombstones() == state.tombstones());
  ASSERT_EQ(loaded.files().size(), 2U);
  EXPECT_TRUE(*loaded.sorted_files()[1] == partitioned);
}

TEST(TableState, CommitsAreCheckedAgainstTheRules) {
  TableState state = fresh();
  auto check = [&](std::vector<Action> actions) { return check_commit(state, actions).code(); };
  EXPECT_EQ(check({add("n"), remove_of(add("a"), 1, true)}), Code::kOk);
  EXPECT_EQ(check({remove_of(add("a"), 1, true), add("a", "one")}), Code::kOk);
  EXPECT_EQ(check({add("a", "one")}), Code::kInvalid);
  EXPECT_EQ(check({remove_of(add("a", "other"), 1, true)}), Code::kInvalid);
  EXPECT_EQ(check({add("n"), add("n")}), Code::kInvalid);
  EXPECT_EQ(check({add("a"), remove_of(add("a"), 1, true)}), Code::kInvalid);
  EXPECT_EQ(check({Transaction{"a", 1, {}}, Transaction{"a", 2, {}}}), Code::kInvalid);
  EXPECT_EQ(check_commit(TableState(), {add("a")}).code(), Code::kInvalid);
}

TEST(TableState, TenThousandFilesReplayFast) {
  std::vector<Action> actions{Protocol(), metadata()};
  for (int i = 0; i < 10'000; ++i)
    actions.emplace_back(add(fmt::format("part-{:05}-some-uuid-like-name.parquet", i)));
  std::string lines = write_actions(actions);
  auto begin = std::chrono::steady_clock::now();
  TableState state;
  state.apply(0, *parse_actions(lines));
  ASSERT_TRUE(state.finish().ok());
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  EXPECT_EQ(state.files().size(), 10'000U);
  std::printf("10,000 adds, %zu KB of JSON: %d ms\n", lines.size() / 1000,
              static_cast<int>(took.count()));
}

TEST(LogListing, NamesAreKnown) {
  EXPECT_EQ(parse_log_file("00000000000000000012.json")->version, 12);
  EXPECT_EQ(parse_log_file("00000000000000000012.checkpoint.parquet")->kind,
            LogFileKind::kClassicCheckpoint);
  EXPECT_EQ(parse_log_file("00000000000000000012.checkpoint.0000000001.0000000002.parquet")->parts,
            2);
  EXPECT_EQ(
      parse_log_file("00000000000000000012.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json")
          ->kind,
      LogFileKind::kUuidCheckpoint);
  EXPECT_EQ(parse_log_file("00000000000000000004.00000000000000000006.compacted.json")->end_version,
            6);
  for (const char* other :
       {"_last_checkpoint", "12.json", "00000000000000000012.json.tmp", "99999999999999999999.json",
        "00000000000000000012.checkpoint.0000000003.0000000002.parquet",
        "00000000000000000006.00000000000000000004.compacted.json",
        ".00000000000000000012.json.crc"}) {
    EXPECT_FALSE(parse_log_file(other)) << other;
  }
  EXPECT_EQ(commit_name(12), "00000000000000000012.json");
}

std::string compacted(int from, int to) {
  return fmt::format("{:020}.{:020}.compacted.json", from, to);
}

TEST(LogListing, ReadsTheLeastThatGivesAVersion) {
  std::vector<std::string> names{
      "_last_checkpoint", compacted(5, 7),
      compacted(5, 6),    checkpoint_name(4),
      checkpoint_name(2), "00000000000000000008.checkpoint.0000000001.0000000002.parquet"};
  for (int i = 2; i <= 8; ++i) names.push_back(commit_name(i));
  LogListing listing(names);
  EXPECT_EQ(listing.latest_version(), 8);
  Result<LogSegment> latest = listing.segment(std::nullopt);
  ASSERT_TRUE(latest.ok());
  EXPECT_EQ(latest->checkpoint_version, 4);  // that of 8 lacks a part
  ASSERT_EQ(latest->commits.size(), 2U);
  EXPECT_EQ(latest->commits[0].name, compacted(5, 7));
  EXPECT_EQ(latest->commits[1].version, 8);
  EXPECT_EQ(listing.segment(6)->commits[0].name, compacted(5, 6));
  EXPECT_EQ(listing.segment(3)->checkpoint_version, 2);
  EXPECT_EQ(listing.segment(8, 4)->checkpoint_version, 2);
  EXPECT_EQ(listing.segment(1).status().code(), Code::kNotFound);
  EXPECT_EQ(listing.segment(9).status().code(), Code::kNotFound);
  EXPECT_EQ(listing.segment(8, 2).status().code(), Code::kNotFound);
  LogListing gap({commit_name(0), commit_name(2)});
  EXPECT_EQ(gap.segment(std::nullopt).status().code(), Code::kCorrupt);
  EXPECT_EQ(LogListing({}).segment(std::nullopt).status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tide::deltalog

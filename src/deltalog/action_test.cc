#include "deltalog/action.h"

#include <gtest/gtest.h>

#include <random>

#include "deltalog/path.h"

namespace tide::deltalog {
namespace {

std::vector<Action> all_actions() {
  CommitInfo info;
  info.timestamp = 1000;
  info.in_commit_timestamp = 1001;
  info.operation = "WRITE";
  info.others = R"({"lsn":"0/1F8"})";
  Protocol protocol{3, 7, {{"deletionVectors"}}, {{"deletionVectors", "domainMetadata"}}};
  Metadata metadata;
  metadata.id = "a-b";
  metadata.schema_string = R"({"type":"struct","fields":[]})";
  metadata.partition_columns = {"p"};
  metadata.configuration = {{"delta.x", "a \"quoted\" \u00e9"}};
  metadata.created_time = 5;
  AddFile add;
  add.path = "p=1/a%20b.parquet";
  add.partition_values = {{"p", "1"}, {"q", std::nullopt}};
  add.size = 10;
  add.modification_time = 7;
  add.stats = R"({"numRecords":3})";
  add.tags = {{"k", "v"}};
  add.deletion_vector = DeletionVectorDescriptor{'u', "vBn[lx{q8@P<9BNH/isA", 1, 36, 2};
  RemoveFile remove = remove_of(add, 9, false);
  return {protocol,
          metadata,
          add,
          remove,
          CdcFile{"_change_data/x", {{"p", "1"}}, 4, {}},
          Transaction{"app", 42, 8},
          DomainMetadata{"tidewater.mirror", R"({"lsn":"0/1"})", false},
          SidecarFile{"s.parquet", 1, 2},
          CheckpointMetadata{3},
          info};
}

TEST(Action, EveryKindSurvivesItsJson) {
  std::string lines = write_actions(all_actions());
  EXPECT_TRUE(lines.starts_with("{\"commitInfo\":{\"inCommitTimestamp\":1001,")) << lines;
  Result<std::vector<Action>> back = parse_actions(lines);
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  std::vector<Action> expected = all_actions();
  std::rotate(expected.begin(), expected.end() - 1, expected.end());
  EXPECT_TRUE(*back == expected) << write_actions(*back);
  EXPECT_EQ(parse_commit_info(lines)->in_commit_timestamp, 1001);
}

TEST(Action, UnknownActionsAndMembersArePassedOver) {
  Result<std::vector<Action>> actions = parse_actions(
      "{\"future\":{\"x\":1}}\r\n\n"
      "{\"txn\":{\"appId\":\"a\",\"version\":1,\"new\":[]},\"beside\":1}\n"
      "{\"add\":null,\"remove\":null,\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}"
      "}");
  ASSERT_TRUE(actions.ok()) << actions.status().to_string();
  EXPECT_EQ(actions->size(), 2U);
}

TEST(Action, WhatIsDamagedNamesItsLine) {
  for (const char* bad : {"{\"add\":{\"size\":1}}", "{\"add\":{\"path\":\"x\"}}", "nonsense", "[1]",
                          "{\"protocol\":{\"minReaderVersion\":\"1\"}}", "{\"txn\":{}}",
                          "{\"add\":{\"path\":\"x\""}) {
    Result<std::vector<Action>> actions = parse_actions(std::string("{}\n") + bad);
    ASSERT_FALSE(actions.ok()) << bad;
    EXPECT_EQ(actions.status().code(), Code::kCorrupt);
    EXPECT_TRUE(actions.status().message().starts_with("line 2: ")) << actions.status().message();
  }
}

TEST(Action, DamagedBytesNeverCrash) {
  std::mt19937 random(7);
  std::string lines = write_actions(all_actions());
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = lines;
    for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
    parse_actions(damaged).status().ignore("may be right or wrong");
  }
}

TEST(Path, DecodesWhatOthersEncode) {
  EXPECT_EQ(file_name("a%20b%23c%25d"), "a b#c%d");
  EXPECT_EQ(file_name("100%"), "100%");
  EXPECT_EQ(file_name("file:/a/b"), "/a/b");
  EXPECT_EQ(file_name("file:///a/p@%23h"), "/a/p@#h");
  EXPECT_EQ(file_name("s3://bucket/a"), "s3://bucket/a");
  EXPECT_TRUE(is_absolute("/a"));
  EXPECT_TRUE(is_absolute("s3://bucket/a"));
  EXPECT_FALSE(is_absolute("p=12:30/a"));
  EXPECT_FALSE(is_absolute("a/b:c"));
  for (const char* name : {"a b", "p=%25/x", "\u00e9/#?", "plain-1_2.parquet"}) {
    EXPECT_EQ(percent_decode(percent_encode(name)), name);
  }
  EXPECT_EQ(percent_encode("p=a b/c#"), "p=a%20b/c%23");
}

}  // namespace
}  // namespace tide::deltalog

#include "duck/internal/test_batch.h"
#include "duck/internal/test_engine.h"

namespace tide::duck {
namespace {

using columns::Batch;
using columns::Kind;
using columns::Type;

class RowsFunctionTest : public EngineTest {
 protected:
  void SetUp() override { open(); }

  std::string from(const Registration& rows) {
    return "tide_rows(" + std::to_string(rows.id()) + ")";
  }
};

TEST_F(RowsFunctionTest, EveryTypeIsScannedAsItIs) {
  for (const int64_t rows : {0, 1, 64, 2047, 2048, 2049, 9000}) {
    const auto batch = every_batch(rows);
    Result<Registration> registered = engine_->register_rows({{batch, nullptr}}, every_field());
    ASSERT_TRUE(registered.ok()) << registered.status().to_string();
    Result<std::unique_ptr<QueryResult>> result =
        connection_->query("SELECT * EXCLUDE (__tide_row) FROM " + from(*registered));
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    Result<Batch> back = (*result)->all();
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(columns::encode(*back), columns::encode(*batch)) << rows;
  }
}

TEST_F(RowsFunctionTest, DeletedRowsAreLeftOutAndNumbersStay) {
  std::vector<RowSegment> segments;
  for (const int64_t rows : {10000, 0, 100000, 1}) segments.push_back({every_batch(rows), nullptr});
  columns::RowSet gone;
  for (uint32_t row = 0; row < 100000; ++row) {
    if (row % 7 == 3 || (row > 30000 && row < 45000) || row > 99990) gone.add(row);
  }
  segments[2].deleted = std::make_shared<DeletedRows>(gone);
  Batch wanted(every_field());
  for (const RowSegment& segment : segments) {
    for (size_t row = 0; row < segment.batch->rows(); ++row) {
      if (segment.deleted == nullptr || !gone.contains(static_cast<uint32_t>(row)))
        wanted.append_from(*segment.batch, row);
    }
  }
  Result<Registration> registered = engine_->register_rows(segments, every_field());
  ASSERT_TRUE(registered.ok());
  Result<std::unique_ptr<QueryResult>> result = connection_->query(
      "SELECT * EXCLUDE (__tide_row) FROM " + from(*registered) + " ORDER BY __tide_row");
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  Result<Batch> back = (*result)->all();
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->rows(), wanted.rows());
  EXPECT_TRUE(columns::encode(*back) == columns::encode(wanted));
  result->reset();
  EXPECT_EQ(
      text("SELECT count(*), min(__tide_row), max(__tide_row), count(DISTINCT __tide_row) FROM " +
           from(*registered)),
      std::to_string(wanted.rows()) + "|0|110000|" + std::to_string(wanted.rows()));
  EXPECT_EQ(text("SELECT count(*) FROM " + from(*registered) +
                 " WHERE (__tide_row - 10000) % 7 = 3 AND __tide_row "
                 "BETWEEN 10000 AND 109999"),
            "0");
}

TEST_F(RowsFunctionTest, OnlyColumnsAskedForAreWritten) {
  Result<Registration> registered =
      engine_->register_rows({{every_batch(5000), nullptr}}, every_field());
  ASSERT_TRUE(registered.ok());
  EXPECT_EQ(text("SELECT count(*) FROM " + from(*registered)), "5000");
  EXPECT_EQ(text("SELECT max(len(l)), sum(__tide_row) FROM " + from(*registered)), "3|12497500");
  const std::string plan = text("EXPLAIN SELECT s FROM " + from(*registered) + " WHERE i32 = 4");
  EXPECT_EQ(plan.find("i64"), std::string::npos) << plan;
}

TEST_F(RowsFunctionTest, TextOutlivesTheRegistration) {
  std::unique_ptr<QueryResult> result;
  {
    Result<Registration> registered =
        engine_->register_rows({{every_batch(100000), nullptr}}, every_field());
    ASSERT_TRUE(registered.ok());
    Result<std::unique_ptr<QueryResult>> query =
        connection_->query("SELECT s FROM " + from(*registered));
    ASSERT_TRUE(query.ok());
    result = *std::move(query);
  }
  const auto wanted = every_batch(100000);
  Result<Batch> all = result->all();
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->columns[0].heap(), wanted->columns[10].heap());
  EXPECT_EQ(code_of("SELECT * FROM tide_rows(1)"), Code::kInvalid);
}

TEST_F(RowsFunctionTest, WhatDoesNotFitIsRefused) {
  auto batch = std::make_shared<Batch>(std::vector<columns::Field>{{"s", Kind::kString}});
  batch->columns[0].append_bytes("fine é€😀");
  EXPECT_TRUE(engine_->register_rows({{batch, nullptr}}, {{"s", Kind::kString}}).ok());
  EXPECT_EQ(engine_->register_rows({{batch, nullptr}}, {{"s", Kind::kBinary}}).status().code(),
            Code::kInvalid);
  EXPECT_EQ(engine_->register_rows({{batch, nullptr}}, {}).status().code(), Code::kInvalid);
  EXPECT_EQ(engine_->register_rows({{nullptr, nullptr}}, {}).status().code(), Code::kInvalid);
  for (const char* bad : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "12345678\x80", "\xe2\x82"}) {
    auto broken =
        std::make_shared<Batch>(std::vector<columns::Field>{{"l", Type::list(Kind::kString)}});
    broken->columns[0].child(0).append_bytes(bad);
    broken->columns[0].end_list();
    EXPECT_EQ(engine_->register_rows({{broken, nullptr}}, {{"l", Type::list(Kind::kString)}})
                  .status()
                  .code(),
              Code::kInvalid)
        << bad;
  }
  auto cut = std::make_shared<Batch>(std::vector<columns::Field>{{"s", Kind::kString}});
  cut->columns[0].append_bytes("\xc3");
  cut->columns[0].append_bytes("\xa9");
  EXPECT_EQ(engine_->register_rows({{cut, nullptr}}, {{"s", Kind::kString}}).status().code(),
            Code::kInvalid);
}

}  // namespace
}  // namespace tide::duck

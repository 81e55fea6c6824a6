#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "delta/table_directory.h"
#include "duck/connection.h"
#include "duck/engine.h"
#include "env/file.h"

namespace tide::delta {

#define ASSERT_OK(expression)                                                         \
  do {                                                                                \
    auto&& assert_ok_outcome = (expression);                                          \
    ASSERT_TRUE(assert_ok_outcome.ok()) << ::tide::delta::text_of(assert_ok_outcome); \
  } while (false)

inline std::string text_of(const Status& status) { return status.to_string(); }
template <typename T>
std::string text_of(const Result<T>& result) {
  return result.ok() ? "OK" : result.status().to_string();
}

/// For tests: an engine and a directory of its own.
class LakeTest : public testing::Test {
 protected:
  LakeTest() {
    std::string pattern = testing::TempDir() + "tide-delta-XXXXXX";
    scratch_ = mkdtemp(pattern.data());
  }
  ~LakeTest() override { env::remove_tree(scratch_).ignore("only a test's directory"); }

  void SetUp() override {
    duck::EngineOptions options;
    options.memory_limit_bytes = uint64_t{512} << 20;
    Result<std::unique_ptr<duck::Engine>> engine = duck::Engine::open(options);
    ASSERT_OK(engine);
    engine_ = std::move(engine).value();
  }

  Result<columns::Batch> query(const std::string& sql) {
    std::unique_ptr<duck::Connection> connection = TIDE_TRY(engine_->connect());
    std::unique_ptr<duck::QueryResult> result = TIDE_TRY(connection->query(sql));
    return result->all();
  }
  /// The one number that the query yields; -1 with a failure if it does not.
  int64_t number(const std::string& sql) {
    Result<columns::Batch> batch = query("SELECT CAST((" + sql + ") AS BIGINT)");
    EXPECT_TRUE(batch.ok()) << text_of(batch) << "\n" << sql;
    if (!batch.ok() || batch->rows() != 1 || batch->columns[0].is_null(0)) return -1;
    return batch->columns[0].value<int64_t>(0);
  }
  /// All rows as text, sorted: "a|b" each, newlines between.
  std::string rows_of(const std::string& sql) {
    Result<columns::Batch> batch = query(
        "SELECT string_agg(line, chr(10) ORDER BY line) FROM (SELECT concat_ws('|', "
        "*COLUMNS(lambda c: true)) AS line FROM (SELECT coalesce(CAST(COLUMNS(*) AS VARCHAR), "
        "'NULL') FROM (" +
        sql + ")))");
    if (!batch.ok()) return batch.status().to_string();
    return batch->columns[0].is_null(0) ? "" : std::string(batch->columns[0].bytes_at(0));
  }

  std::string scratch_;
  std::unique_ptr<duck::Engine> engine_;
};

}  // namespace tide::delta

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "duck/connection.h"
#include "duck/engine.h"
#include "duck/sql_text.h"
#include "env/file.h"

namespace tide::duck {

/// For tests: an engine with a directory of its own, and results as text.
class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    std::string pattern = testing::TempDir() + "tide-duck-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~EngineTest() override {
    connection_.reset();
    engine_.reset();
    env::remove_tree(directory_).ignore("only a test's directory");
  }

  void open(EngineOptions options = {}, ConnectionOptions connection = {}) {
    Result<std::unique_ptr<Engine>> engine = Engine::open(options);
    ASSERT_TRUE(engine.ok()) << engine.status().to_string();
    engine_ = *std::move(engine);
    Result<std::unique_ptr<Connection>> connected = engine_->connect(std::move(connection));
    ASSERT_TRUE(connected.ok()) << connected.status().to_string();
    connection_ = *std::move(connected);
  }

  std::string path(std::string_view name) const { return directory_ + "/" + std::string(name); }

  /// The rows, values as DuckDB writes them, "a|b" per row with newlines between; or the error.
  std::string text(Connection& connection, std::string_view sql) {
    Result<std::unique_ptr<QueryResult>> result = connection.query(sql);
    if (!result.ok()) return result.status().to_string();
    Result<columns::Batch> batch = (*result)->all();
    if (!batch.ok()) return batch.status().to_string();
    std::vector<columns::Field> fields;
    std::string casts;
    for (size_t i = 0; i < batch->columns.size(); ++i) {
      fields.push_back({"c" + std::to_string(i), batch->columns[i].type()});
      casts += (i == 0 ? "" : " || '|' || ") + std::string("coalesce(c") + std::to_string(i) +
               "::VARCHAR, 'NULL')";
    }
    result->reset();
    if (fields.empty()) return "";
    Result<Registration> rows = engine_->register_rows(
        {{std::make_shared<columns::Batch>(*std::move(batch)), nullptr}}, fields);
    if (!rows.ok()) return rows.status().to_string();
    Result<std::unique_ptr<Connection>> other = engine_->connect();
    Result<std::unique_ptr<QueryResult>> texts =
        (*other)->query("SELECT " + casts + " FROM tide_rows(" + std::to_string(rows->id()) + ")");
    if (!texts.ok()) return texts.status().to_string();
    Result<columns::Batch> lines = (*texts)->all();
    if (!lines.ok()) return lines.status().to_string();
    std::string out;
    for (size_t row = 0; row < lines->rows(); ++row) {
      out += (row == 0 ? "" : "\n") + std::string(lines->columns[0].bytes_at(row));
    }
    return out;
  }
  std::string text(std::string_view sql) { return text(*connection_, sql); }

  Code code_of(std::string_view sql) {
    Result<std::unique_ptr<QueryResult>> result = connection_->query(sql);
    if (!result.ok()) return result.status().code();
    return (*result)->all().status().code();
  }

  std::string directory_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace tide::duck

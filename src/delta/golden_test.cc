// Tables by other writers (Spark, delta-kernel, delta-rs), many with the right answer beside them.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include "delta/internal/test_lake.h"
#include "delta/table.h"
#include "deltalog/path.h"
#include "deltalog/schema.h"
#include "duck/sql_text.h"

namespace tide::delta {
namespace {

/// Where the tables are, or empty.
std::string golden_directory() {
  const char* given = ::getenv("TIDE_DELTA_GOLDEN");
  for (const std::string& path : {std::string(given == nullptr ? "" : given),
                                  std::string(TIDE_SOURCE_DIR "/../shared/delta-golden"),
                                  std::string(TIDE_SOURCE_DIR "/../../shared/delta-golden")}) {
    if (!path.empty() && env::exists(path + "/MANIFEST.tsv")) return path;
  }
  return "";
}

/// Tables that are refused on purpose or by their nature, with a part of the reason.
const std::map<std::string, std::string>& refused() {
  // Only the log is there: the data files never were, or were left out.
  constexpr const char* kNoData = "No files found";
  constexpr const char* kCatalog = "reader features that we do not have: catalog";
  constexpr const char* kVariant = "has type variant, which we cannot read";
  static const std::map<std::string, std::string> tables = {
      {"delta-rs/checkpoint_with_partitions", kNoData},
      {"delta-rs/checkpoints", kNoData},
      {"delta-rs/checkpoints_vacuumed", kNoData},
      {"delta-rs/err_logs/table_a", kNoData},
      {"delta-rs/err_logs/table_b", kNoData},
      {"delta-rs/err_logs/table_c", "commit 12 is missing"},
      {"delta-rs/err_logs/table_d", kCatalog},
      {"delta-rs/err_logs/table_e", kCatalog},
      {"delta-rs/err_logs/table_f", kCatalog},
      {"delta-rs/err_logs/table_g", kNoData},
      {"delta-rs/err_logs/table_h", kCatalog},
      {"delta-rs/err_logs/table_i", kCatalog},
      {"delta-rs/latest_not_checkpointed", kNoData},
      {"delta-rs/simple_table_features", "reader version 5"},
      {"delta-rs/spark-shredded-variant-preview-delta", kVariant},
      {"delta-rs/spark-variant-checkpoint", kVariant},
      {"delta-rs/spark-variant-stable-feature-checkpoint", kVariant},
      {"delta-rs/table-with-domain-metadata", kNoData},
      {"delta-rs/with_checkpoint_no_last_checkpoint", kNoData},
      {"delta-spark/golden/corrupted-last-checkpoint", "metadata has no schema"},
      {"delta-spark/golden/spark-variant-checkpoint", kVariant},
      {"delta-spark/kernel-benchmarks/basic_catalog_managed/delta", kCatalog},
      {"delta-spark/kernel-defaults/catalog-owned-preview", kCatalog},
      {"delta-spark/kernel-defaults/spark-shredded-variant-preview-delta", kVariant},
      {"delta-spark/kernel-defaults/spark-variant-checkpoint", kVariant},
      {"delta-spark/kernel-defaults/spark-variant-stable-feature-checkpoint", kVariant},
      {"delta-spark/spark/variant-stats-nested-no-checkpoint", kVariant},
      {"delta-spark/spark/variant-stats-no-checkpoint", kVariant},
      {"delta-spark/spark/variant-stats-state-reconstruction", kVariant},
      {"delta-spark/spark/variant-stats-with-struct-no-checkpoint", kVariant},
      {"kernel-rs/data/app-txn-with-last-updated", kNoData},
      {"kernel-rs/data/catalog_managed_0", kCatalog},
      {"kernel-rs/data/crc-malformed", "its log is empty"},
      {"kernel-rs/data/table-with-geo", "reader features that we do not have: geospatial"},
      {"kernel-rs/data/unshredded-variant", kVariant},
      {"kernel-rs/data/with_checkpoint_no_last_checkpoint", kNoData},
      {"kernel-rs/golden/checkpoint/delta", kNoData},
      {"kernel-rs/golden/data-reader-absolute-paths-escaped-chars/delta", "no metadata"},
      {"kernel-rs/golden/delete-re-add-same-file-different-transactions/delta", kNoData},
      {"kernel-rs/golden/deltalog-commit-info/delta", "metadata has no schema"},
      {"kernel-rs/golden/deltalog-invalid-protocol-version/delta", "reader version 99"},
      {"kernel-rs/golden/deltalog-state-reconstruction-from-checkpoint-missing-metadata/delta",
       "no metadata"},
      {"kernel-rs/golden/deltalog-state-reconstruction-from-checkpoint-missing-protocol/delta",
       "no protocol"},
      {"kernel-rs/golden/deltalog-state-reconstruction-without-metadata/delta", "no metadata"},
      {"kernel-rs/golden/deltalog-state-reconstruction-without-protocol/delta", "no protocol"},
      {"kernel-rs/golden/log-replay-special-characters-b/delta", kNoData},
      {"kernel-rs/golden/update-deleted-directory/delta", "metadata has no schema"},
      {"kernel-rs/golden/versions-not-contiguous/delta", "commit 1 is missing"},
  };
  return tables;
}

/// Columns whose expected answer is not the protocol's: a timestamp among partition values that was
/// written without zone is read as UTC, not in the zone that the test's writer had.
bool is_excused(const std::string& table, const std::string& column) {
  return table.find("/data-reader-partition-values/") != std::string::npos &&
         column == "as_timestamp";
}

class GoldenTest : public LakeTest {
 protected:
  /// A copy of the table in which files have the names that the log means: the tables' own test
  /// suite names deletion vectors with a prefix, and fills in a folder when it runs.
  Result<std::string> with_real_names(const std::string& table) {
    std::string copy = scratch_ + "/" + std::filesystem::path(table).filename().string();
    std::filesystem::copy(table, copy, std::filesystem::copy_options::recursive);
    std::string special = copy + "/folder&with%special char";
    constexpr std::string_view kPrefix = "test%dv%prefix-";
    if (env::is_directory(special)) {
      std::string commit = copy + "/_delta_log/00000000000000000000.json";
      std::string text = TIDE_TRY(env::read_file(commit));
      constexpr std::string_view kPlace = "{{FOLDER_WITH_SPECIAL_CHAR}}";
      size_t at = text.find(kPlace);
      text.replace(at, kPlace.size(), deltalog::percent_encode(special));
      TIDE_TRY(env::write_file(commit, text));
      return copy;
    }
    for (const std::string& name : TIDE_TRY(env::list_directory(copy))) {
      if (name.starts_with(kPrefix)) {
        std::filesystem::rename(copy + "/" + name, copy + "/" + name.substr(kPrefix.size()));
      }
    }
    return copy;
  }

  /// Rows read, or why not.
  Result<int64_t> read(const std::string& path, const std::string& expected) {
    std::unique_ptr<TableDirectory> directory = local_directory(path);
    Table table(*directory, *engine_);
    deltalog::TableState state = TIDE_TRY(table.state());
    Scan scan = TIDE_TRY(table.scan(state));
    columns::Batch counted =
        TIDE_TRY(query("SELECT count(*) FROM (SELECT t FROM (" + scan.sql + ") t)"));
    auto rows = counted.columns[0].value<int64_t>(0);
    if (!expected.empty()) TIDE_TRY(compare(scan, expected));
    return rows;
  }

  /// Values are compared as text of the table's types, so that maps and NaN compare too.
  Status compare(const Scan& scan, const std::string& expected) {
    std::string columns;
    for (const deltalog::SchemaField& field : scan.schema.fields) {
      std::string type = TIDE_TRY(deltalog::duckdb_type(field.type, deltalog::Names::kLogical));
      if (is_excused(expected, field.name)) continue;
      if (!columns.empty()) columns += ", ";
      columns +=
          fmt::format("CAST(CAST({} AS {}) AS VARCHAR)", duck::quote_identifier(field.name), type);
    }
    std::string ours = fmt::format("SELECT {} FROM ({})", columns, scan.sql);
    std::string theirs = fmt::format("SELECT {} FROM read_parquet({})", columns,
                                     duck::quote_literal(expected + "/**/*.parquet"));
    for (const auto& [a, b, what] : {std::tuple{ours, theirs, "rows that must not be there"},
                                     std::tuple{theirs, ours, "rows that are missing"}}) {
      columns::Batch left = TIDE_TRY(query(fmt::format("({}) EXCEPT ALL ({})", a, b)));
      if (left.rows() == 0) continue;
      std::string row;
      for (const columns::Column& column : left.columns) {
        row += column.is_null(0) ? "NULL|" : std::string(column.bytes_at(0)) + "|";
      }
      return Status(Code::kBug, fmt::format("{} {}, such as {}", left.rows(), what, row));
    }
    return {};
  }
};

TEST_F(GoldenTest, EveryTableIsReadRightOrRefusedForAReason) {
  std::string golden = golden_directory();
  if (golden.empty()) GTEST_SKIP() << "no golden tables here: set TIDE_DELTA_GOLDEN";
  std::ifstream manifest(golden + "/MANIFEST.tsv");
  std::string line;
  std::getline(manifest, line);
  int read_count = 0;
  int refused_count = 0;
  int compared = 0;
  while (std::getline(manifest, line)) {
    std::string name = line.substr(0, line.find('\t'));
    std::string path = golden + "/" + name;
    std::string expected;
    if (name.starts_with("delta-spark/spark/") &&
        name.find("table-with-dv-") != std::string::npos) {
      Result<std::string> copy = with_real_names(path);
      ASSERT_OK(copy);
      path = *copy;
    }
    if (name.ends_with("/delta")) {
      std::string beside = path.substr(0, path.size() - 5) + "expected";
      if (env::is_directory(beside)) expected = beside;
    }
    Result<int64_t> rows = read(path, expected);
    auto known = refused().find(name);
    if (rows.ok()) {
      ++read_count;
      if (!expected.empty()) ++compared;
      std::printf("%-75s %ld rows%s\n", name.c_str(), static_cast<long>(*rows),
                  expected.empty() ? "" : ", as expected");
      EXPECT_TRUE(known == refused().end()) << name << " is read although it is listed as refused";
    } else {
      ++refused_count;
      std::printf("%-75s %s\n", name.c_str(), rows.status().to_string().substr(0, 300).c_str());
      if (known == refused().end()) {
        ADD_FAILURE() << name << ": " << rows.status().to_string();
      } else {
        EXPECT_NE(rows.status().to_string().find(known->second), std::string::npos)
            << name << ": " << rows.status().to_string();
      }
    }
  }
  std::printf("%d read, %d of them equal to their expected answers; %d refused\n", read_count,
              compared, refused_count);
}

}  // namespace
}  // namespace tide::delta

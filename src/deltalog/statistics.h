#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "deltalog/value.h"

namespace tide::deltalog {

/// Gathers the statistics of a data file while its rows are at hand.
///
/// Minima and maxima as the protocol wants them: strings cut to 32 characters with the maximum
/// raised, timestamps cut to milliseconds, none for booleans, binaries, lists, and none where a NaN
/// or infinity was seen. Null counts for every leaf but those inside lists.
class StatisticsBuilder {
 public:
  /// `fields` with physical names. Statistics are kept for the first `leaves_max` leaf columns.
  explicit StatisticsBuilder(const std::vector<columns::Field>& fields, size_t leaves_max = 32);
  ~StatisticsBuilder();

  /// Rows of the file; columns behind the fields' are passed over.
  void add(const columns::Batch& batch);
  /// What is known of a leaf already, instead of its rows: nulls, and a column of its type with the
  /// least and the greatest value (two nulls: not known). Leaves that are no column's, or lie
  /// inside a list, are passed over.
  void set_leaf(const std::vector<std::string>& path, uint64_t nulls,
                const columns::Column& bounds);
  /// Ends a description by set_leaf(): leaves that were not set (lists, which have no leaf of their
  /// own) have no statistics.
  void set_rows(uint64_t rows);
  uint64_t rows() const { return rows_; }
  /// The `stats` of an add action.
  std::string json() const;

 private:
  struct Node;
  std::vector<std::unique_ptr<Node>> nodes_;
  uint64_t rows_ = 0;
};

/// What `stats` of an add action says of one column.
struct ColumnBounds {
  Value min;
  Value max;
  std::optional<int64_t> null_count;
};

/// Reads the `stats` of an add action. What is damaged or of another type than the column reads as
/// unknown: statistics only ever help to skip.
class FileStatistics {
 public:
  static FileStatistics parse(std::string_view json);

  std::optional<int64_t> num_records() const { return num_records_; }
  bool tight_bounds() const { return tight_bounds_; }
  /// Of the leaf with these physical names, outermost first. The bounds are made safe to compare
  /// with exact values: a timestamp's maximum is raised by what was cut off.
  ColumnBounds bounds(const std::vector<std::string>& path, const DataType& type) const;

 private:
  struct Token {
    bool text;  ///< A JSON string, not a number or word.
    std::string value;
  };
  Value value_of(const std::string& key, const DataType& type) const;

  std::optional<int64_t> num_records_;
  bool tight_bounds_ = true;
  /// "minValues\x1f" + names joined by \x1f.
  std::map<std::string, Token> tokens_;
  friend class StatisticsParser;
};

/// The same statistics with `tightBounds` false: what a file's statistics become when it gets a
/// deletion vector. Text that is no JSON object becomes just that.
std::string with_wide_bounds(std::string_view json);

/// The first 32 characters; nothing is lost by it for a minimum.
std::string cut_minimum(std::string_view text);
/// The first 32 characters and a tie-breaker that sorts above everything cut off; nothing if there
/// is none within 64 characters.
std::optional<std::string> cut_maximum(std::string_view text);

}  // namespace tide::deltalog

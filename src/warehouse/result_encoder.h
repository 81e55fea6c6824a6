#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "columns/column.h"
#include "duck/connection.h"
#include "pgwire/backend.h"
#include "pgwire/time_zone.h"
#include "warehouse/pg_statement.h"

namespace tide::warehouse {

/// Writes values of one column of the engine's results in PostgreSQL's forms.
class ValueEncoder {
 public:
  ValueEncoder(const columns::Type& type, std::string_view sql_type);

  uint32_t oid() const { return oid_; }
  int32_t type_modifier() const { return type_modifier_; }
  /// The value must not be null.
  void append_text(const columns::Column& column, size_t row, const pgwire::TimeZone& zone,
                   std::string& out) const;
  void append_binary(const columns::Column& column, size_t row, const pgwire::TimeZone& zone,
                     std::string& out) const;

 private:
  void append_json(const columns::Column& column, size_t row, const pgwire::TimeZone& zone,
                   std::string& out) const;

  columns::Type type_;
  bool is_map_ = false;
  uint32_t oid_ = 25;
  int32_t type_modifier_ = -1;
  std::vector<ValueEncoder> children_;
};

/// Rows of a result as DataRow messages, COPY lines, or texts.
class ResultEncoder {
 public:
  ResultEncoder(const std::vector<duck::ResultColumn>& columns, std::vector<std::string> names,
                std::vector<int16_t> formats, pgwire::TimeZone zone);

  size_t columns() const { return encoders_.size(); }
  std::vector<pgwire::FieldDescription> fields() const;
  void set_formats(std::vector<int16_t> formats) { formats_ = std::move(formats); }

  void append_data_row(const columns::Batch& batch, size_t row, std::string& out) const;
  /// A line of COPY TO in text or csv, with its end.
  void append_copy_line(const columns::Batch& batch, size_t row, const PgStatement::Copy& copy,
                        std::string& out) const;
  void append_copy_header(const PgStatement::Copy& copy, std::string& out) const;
  /// A tuple of COPY BINARY; head and end are the caller's.
  void append_copy_binary(const columns::Batch& batch, size_t row, std::string& out) const;
  std::string text(const columns::Batch& batch, size_t row, size_t column) const;

 private:
  std::vector<ValueEncoder> encoders_;
  std::vector<std::string> names_;
  std::vector<int16_t> formats_;
  pgwire::TimeZone zone_;
};

}  // namespace tide::warehouse

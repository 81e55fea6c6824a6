#pragma once

#include <optional>
#include <utility>

#include "base/check.h"
#include "base/result.h"
#include "pgwire/backend.h"

namespace tide::warehouse {

/// An error as PostgreSQL's clients know them: SQLSTATE, message, DETAIL, HINT, position.
using SqlError = pgwire::ErrorFields;

SqlError sql_error(std::string_view code, std::string message);
/// The SQLSTATE that says best what the Status says.
SqlError to_sql_error(const Status& status);

/// A value, or the error that the client gets. TIDE_TRY works with it; a Status becomes an error by
/// itself.
template <typename T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : value_(std::move(value)) {}                   // NOLINT: implicit on purpose
  Outcome(SqlError error) : error_(std::move(error)) {}            // NOLINT
  Outcome(const Status& status) : error_(to_sql_error(status)) {}  // NOLINT

  bool ok() const { return value_.has_value(); }
  const SqlError& error() const { return error_; }
  T& value() & {
    TIDE_CHECK(ok());
    return *value_;
  }
  T value() && {
    TIDE_CHECK(ok());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }

 private:
  std::optional<T> value_;
  SqlError error_;
};

/// Done, or the error that the client gets.
template <>
class [[nodiscard]] Outcome<void> {
 public:
  Outcome() = default;
  Outcome(SqlError error) : error_(std::move(error)) {}  // NOLINT: implicit on purpose
  Outcome(const Status& status) {                        // NOLINT
    if (!status.ok()) error_ = to_sql_error(status);
  }
  bool ok() const { return !error_.has_value(); }
  const SqlError& error() const { return *error_; }

 private:
  std::optional<SqlError> error_;
};

}  // namespace tide::warehouse

namespace tide::internal {
template <typename T>
warehouse::SqlError status_of(warehouse::Outcome<T>&& outcome) {
  return outcome.error();
}
template <typename T>
T value_of(warehouse::Outcome<T>&& outcome) {
  return std::move(outcome).value();
}
inline void value_of(warehouse::Outcome<void>&&) {}
}  // namespace tide::internal

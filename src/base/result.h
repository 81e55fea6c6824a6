#pragma once

#include <optional>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace tide {

/// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) { TIDE_CHECK(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status&& status() && { return std::move(status_); }

  T& value() & {
    TIDE_CHECK(ok());
    return *value_;
  }
  const T& value() const& {
    TIDE_CHECK(ok());
    return *value_;
  }
  /// By value, so that `for (x : f().value())` does not dangle.
  T value() && {
    TIDE_CHECK(ok());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

namespace internal {
inline Status status_of(Status&& status) { return std::move(status); }
inline const Status& status_of(const Status& status) { return status; }
template <typename T>
Status status_of(Result<T>&& result) {
  return std::move(result).status();
}
inline void value_of(Status&&) {}
template <typename T>
T value_of(Result<T>&& result) {
  return std::move(result).value();
}
}  // namespace internal

}  // namespace tide

/// Yields the value of a Result (nothing for a Status), or returns its error from this function.
/// One per statement.
#define TIDE_TRY(expression)                                           \
  ({                                                                   \
    auto tide_try_outcome = (expression);                              \
    if (!tide_try_outcome.ok()) [[unlikely]] {                         \
      return ::tide::internal::status_of(std::move(tide_try_outcome)); \
    }                                                                  \
    ::tide::internal::value_of(std::move(tide_try_outcome));           \
  })

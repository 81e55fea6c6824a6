#pragma once

#include <string>
#include <utility>

#include "duck/internal/library.h"

namespace tide::duck {

/// A handle of DuckDB's, destroyed when this goes out of scope.
template <typename Handle, void (*capi::Functions::*kDestroy)(Handle*)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) (api().*kDestroy)(&handle_);
  }

  Handle get() const { return handle_; }
  /// Where a function stores a new handle. Only while there is none.
  Handle* out() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

using OwnedDatabase = Owned<capi::Database, &capi::Functions::close>;
using OwnedConnection = Owned<capi::Connection, &capi::Functions::disconnect>;
using OwnedConfig = Owned<capi::Config, &capi::Functions::destroy_config>;
using OwnedPrepared = Owned<capi::Prepared, &capi::Functions::destroy_prepare>;
using OwnedPending = Owned<capi::Pending, &capi::Functions::destroy_pending>;
using OwnedExtracted = Owned<capi::Extracted, &capi::Functions::destroy_extracted>;
using OwnedType = Owned<capi::LogicalType, &capi::Functions::destroy_logical_type>;
using OwnedValue = Owned<capi::Value, &capi::Functions::destroy_value>;
using OwnedChunk = Owned<capi::Chunk, &capi::Functions::destroy_data_chunk>;
using OwnedTableFunction = Owned<capi::TableFunction, &capi::Functions::destroy_table_function>;
using OwnedScalarFunction = Owned<capi::ScalarFunction, &capi::Functions::destroy_scalar_function>;

/// Text that DuckDB allocated, freed here; empty for null.
inline std::string take_text(char* text) {
  std::string copy = text == nullptr ? "" : text;
  api().free(text);
  return copy;
}

}  // namespace tide::duck

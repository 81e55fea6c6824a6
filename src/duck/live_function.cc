#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "duck/internal/engine_state.h"
#include "duck/internal/vector_writer.h"

/// The scalar function tide_live(id, file_index, file_row_number): deletion vectors as a filter.
namespace tide::duck {
namespace {

using capi::idx_t;

/// Id and file change seldom within a vector: scans go file by file. Null is an error, never a row
/// silently kept or dropped.
void live(capi::FunctionInfo info, capi::Chunk input, capi::Vector output) {
  const capi::Functions& duckdb = api();
  auto& state = *static_cast<EngineState*>(duckdb.scalar_function_get_extra_info(info));
  const idx_t rows = duckdb.data_chunk_get_size(input);
  const capi::Vector vectors[] = {duckdb.data_chunk_get_vector(input, 0),
                                  duckdb.data_chunk_get_vector(input, 1),
                                  duckdb.data_chunk_get_vector(input, 2)};
  const auto* ids = static_cast<const int64_t*>(duckdb.vector_get_data(vectors[0]));
  const auto* files = static_cast<const uint64_t*>(duckdb.vector_get_data(vectors[1]));
  const auto* numbers = static_cast<const int64_t*>(duckdb.vector_get_data(vectors[2]));
  auto* out = static_cast<uint8_t*>(duckdb.vector_get_data(output));
  for (const capi::Vector vector : vectors) {
    const uint64_t* validity = duckdb.vector_get_validity(vector);
    for (idx_t row = 0; validity != nullptr && row < rows; ++row) {
      if ((validity[row / 64] >> row % 64 & 1) == 0) {
        return duckdb.scalar_function_set_error(info, "tide_live: an argument is null");
      }
    }
  }
  std::shared_ptr<const FileDeletions> deletions;
  int64_t id = 0;
  for (idx_t begin = 0; begin < rows;) {
    idx_t end = begin + 1;
    while (end < rows && ids[end] == ids[begin] && files[end] == files[begin]) ++end;
    if (deletions == nullptr || id != ids[begin]) {
      id = ids[begin];
      deletions = state.deletions.find(id);
      if (deletions == nullptr) {
        return duckdb.scalar_function_set_error(
            info, fmt::format("tide_live: no deletions of number {}", id).c_str());
      }
    }
    const DeletedRows* deleted =
        files[begin] < deletions->files.size() ? deletions->files[files[begin]].get() : nullptr;
    if (deleted == nullptr || deleted->empty()) {
      std::memset(out + begin, 1, end - begin);
    } else {
      for (idx_t row = begin; row < end; ++row) {
        out[row] = deleted->contains(static_cast<uint64_t>(numbers[row])) ? 0 : 1;
      }
    }
    begin = end;
  }
}

}  // namespace

Status register_live_function(capi::Connection connection, EngineState& state) {
  const capi::Functions& duckdb = api();
  const OwnedScalarFunction function(duckdb.create_scalar_function());
  duckdb.scalar_function_set_name(function.get(), "tide_live");
  for (const capi::TypeId id :
       {capi::TypeId::kBigint, capi::TypeId::kUbigint, capi::TypeId::kBigint}) {
    const OwnedType type(duckdb.create_logical_type(id));
    duckdb.scalar_function_add_parameter(function.get(), type.get());
  }
  const OwnedType boolean = logical_type(columns::Kind::kBool);
  duckdb.scalar_function_set_return_type(function.get(), boolean.get());
  duckdb.scalar_function_set_extra_info(function.get(), &state, nullptr);
  duckdb.scalar_function_set_function(function.get(), live);
  if (duckdb.register_scalar_function(connection, function.get()) != capi::State::kSuccess) {
    return {Code::kBug, "tide_live cannot be registered"};
  }
  return {};
}

}  // namespace tide::duck

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "duck/internal/engine_state.h"
#include "duck/internal/vector_writer.h"

/// The table function tide_rows(id): batches as a table.
namespace tide::duck {
namespace {

using capi::idx_t;

/// Rows a thread takes at once.
constexpr uint64_t kMorselRows = 32 * capi::kVectorSize;

struct Bound {
  std::shared_ptr<const RowSource> source;
};

struct Morsel {
  size_t segment = 0;
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t place = 0;  ///< __tide_row of `begin`.
};

/// Of one scan: what remains, for whichever thread comes next.
struct Scan {
  std::vector<idx_t> columns;  ///< Of the output's vectors; fields.size() is __tide_row.
  std::vector<Morsel> morsels;
  std::atomic<size_t> next = 0;
};

struct Run {
  uint64_t begin;
  uint64_t count;
};

/// Of one thread in a scan.
struct Worker {
  Morsel morsel;
  std::vector<Run> runs;
};

template <typename T>
void destroy(void* thing) {
  delete static_cast<T*>(thing);
}

void bind(capi::BindInfo info) {
  const capi::Functions& duckdb = api();
  auto& state = *static_cast<EngineState*>(duckdb.bind_get_extra_info(info));
  const OwnedValue parameter(duckdb.bind_get_parameter(info, 0));
  const int64_t id = duckdb.get_int64(parameter.get());
  auto source = state.rows.find(id);
  if (source == nullptr) {
    return duckdb.bind_set_error(info, fmt::format("tide_rows: no rows of number {}", id).c_str());
  }
  for (const columns::Field& field : source->fields) {
    duckdb.bind_add_result_column(info, field.name.c_str(), logical_type(field.type).get());
  }
  duckdb.bind_add_result_column(info, kRowColumn, logical_type(columns::Kind::kInt64).get());
  duckdb.bind_set_cardinality(info, source->rows, true);
  duckdb.bind_set_bind_data(info, new Bound{std::move(source)}, destroy<Bound>);
}

void init(capi::InitInfo info) {
  const capi::Functions& duckdb = api();
  const RowSource& source = *static_cast<Bound*>(duckdb.init_get_bind_data(info))->source;
  auto scan = std::make_unique<Scan>();
  for (idx_t i = 0; i < duckdb.init_get_column_count(info); ++i) {
    scan->columns.push_back(duckdb.init_get_column_index(info, i));
  }
  uint64_t place = 0;
  for (size_t segment = 0; segment < source.segments.size(); ++segment) {
    const uint64_t rows = source.segments[segment].batch->rows();
    for (uint64_t begin = 0; begin < rows; begin += kMorselRows) {
      scan->morsels.push_back({segment, begin, std::min(rows, begin + kMorselRows), place + begin});
    }
    place += rows;
  }
  duckdb.init_set_max_threads(info, std::max<size_t>(scan->morsels.size(), 1));
  duckdb.init_set_init_data(info, scan.release(), destroy<Scan>);
}

void init_worker(capi::InitInfo info) {
  api().init_set_init_data(info, new Worker, destroy<Worker>);
}

/// The live rows of [begin, end).
void find_runs(const DeletedRows* deleted, uint64_t begin, uint64_t end, std::vector<Run>& runs) {
  runs.clear();
  for (uint64_t row = begin; row < end;) {
    const uint64_t* block = deleted == nullptr ? nullptr : deleted->block_of(row);
    uint64_t stop = end;
    if (deleted != nullptr) {
      stop = std::min(end, (row / DeletedRows::kBlockRows + 1) * DeletedRows::kBlockRows);
    }
    if (block != nullptr) {
      auto is_deleted = [&](uint64_t at) {
        return (block[at % DeletedRows::kBlockRows / 64] >> at % 64 & 1) != 0;
      };
      while (row < stop && is_deleted(row)) ++row;
      uint64_t live = row;
      while (live < stop && !is_deleted(live)) ++live;
      stop = live;
    }
    if (stop > row) {
      if (!runs.empty() && runs.back().begin + runs.back().count == row) {
        runs.back().count += stop - row;
      } else {
        runs.push_back({row, stop - row});
      }
    }
    row = stop;
  }
}

void write_places(const std::vector<Run>& runs, uint64_t place_of_zero, capi::Vector vector) {
  auto* out = static_cast<int64_t*>(api().vector_get_data(vector));
  for (const Run& run : runs) {
    for (uint64_t i = 0; i < run.count; ++i) {
      *out++ = static_cast<int64_t>(place_of_zero + run.begin + i);
    }
  }
}

void produce(capi::FunctionInfo info, capi::Chunk output) {
  const capi::Functions& duckdb = api();
  const RowSource& source = *static_cast<Bound*>(duckdb.function_get_bind_data(info))->source;
  auto& scan = *static_cast<Scan*>(duckdb.function_get_init_data(info));
  auto& worker = *static_cast<Worker*>(duckdb.function_get_local_init_data(info));
  uint64_t rows = 0;
  Morsel& morsel = worker.morsel;
  while (rows == 0) {
    if (morsel.begin == morsel.end) {
      const size_t next = scan.next.fetch_add(1);
      if (next >= scan.morsels.size()) break;
      morsel = scan.morsels[next];
    }
    const RowSegment& segment = source.segments[morsel.segment];
    const uint64_t end = std::min(morsel.end, morsel.begin + capi::kVectorSize);
    find_runs(segment.deleted.get(), morsel.begin, end, worker.runs);
    for (size_t i = 0; i < scan.columns.size(); ++i) {
      const capi::Vector vector = duckdb.data_chunk_get_vector(output, i);
      // DuckDB asks for no column that was not bound, except its own row id for count(*).
      if (scan.columns[i] > source.fields.size()) continue;
      if (scan.columns[i] == source.fields.size()) {
        write_places(worker.runs, morsel.place - morsel.begin, vector);
        continue;
      }
      idx_t at = 0;
      for (const Run& run : worker.runs) {
        write_rows(segment.batch->columns[scan.columns[i]], run.begin, run.count, vector, at);
        at += run.count;
      }
    }
    for (const Run& run : worker.runs) rows += run.count;
    morsel.place += end - morsel.begin;
    morsel.begin = end;
  }
  duckdb.data_chunk_set_size(output, rows);
}

}  // namespace

Status register_rows_function(capi::Connection connection, EngineState& state) {
  const capi::Functions& duckdb = api();
  const OwnedTableFunction function(duckdb.create_table_function());
  const OwnedType bigint = logical_type(columns::Kind::kInt64);
  duckdb.table_function_set_name(function.get(), "tide_rows");
  duckdb.table_function_add_parameter(function.get(), bigint.get());
  duckdb.table_function_set_extra_info(function.get(), &state, nullptr);
  duckdb.table_function_set_bind(function.get(), bind);
  duckdb.table_function_set_init(function.get(), init);
  duckdb.table_function_set_local_init(function.get(), init_worker);
  duckdb.table_function_set_function(function.get(), produce);
  duckdb.table_function_supports_projection_pushdown(function.get(), true);
  if (duckdb.register_table_function(connection, function.get()) != capi::State::kSuccess) {
    return {Code::kBug, "tide_rows cannot be registered"};
  }
  return {};
}

}  // namespace tide::duck

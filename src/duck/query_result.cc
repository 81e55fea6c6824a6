#include <fmt/format.h>

#include <algorithm>

#include "duck/internal/result_state.h"

namespace tide::duck {
namespace {

/// A batch larger than this is given in parts: its columns hold 4 GB of text at most.
constexpr uint64_t kBatchBytes = uint64_t{256} << 20;

struct Prefix {
  std::string_view text;
  Code code;
};
constexpr Prefix kPrefixes[] = {
    {"Catalog Error", Code::kNotFound},
    {"Permission Error", Code::kDenied},
    {"IO Error", Code::kIo},
    {"INTERRUPT Error", Code::kRetry},
    {"Interrupt Error", Code::kRetry},
    {"Out of Memory Error", Code::kUnavailable},
    {"INTERNAL Error", Code::kBug},
    {"FATAL Error", Code::kBug},
};

}  // namespace

Status duckdb_error(capi::ErrorId id, std::string_view message) {
  using capi::ErrorId;
  switch (id) {
    case ErrorId::kCatalog:
      return {Code::kNotFound, std::string(message)};
    case ErrorId::kPermission:
      return {Code::kDenied, std::string(message)};
    case ErrorId::kIo:
      return {Code::kIo, std::string(message)};
    case ErrorId::kInterrupt:
      return {Code::kRetry, std::string(message)};
    case ErrorId::kOutOfMemory:
      return {Code::kUnavailable, std::string(message)};
    case ErrorId::kInternal:
    case ErrorId::kFatal:
      return {Code::kBug, std::string(message)};
    default:
      break;
  }
  for (const Prefix& prefix : kPrefixes) {
    if (message.starts_with(prefix.text)) return {prefix.code, std::string(message)};
  }
  return {Code::kInvalid, std::string(message)};
}

QueryResult::State::~State() {
  if (connection != nullptr) api().destroy_result(&result);
}

Status QueryResult::State::error() {
  const char* message = api().result_error(&result);
  return duckdb_error(api().result_error_type(&result),
                      message == nullptr ? "the query failed" : message);
}

Status QueryResult::State::describe() {
  const capi::Functions& duckdb = api();
  for (capi::idx_t i = 0; i < duckdb.column_count(&result); ++i) {
    const OwnedType type(duckdb.column_logical_type(&result, i));
    Result<VectorReader> reader = VectorReader::of(type.get());
    const char* name = duckdb.column_name(&result, i);
    if (!reader.ok()) {
      return Status(reader.status()).with_context(fmt::format("column {}", name));
    }
    columns.push_back({name, reader->type(), reader->sql_type()});
    readers.push_back(*std::move(reader));
  }
  if (kind == StatementKind::kSelect || kind == StatementKind::kExplain) return {};
  TIDE_TRY(fetch());
  const bool counted = chunk.get() != nullptr && columns.size() == 1 &&
                       columns[0].name == "Count" && columns[0].sql_type == "BIGINT";
  if (counted) {
    rows_changed =
        load<uint64_t>(duckdb.vector_get_data(duckdb.data_chunk_get_vector(chunk.get(), 0)));
  }
  return {};
}

Status QueryResult::State::fetch() {
  const capi::Functions& duckdb = api();
  given = 0;
  while (true) {
    chunk = OwnedChunk(duckdb.fetch_chunk(result));
    if (chunk.get() == nullptr) {
      done = true;
      const char* message = duckdb.result_error(&result);
      // A stream that breaks ends like one that is complete, but for this.
      if (message != nullptr && *message != '\0') return error();
      return {};
    }
    if (duckdb.data_chunk_get_size(chunk.get()) > 0) return {};
  }
}

QueryResult::QueryResult(std::unique_ptr<State> state) : state_(std::move(state)) {}
QueryResult::~QueryResult() = default;

StatementKind QueryResult::kind() const { return state_->kind; }
const std::vector<ResultColumn>& QueryResult::columns() const { return state_->columns; }
uint64_t QueryResult::rows_changed() const { return state_->rows_changed; }

Result<std::optional<columns::Batch>> QueryResult::next() {
  State& state = *state_;
  if (state.kind == StatementKind::kNone) return std::optional<columns::Batch>();
  if (state.chunk.get() == nullptr && !state.done) TIDE_TRY(state.fetch());
  if (state.chunk.get() == nullptr) return std::optional<columns::Batch>();
  const capi::Functions& duckdb = api();
  const capi::idx_t rows = duckdb.data_chunk_get_size(state.chunk.get());
  capi::idx_t count = rows - state.given;
  auto text_bytes = [&](capi::idx_t wanted) {
    uint64_t sum = 0;
    for (size_t i = 0; i < state.readers.size(); ++i) {
      sum += state.readers[i].text_bytes(duckdb.data_chunk_get_vector(state.chunk.get(), i),
                                         state.given, wanted);
    }
    return sum;
  };
  while (count > 1 && text_bytes(count) > kBatchBytes) count = (count + 1) / 2;
  if (count == 1 && text_bytes(1) > UINT32_MAX) {
    return Status(Code::kOutOfRange, "a row of the result holds more than 4 GB");
  }
  columns::Batch batch;
  for (size_t i = 0; i < state.readers.size(); ++i) {
    batch.columns.emplace_back(state.readers[i].type());
    state.readers[i].append(duckdb.data_chunk_get_vector(state.chunk.get(), i), state.given, count,
                            batch.columns.back());
  }
  state.given += count;
  if (state.given == rows) state.chunk = OwnedChunk();
  return std::optional<columns::Batch>(std::move(batch));
}

Result<columns::Batch> QueryResult::all(uint64_t max_bytes) {
  columns::Batch batch;
  for (const ResultColumn& column : state_->columns) batch.columns.emplace_back(column.type);
  while (true) {
    const std::optional<columns::Batch> next = TIDE_TRY(this->next());
    if (!next.has_value()) return batch;
    if (batch.bytes() + next->bytes() > std::min<uint64_t>(max_bytes, UINT32_MAX)) {
      return Status(Code::kOutOfRange, "the result is too large to be held at once");
    }
    for (size_t row = 0; row < next->rows(); ++row) batch.append_from(*next, row);
  }
}

}  // namespace tide::duck

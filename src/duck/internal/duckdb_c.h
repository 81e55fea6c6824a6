#pragma once

#include <cstdint>

/// What we use of DuckDB's C API, declared here because the package that carries the library has no
/// header. Names, signatures and numbers are those of duckdb.h 1.4 and 1.5; the C API only grows.
namespace tide::duck::capi {

using idx_t = uint64_t;

// Handles, all of them pointers to what only DuckDB knows.
using Database = struct DatabaseHandle*;
using Connection = struct ConnectionHandle*;
using Config = struct ConfigHandle*;
using Prepared = struct PreparedHandle*;
using Extracted = struct ExtractedHandle*;
using Pending = struct PendingHandle*;
using LogicalType = struct LogicalTypeHandle*;
using Chunk = struct ChunkHandle*;
using Vector = struct VectorHandle*;
using Value = struct ValueHandle*;
using TableFunction = struct TableFunctionHandle*;
using ScalarFunction = struct ScalarFunctionHandle*;
using BindInfo = struct BindInfoHandle*;
using InitInfo = struct InitInfoHandle*;
using FunctionInfo = struct FunctionInfoHandle*;
using ReplacementInfo = struct ReplacementInfoHandle*;

enum class State : int { kSuccess = 0, kError = 1 };

enum class TypeId : int {
  kInvalid = 0,
  kBoolean = 1,
  kTinyint = 2,
  kSmallint = 3,
  kInteger = 4,
  kBigint = 5,
  kUtinyint = 6,
  kUsmallint = 7,
  kUinteger = 8,
  kUbigint = 9,
  kFloat = 10,
  kDouble = 11,
  kTimestamp = 12,
  kDate = 13,
  kTime = 14,
  kInterval = 15,
  kHugeint = 16,
  kVarchar = 17,
  kBlob = 18,
  kDecimal = 19,
  kTimestampS = 20,
  kTimestampMs = 21,
  kTimestampNs = 22,
  kEnum = 23,
  kList = 24,
  kStruct = 25,
  kMap = 26,
  kUuid = 27,
  kUnion = 28,
  kBit = 29,
  kTimeTz = 30,
  kTimestampTz = 31,
  kUhugeint = 32,
  kArray = 33,
  kAny = 34,
  kBignum = 35,
  kSqlNull = 36,
  kStringLiteral = 37,
  kIntegerLiteral = 38,
  kTimeNs = 39,
};

/// Numbers of duckdb_statement_type.
enum class StatementId : int {};
/// Numbers of duckdb_error_type.
enum class ErrorId : int {
  kOutOfRange = 1,
  kConversion = 2,
  kCatalog = 13,
  kIo = 28,
  kInterrupt = 29,
  kFatal = 30,
  kInternal = 31,
  kOutOfMemory = 33,
  kPermission = 34,
};

/// Passed by value to duckdb_fetch_chunk, so its size matters; only DuckDB looks inside.
struct ResultHandle {
  idx_t deprecated_counts[3] = {};
  void* deprecated_columns = nullptr;
  char* deprecated_error = nullptr;
  void* internal = nullptr;
};

struct QueryProgress {
  double percentage;
  uint64_t rows_processed;
  uint64_t total_rows_to_process;
};

struct Hugeint {
  uint64_t lower;
  int64_t upper;
};
struct Decimal {
  uint8_t width;
  uint8_t scale;
  Hugeint value;
};
struct Date {
  int32_t days;
};
struct Timestamp {
  int64_t micros;
};
struct Interval {
  int32_t months;
  int32_t days;
  int64_t micros;
};
struct ListEntry {
  uint64_t offset;
  uint64_t length;
};

/// A string in a vector: up to 12 bytes inside, more of them elsewhere with the first 4 here too.
struct String {
  static constexpr uint32_t kInlined = 12;
  uint32_t length;
  char prefix[4];
  union {
    const char* pointer;
    char rest[8];
  };
  const char* data() const { return length <= kInlined ? prefix : pointer; }
};
static_assert(sizeof(String) == 16);

/// Rows of a chunk at most (STANDARD_VECTOR_SIZE).
constexpr idx_t kVectorSize = 2048;

using Destroy = void (*)(void*);
using BindCallback = void (*)(BindInfo);
using InitCallback = void (*)(InitInfo);
using TableCallback = void (*)(FunctionInfo, Chunk output);
using ScalarCallback = void (*)(FunctionInfo, Chunk input, Vector output);
using ReplacementCallback = void (*)(ReplacementInfo, const char* table, void* data);

/// X(result, name, arguments) for each function, without its prefix duckdb_.
#define TIDE_DUCKDB_FUNCTIONS(X)                                                   \
  X(const char*, library_version, ())                                              \
  X(void, free, (void*))                                                           \
  X(State, create_config, (Config*))                                               \
  X(State, set_config, (Config, const char* name, const char* value))              \
  X(void, destroy_config, (Config*))                                               \
  X(State, open_ext, (const char* path, Database*, Config, char** error))          \
  X(void, close, (Database*))                                                      \
  X(State, connect, (Database, Connection*))                                       \
  X(void, disconnect, (Connection*))                                               \
  X(void, interrupt, (Connection))                                                 \
  X(QueryProgress, query_progress, (Connection))                                   \
  X(Value, get_table_names, (Connection, const char* sql, bool qualified))         \
  X(State, query, (Connection, const char* sql, ResultHandle*))                    \
  X(void, destroy_result, (ResultHandle*))                                         \
  X(idx_t, column_count, (ResultHandle*))                                          \
  X(const char*, column_name, (ResultHandle*, idx_t))                              \
  X(LogicalType, column_logical_type, (ResultHandle*, idx_t))                      \
  X(idx_t, rows_changed, (ResultHandle*))                                          \
  X(const char*, result_error, (ResultHandle*))                                    \
  X(ErrorId, result_error_type, (ResultHandle*))                                   \
  X(Chunk, fetch_chunk, (ResultHandle))                                            \
  X(State, prepare, (Connection, const char* sql, Prepared*))                      \
  X(void, destroy_prepare, (Prepared*))                                            \
  X(const char*, prepare_error, (Prepared))                                        \
  X(idx_t, nparams, (Prepared))                                                    \
  X(TypeId, param_type, (Prepared, idx_t))                                         \
  X(State, bind_value, (Prepared, idx_t, Value))                                   \
  X(State, clear_bindings, (Prepared))                                             \
  X(StatementId, prepared_statement_type, (Prepared))                              \
  X(idx_t, prepared_statement_column_count, (Prepared))                            \
  X(const char*, prepared_statement_column_name, (Prepared, idx_t))                \
  X(LogicalType, prepared_statement_column_logical_type, (Prepared, idx_t))        \
  X(State, pending_prepared_streaming, (Prepared, Pending*))                       \
  X(void, destroy_pending, (Pending*))                                             \
  X(const char*, pending_error, (Pending))                                         \
  X(State, execute_pending, (Pending, ResultHandle*))                              \
  X(idx_t, extract_statements, (Connection, const char* sql, Extracted*))          \
  X(const char*, extract_statements_error, (Extracted))                            \
  X(State, prepare_extracted_statement, (Connection, Extracted, idx_t, Prepared*)) \
  X(void, destroy_extracted, (Extracted*))                                         \
  X(idx_t, get_list_size, (Value))                                                 \
  X(Value, get_list_child, (Value, idx_t))                                         \
  X(char*, get_varchar, (Value))                                                   \
  X(int64_t, get_int64, (Value))                                                   \
  X(Value, create_varchar_length, (const char*, idx_t))                            \
  X(Value, create_blob, (const uint8_t*, idx_t))                                   \
  X(Value, create_bool, (bool))                                                    \
  X(Value, create_int64, (int64_t))                                                \
  X(Value, create_double, (double))                                                \
  X(Value, create_date, (Date))                                                    \
  X(Value, create_timestamp, (Timestamp))                                          \
  X(Value, create_timestamp_tz, (Timestamp))                                       \
  X(Value, create_decimal, (Decimal))                                              \
  X(Value, create_null_value, ())                                                  \
  X(void, destroy_value, (Value*))                                                 \
  X(LogicalType, create_logical_type, (TypeId))                                    \
  X(LogicalType, create_decimal_type, (uint8_t width, uint8_t scale))              \
  X(LogicalType, create_list_type, (LogicalType))                                  \
  X(LogicalType, create_struct_type, (LogicalType*, const char** names, idx_t))    \
  X(void, destroy_logical_type, (LogicalType*))                                    \
  X(TypeId, get_type_id, (LogicalType))                                            \
  X(char*, logical_type_get_alias, (LogicalType))                                  \
  X(uint8_t, decimal_width, (LogicalType))                                         \
  X(uint8_t, decimal_scale, (LogicalType))                                         \
  X(TypeId, enum_internal_type, (LogicalType))                                     \
  X(uint32_t, enum_dictionary_size, (LogicalType))                                 \
  X(char*, enum_dictionary_value, (LogicalType, idx_t))                            \
  X(LogicalType, list_type_child_type, (LogicalType))                              \
  X(LogicalType, array_type_child_type, (LogicalType))                             \
  X(idx_t, array_type_array_size, (LogicalType))                                   \
  X(LogicalType, map_type_key_type, (LogicalType))                                 \
  X(LogicalType, map_type_value_type, (LogicalType))                               \
  X(idx_t, struct_type_child_count, (LogicalType))                                 \
  X(char*, struct_type_child_name, (LogicalType, idx_t))                           \
  X(LogicalType, struct_type_child_type, (LogicalType, idx_t))                     \
  X(void, destroy_data_chunk, (Chunk*))                                            \
  X(idx_t, data_chunk_get_column_count, (Chunk))                                   \
  X(Vector, data_chunk_get_vector, (Chunk, idx_t))                                 \
  X(idx_t, data_chunk_get_size, (Chunk))                                           \
  X(void, data_chunk_set_size, (Chunk, idx_t))                                     \
  X(void*, vector_get_data, (Vector))                                              \
  X(uint64_t*, vector_get_validity, (Vector))                                      \
  X(void, vector_ensure_validity_writable, (Vector))                               \
  X(Vector, list_vector_get_child, (Vector))                                       \
  X(idx_t, list_vector_get_size, (Vector))                                         \
  X(State, list_vector_set_size, (Vector, idx_t))                                  \
  X(State, list_vector_reserve, (Vector, idx_t))                                   \
  X(Vector, struct_vector_get_child, (Vector, idx_t))                              \
  X(Vector, array_vector_get_child, (Vector))                                      \
  X(TableFunction, create_table_function, ())                                      \
  X(void, destroy_table_function, (TableFunction*))                                \
  X(void, table_function_set_name, (TableFunction, const char*))                   \
  X(void, table_function_add_parameter, (TableFunction, LogicalType))              \
  X(void, table_function_set_extra_info, (TableFunction, void*, Destroy))          \
  X(void, table_function_set_bind, (TableFunction, BindCallback))                  \
  X(void, table_function_set_init, (TableFunction, InitCallback))                  \
  X(void, table_function_set_local_init, (TableFunction, InitCallback))            \
  X(void, table_function_set_function, (TableFunction, TableCallback))             \
  X(void, table_function_supports_projection_pushdown, (TableFunction, bool))      \
  X(State, register_table_function, (Connection, TableFunction))                   \
  X(void*, bind_get_extra_info, (BindInfo))                                        \
  X(void, bind_add_result_column, (BindInfo, const char* name, LogicalType))       \
  X(Value, bind_get_parameter, (BindInfo, idx_t))                                  \
  X(void, bind_set_bind_data, (BindInfo, void*, Destroy))                          \
  X(void, bind_set_cardinality, (BindInfo, idx_t, bool exact))                     \
  X(void, bind_set_error, (BindInfo, const char*))                                 \
  X(void*, init_get_bind_data, (InitInfo))                                         \
  X(void, init_set_init_data, (InitInfo, void*, Destroy))                          \
  X(idx_t, init_get_column_count, (InitInfo))                                      \
  X(idx_t, init_get_column_index, (InitInfo, idx_t))                               \
  X(void, init_set_max_threads, (InitInfo, idx_t))                                 \
  X(void*, function_get_bind_data, (FunctionInfo))                                 \
  X(void*, function_get_init_data, (FunctionInfo))                                 \
  X(void*, function_get_local_init_data, (FunctionInfo))                           \
  X(void, function_set_error, (FunctionInfo, const char*))                         \
  X(ScalarFunction, create_scalar_function, ())                                    \
  X(void, destroy_scalar_function, (ScalarFunction*))                              \
  X(void, scalar_function_set_name, (ScalarFunction, const char*))                 \
  X(void, scalar_function_add_parameter, (ScalarFunction, LogicalType))            \
  X(void, scalar_function_set_return_type, (ScalarFunction, LogicalType))          \
  X(void, scalar_function_set_extra_info, (ScalarFunction, void*, Destroy))        \
  X(void, scalar_function_set_function, (ScalarFunction, ScalarCallback))          \
  X(State, register_scalar_function, (Connection, ScalarFunction))                 \
  X(void*, scalar_function_get_extra_info, (FunctionInfo))                         \
  X(void, scalar_function_set_error, (FunctionInfo, const char*))                  \
  X(void, add_replacement_scan, (Database, ReplacementCallback, void*, Destroy))   \
  X(void, replacement_scan_set_function_name, (ReplacementInfo, const char*))      \
  X(void, replacement_scan_add_parameter, (ReplacementInfo, Value))                \
  X(void, replacement_scan_set_error, (ReplacementInfo, const char*))

/// The functions, as found in the library.
struct Functions {
#define TIDE_DUCKDB_MEMBER(result, name, arguments) result(*name) arguments = nullptr;
  TIDE_DUCKDB_FUNCTIONS(TIDE_DUCKDB_MEMBER)
#undef TIDE_DUCKDB_MEMBER
};

}  // namespace tide::duck::capi

#include "duck/internal/user_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "duck/internal/sql_lexer.h"

namespace tide::duck {
namespace {

/// Table functions that touch neither files nor what other sessions do.
constexpr std::string_view kHarmless[] = {
    "range",
    "generate_series",
    "unnest",
    "repeat",
    "repeat_row",
    "json_each",
    "json_tree",
    "pragma_version",
    "duckdb_types",
    "duckdb_functions",
    "summary",
    "duckdb_keywords",
    "pg_timezone_names",
    "icu_calendar_names",
};

/// Scalar functions that are ours or reach beyond the query.
constexpr std::string_view kDeniedScalars[] = {"tide_live", "getenv", "write_log"};

/// Statements that DuckDB turns into queries or runs while it prepares.
constexpr std::string_view kDeniedStatements[] = {"pragma", "import", "export", "call"};

/// What DuckDB takes a table's name for a file by, and a little more.
constexpr std::string_view kFileMarks[] = {
    ".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".db", ".duckdb", ".arrow",
    ".avro",    ".gz",  ".zst", ".xlsx", ".txt",   ".sqlite", "/",   "\\",      "*",
};

/// Words behind which a string is a table.
constexpr std::string_view kTableWords[] = {"from", "join",  "describe", "desc",  "summarize",
                                            "show", "pivot", "unpivot",  "table", "lateral"};

bool looks_like_file(std::string_view name) {
  const std::string lower = lower_case(name);
  return std::any_of(std::begin(kFileMarks), std::end(kFileMarks),
                     [&](std::string_view mark) { return lower.find(mark) != std::string::npos; });
}

template <size_t kCount>
bool is_one_of(std::string_view word, const std::string_view (&words)[kCount]) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

Status denied_file(std::string_view name) {
  return Status(Code::kDenied, fmt::format("\"{}\" cannot be read here", name))
      .with_hint("Files are not accessible; tables are named without what looks like a path.");
}

}  // namespace

Result<std::set<std::string, std::less<>>> functions_users_may_not_call(Connection& connection) {
  const std::unique_ptr<QueryResult> result =
      TIDE_TRY(connection.query("SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
                                "WHERE function_type IN ('table', 'pragma', 'table_macro')"));
  const columns::Batch names = TIDE_TRY(result->all());
  std::set<std::string, std::less<>> denied;
  for (size_t row = 0; row < names.rows(); ++row) {
    const std::string_view name = names.columns[0].bytes_at(row);
    if (!is_one_of(name, kHarmless)) denied.emplace(name);
  }
  denied.insert(std::begin(kDeniedScalars), std::end(kDeniedScalars));
  return denied;
}

Status check_user_sql(std::string_view sql, const std::set<std::string, std::less<>>& denied) {
  const std::vector<Token> tokens = tokenize(sql);
  if (!tokens.empty() && tokens[0].kind == Token::Kind::kWord &&
      is_one_of(tokens[0].text, kDeniedStatements)) {
    return {Code::kDenied, fmt::format("{} is not possible here", tokens[0].text)};
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    const bool called = i + 1 < tokens.size() && tokens[i + 1].is_symbol('(');
    if (token.is_name() && called && denied.contains(lower_case(token.text))) {
      return Status(Code::kDenied,
                    fmt::format("function {} cannot be called here", lower_case(token.text)));
    }
    // DuckDB reads a string where a table belongs as a file's name.
    const bool as_table = i > 0 && tokens[i - 1].kind == Token::Kind::kWord &&
                          is_one_of(tokens[i - 1].text, kTableWords);
    if (as_table && (token.kind == Token::Kind::kString || token.is_name())) {
      size_t end = i;
      std::string name = token.text;
      const std::vector<std::string> parts = parse_name(tokens, i, end);
      for (size_t part = 1; part < parts.size(); ++part) name += "." + parts[part];
      if (looks_like_file(name)) return denied_file(name);
    }
  }
  return {};
}

Status check_user_strings(std::string_view sql) {
  for (const Token& token : tokenize(sql)) {
    if (token.kind == Token::Kind::kString && looks_like_file(token.text)) {
      return denied_file(token.text);
    }
  }
  return {};
}

Status check_user_table(const TableName& name) {
  std::string whole;
  for (const std::string* part : {&name.catalog, &name.schema, &name.table}) {
    if (!part->empty()) whole += (whole.empty() ? "" : ".") + *part;
  }
  return looks_like_file(whole) ? denied_file(whole) : Status();
}

Status check_user_statement(StatementKind kind) {
  switch (kind) {
    case StatementKind::kNone:
    case StatementKind::kSelect:
    case StatementKind::kExplain:
    case StatementKind::kSet:
      return {};
    default:
      return {Code::kDenied, "only queries are possible here"};
  }
}

}  // namespace tide::duck

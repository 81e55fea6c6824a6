#include "duck/internal/name_scope.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "duck/internal/sql_lexer.h"
#include "duck/sql_text.h"

namespace tide::duck {

/// A reference to a table in a SELECT.
struct Place {
  size_t location;  ///< Of its name, in bytes.
  TableName name;
  bool has_alias;
};

namespace {

TableName name_of(const std::vector<std::string>& parts) {
  TableName name;
  name.table = parts.back();
  if (parts.size() > 1) name.schema = parts[parts.size() - 2];
  if (parts.size() > 2) name.catalog = parts[parts.size() - 3];
  return name;
}

bool same(std::string_view a, std::string_view b) { return lower_case(a) == lower_case(b); }

bool same(const TableName& a, const TableName& b) {
  return same(a.table, b.table) && same(a.schema, b.schema) && same(a.catalog, b.catalog);
}

void add_name(std::vector<TableName>& names, TableName name) {
  for (const TableName& known : names) {
    if (same(known, name)) return;
  }
  names.push_back(std::move(name));
}

/// All references to tables in a serialized SELECT; those to its CTEs too.
void find_places(const nlohmann::json& node, std::vector<Place>& places) {
  const auto type = node.is_object() ? node.find("type") : node.end();
  if (node.is_object() && type != node.end() && (*type == "BASE_TABLE" || *type == "SHOW_REF")) {
    auto text = [&](const char* key) {
      const auto found = node.find(key);
      return found != node.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const auto location = node.find("query_location");
    const bool located = location != node.end() && location->is_number_unsigned();
    if (!text("table_name").empty()) {
      places.push_back({located ? location->get<size_t>() : std::string::npos,
                        {text("catalog_name"), text("schema_name"), text("table_name")},
                        !text("alias").empty()});
    }
  }
  if (node.is_structured()) {
    for (const auto& child : node) find_places(child, places);
  }
}

/// Of a SELECT; nothing for other statements.
std::optional<std::vector<Place>> places_by_serialization(const std::string& sql,
                                                          capi::Connection connection) {
  const capi::Functions& duckdb = api();
  capi::ResultHandle result;
  const std::string question = "SELECT system.main.json_serialize_sql(" + quote_literal(sql) + ")";
  std::string serialized;
  if (duckdb.query(connection, question.c_str(), &result) == capi::State::kSuccess) {
    const OwnedChunk chunk(duckdb.fetch_chunk(result));
    if (chunk.get() != nullptr && duckdb.data_chunk_get_size(chunk.get()) == 1) {
      const auto& text = *static_cast<const capi::String*>(
          duckdb.vector_get_data(duckdb.data_chunk_get_vector(chunk.get(), 0)));
      serialized.assign(text.data(), text.length);
    }
  }
  duckdb.destroy_result(&result);
  const nlohmann::json tree = nlohmann::json::parse(serialized, nullptr, false);
  const auto error = tree.is_object() ? tree.find("error") : tree.end();
  if (!tree.is_object() || error == tree.end() || *error != false) return std::nullopt;
  std::vector<Place> places;
  find_places(tree, places);
  return places;
}

/// Of a statement around a SELECT (CREATE TABLE AS, EXPLAIN); nothing where DuckDB cannot say
/// (INSERT, COPY, PIVOT, JOIN USING).
std::optional<std::vector<TableName>> names_by_parser(const std::string& sql,
                                                      capi::Connection connection) {
  const capi::Functions& duckdb = api();
  const OwnedValue list(duckdb.get_table_names(connection, sql.c_str(), true));
  if (list.get() == nullptr) return std::nullopt;
  std::vector<TableName> names;
  for (capi::idx_t i = 0; i < duckdb.get_list_size(list.get()); ++i) {
    const OwnedValue element(duckdb.get_list_child(list.get(), i));
    // `schema."table" AS alias`
    const std::string text = take_text(duckdb.get_varchar(element.get()));
    size_t end = 0;
    const std::vector<std::string> parts = parse_name(tokenize(text), 0, end);
    if (!parts.empty()) add_name(names, name_of(parts));
  }
  return names;
}

/// Everything in the statement that may be a table's name.
std::vector<TableName> names_by_lexer(const std::string& sql) {
  std::vector<TableName> names;
  const std::vector<Token> tokens = tokenize(sql);
  for (size_t at = 0; at < tokens.size();) {
    size_t end = at;
    const std::vector<std::string> parts = parse_name(tokens, at, end);
    if (!parts.empty()) add_name(names, name_of(parts));
    at = std::max(end, at + 1);
  }
  return names;
}

std::string spelled(const TableName& name) {
  std::string out;
  for (const std::string* part : {&name.catalog, &name.schema, &name.table}) {
    if (part->empty()) continue;
    out += (out.empty() ? "" : ".") + *part;
  }
  return out;
}

Status ambiguous(std::string_view table) {
  return Status(Code::kInvalid,
                fmt::format("table name \"{}\" stands for tables of two schemas here", table))
      .with_hint("Use one of them per statement, or a plain SELECT.");
}

}  // namespace

/// Gives names with a schema a name of their own where another name of the statement has the same
/// last part and means something else. Names without schema stay: they may be a CTE's.
Status NameScope::separate_names(NameScope& scope, const std::vector<Place>& places) {
  std::map<std::string, std::set<std::string>> meanings;
  std::map<std::string, int> spellings;
  for (const TableName& name : scope.names_) ++spellings[lower_case(name.table)];
  for (const TableName& name : scope.names_) {
    if (spellings[lower_case(name.table)] < 2) continue;
    const std::optional<std::string> meaning = TIDE_TRY((*scope.resolver_)(name));
    if (meaning.has_value()) meanings[lower_case(name.table)].insert(*meaning);
  }
  std::erase_if(meanings, [](const auto& entry) { return entry.second.size() < 2; });
  if (meanings.empty()) return {};

  std::vector<Place> backwards = places;
  std::sort(backwards.begin(), backwards.end(),
            [](const Place& a, const Place& b) { return a.location > b.location; });
  const std::vector<Token> tokens = tokenize(scope.sql_);
  for (const Place& place : backwards) {
    if (place.name.schema.empty() || !meanings.contains(lower_case(place.name.table))) continue;
    const auto token = std::find_if(tokens.begin(), tokens.end(), [&](const Token& candidate) {
      return candidate.begin == place.location;
    });
    size_t end = static_cast<size_t>(token - tokens.begin());
    const std::vector<std::string> parts = parse_name(tokens, end, end);
    if (parts.empty() || !same(name_of(parts), place.name)) return ambiguous(place.name.table);
    const std::string mark = "tide:" + spelled(place.name);
    scope.separated_.insert_or_assign(mark, place.name);
    const std::string alias =
        place.has_alias ? std::string() : " AS " + quote_identifier(parts.back());
    scope.sql_.replace(place.location, tokens[end - 1].end - place.location,
                       quote_identifier(mark) + alias);
  }
  return {};
}

NameScope::Active*& NameScope::active() {
  static thread_local Active* active = nullptr;
  return active;
}

Result<NameScope> NameScope::of(std::string_view sql, capi::Connection connection,
                                std::shared_ptr<const TableResolver> resolver,
                                const std::vector<TableName>& remembered, bool wanted) {
  NameScope scope;
  scope.sql_ = sql;
  if (resolver == nullptr && !wanted) return scope;
  scope.resolver_ = std::move(resolver);
  scope.remembered_ = remembered;
  if (const auto places = places_by_serialization(scope.sql_, connection)) {
    for (const Place& place : *places) add_name(scope.names_, place.name);
    if (scope.resolver_ != nullptr) TIDE_TRY(separate_names(scope, *places));
  } else if (auto names = names_by_parser(scope.sql_, connection)) {
    scope.names_ = std::move(*names);
  } else {
    scope.names_ = names_by_lexer(scope.sql_);
    scope.sure_ = false;
  }
  return scope;
}

Result<std::optional<std::string>> NameScope::resolve(std::string_view last_part) const {
  if (resolver_ == nullptr) return std::optional<std::string>();
  if (const auto found = separated_.find(std::string(last_part)); found != separated_.end()) {
    return (*resolver_)(found->second);
  }
  const auto is_separated = [&](const TableName& name) {
    return std::any_of(separated_.begin(), separated_.end(),
                       [&](const auto& entry) { return same(entry.second, name); });
  };
  std::vector<TableName> candidates;
  for (const std::vector<TableName>* names : {&names_, &remembered_}) {
    if (!candidates.empty()) break;
    for (const TableName& name : *names) {
      if (same(name.table, last_part) && !is_separated(name)) add_name(candidates, name);
    }
  }
  if (candidates.empty()) candidates.push_back({"", "", std::string(last_part)});
  std::optional<std::string> answer;
  for (const TableName& candidate : candidates) {
    std::optional<std::string> meaning = TIDE_TRY((*resolver_)(candidate));
    if (!meaning.has_value()) continue;
    if (answer.has_value() && *answer != *meaning) return ambiguous(last_part);
    answer = std::move(meaning);
  }
  return answer;
}

void replace_missing_table(capi::ReplacementInfo info, const char* table, void* unused) {
  (void)unused;
  NameScope::Active* active = NameScope::active();
  if (active == nullptr) return;
  const capi::Functions& duckdb = api();
  Result<std::optional<std::string>> select = active->scope->resolve(table);
  if (!select.ok()) {
    active->error = select.status();
    return duckdb.replacement_scan_set_error(info, select.status().message().c_str());
  }
  if (!select->has_value()) return;
  duckdb.replacement_scan_set_function_name(info, "query");
  const OwnedValue text(duckdb.create_varchar_length((*select)->data(), (*select)->size()));
  duckdb.replacement_scan_add_parameter(info, text.get());
}

}  // namespace tide::duck

#include "warehouse/lake_statement.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "warehouse/allowed_functions.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

using nlohmann::json;

namespace {

constexpr int kDepthMax = 2000;

std::string text_of(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return out;
}

/// The engine's name of a type as PostgreSQL's FigureColname would show it.
std::string type_name(const std::string& id) {
  static const std::map<std::string, std::string> kNames = {
      {"BOOLEAN", "bool"},    {"SMALLINT", "int2"}, {"INTEGER", "int4"},
      {"BIGINT", "int8"},     {"FLOAT", "float4"},  {"DOUBLE", "float8"},
      {"DECIMAL", "numeric"}, {"VARCHAR", "text"},  {"TIMESTAMP WITH TIME ZONE", "timestamptz"},
      {"BLOB", "bytea"},
  };
  auto found = kNames.find(id);
  return found == kNames.end() ? lower(id) : found->second;
}

const std::map<std::string, std::string>& session_words() {
  static const std::map<std::string, std::string> kWords = {
      {"current_user", "user"},        {"user", "user"},
      {"current_role", "user"},        {"session_user", "session_user"},
      {"current_catalog", "database"}, {"current_schema", "schema"},
  };
  return kWords;
}

const std::map<std::string, std::string>& session_functions() {
  static const std::map<std::string, std::string> kFunctions = {
      {"current_database", "database"},
      {"current_schema", "schema"},
      {"version", "version"},
      {"pg_backend_pid", "backend"},
      {"current_user", "user"},
      {"session_user", "session_user"},
      {"current_role", "user"},
      {"current_catalog", "database"},
      {"user", "user"},
  };
  return kFunctions;
}

}  // namespace

/// Walks the engine's parse tree beside the text's tokens.
class LakeWalker {
 public:
  explicit LakeWalker(LakeStatement& statement)
      : statement_(statement), tokens_(tokenize(statement.sql_)) {}

  std::optional<SqlError> error;

  void run(const json& node) {
    walk(node);
    if (error) return;
    find_outputs(node);
    for (const Token& token : tokens_) {
      if (token.kind != Token::Kind::kParameter) continue;
      int number = 0;
      std::string_view text = text_at(token);
      std::from_chars(text.data() + 1, text.data() + text.size(), number);
      statement_.parameters_ = std::max(statement_.parameters_, number);
    }
  }

 private:
  std::string_view text_at(const Token& token) const {
    return std::string_view(statement_.sql_).substr(token.begin, token.end - token.begin);
  }

  /// Index of the token that begins where a node says it does; nothing if it says nothing.
  std::optional<size_t> token_of(const json& node) const {
    auto found = node.find("query_location");
    if (found == node.end() || !found->is_number_unsigned()) return std::nullopt;
    uint64_t at = found->get<uint64_t>();
    auto token = std::lower_bound(tokens_.begin(), tokens_.end(), at,
                                  [](const Token& t, uint64_t place) { return t.begin < place; });
    if (token == tokens_.end() || token->begin != at) return std::nullopt;
    return static_cast<size_t>(token - tokens_.begin());
  }

  void refuse(std::string code, std::string message, const json& node) {
    if (error) return;
    error = sql_error(code, std::move(message));
    if (std::optional<size_t> token = token_of(node)) {
      error->position = static_cast<int>(tokens_[*token].begin) + 1;
    }
    if (code == "42501" || code == "0A000") {
      error->hint = "The lake endpoint runs queries over tables with a fixed list of functions.";
    }
  }

  void walk(const json& node) {
    if (error) return;
    if (++depth_ > kDepthMax) {
      refuse("54001", "the statement is nested too deeply", node);
    } else if (node.is_array()) {
      for (const json& item : node) walk(item);
    } else if (node.is_object()) {
      walk_object(node);
    }
    --depth_;
  }

  void walk_children(const json& node) {
    for (const auto& [key, value] : node.items()) {
      if (key != "cte_map") walk(value);
    }
  }

  void walk_object(const json& node) {
    size_t scope = ctes_.size();
    if (auto map = node.find("cte_map"); map != node.end()) walk_ctes(*map);
    std::string type = text_of(node, "type");
    std::string node_class = text_of(node, "class");
    if (type == "RECURSIVE_CTE_NODE" || type == "CTE_NODE") {
      ctes_.push_back(lower(text_of(node, "cte_name")));
    }
    if (type == "BASE_TABLE") {
      add_table(node);
    } else if (type == "TABLE_FUNCTION") {
      const json function = node.value("function", json::object());
      std::string name = lower(text_of(function, "function_name"));
      if (!is_allowed_table_function(name)) {
        refuse("42501", fmt::format("permission denied for table function {}", name), function);
      }
      walk(function.value("children", json::array()));
    } else if (type == "SHOW_REF") {
      // DESCRIBE and SUMMARIZE of a query; SHOW TABLES and its like look into the engine's catalog.
      if (!node.contains("query") || !text_of(node, "table_name").empty()) {
        refuse("0A000", "this kind of SHOW is not supported", node);
      }
      walk_children(node);
    } else if (node_class == "FUNCTION" || node_class == "WINDOW") {
      check_function(node);
      walk_children(node);
    } else if (node_class == "COLUMN_REF") {
      check_column(node);
    } else if (type == "COLUMN_DATA" || type == "DELIM_GET" || type == "PLACEHOLDER" ||
               type == "BOUND_REF") {
      refuse("0A000", "this kind of table is not supported", node);
    } else {
      walk_children(node);
    }
    ctes_.resize(scope);
  }

  void walk_ctes(const json& map) {
    const json entries = map.value("map", json::array());
    for (const json& entry : entries) {
      // A recursive one sees itself: its node declares its name.
      if (entry.contains("value")) walk(entry["value"]);
      ctes_.push_back(lower(text_of(entry, "key")));
    }
  }

  void add_table(const json& node) {
    std::vector<std::string> parts;
    for (const char* part : {"catalog_name", "schema_name", "table_name"}) {
      if (std::string text = text_of(node, part); !text.empty()) parts.push_back(text);
    }
    if (parts.size() == 1 && std::find(ctes_.begin(), ctes_.end(), lower(parts[0])) != ctes_.end())
      return;
    if (node.contains("at_clause") && !node["at_clause"].is_null()) {
      SqlError unsupported = sql_error("0A000", "AT is not supported");
      unsupported.hint = "SET tidewater.as_of = 'LSN or timestamp' reads older states.";
      if (!error) error = unsupported;
      return;
    }
    std::optional<size_t> first = token_of(node);
    // The place in the text must hold just this name: we replace it there.
    LakeStatement::Table table;
    std::vector<std::string> names;
    bool found =
        first.has_value() && !parts.empty() && *first + parts.size() * 2 - 1 <= tokens_.size();
    for (size_t i = 0; found && i < parts.size(); ++i) {
      const Token& token = tokens_[*first + i * 2];
      if (i > 0) found = is_symbol(statement_.sql_, tokens_[*first + i * 2 - 1], '.');
      found = found &&
              (token.kind == Token::Kind::kWord || token.kind == Token::Kind::kQuotedIdentifier);
      if (!found) break;
      names.push_back(identifier_of(statement_.sql_, token));
      found = lower(names.back()) == lower(parts[i]);
      table.end = token.end;
    }
    if (!found) {
      return refuse("42P01",
                    fmt::format("\"{}\" cannot be read here", parts.empty() ? "" : parts.back()),
                    node);
    }
    table.begin = tokens_[*first].begin;
    table.name.name = names.back();
    if (names.size() > 1) table.name.schema = names[names.size() - 2];
    if (names.size() > 2) table.name.catalog = names[names.size() - 3];
    table.aliased = !text_of(node, "alias").empty();
    if (*first > 0) {
      const Token& before = tokens_[*first - 1];
      for (std::string_view word : {"describe", "desc", "summarize", "show"})
        table.bare = table.bare || is_word(statement_.sql_, before, word);
      table.command = is_word(statement_.sql_, before, "table");
      if (table.command) table.begin = before.begin;
    }
    statement_.tables_.push_back(std::move(table));
  }

  void check_function(const json& node) {
    std::string name = lower(text_of(node, "function_name"));
    std::optional<size_t> token = token_of(node);
    bool window = text_of(node, "class") == "WINDOW";
    // pg_catalog.lower(x): the engine has no such schema, the function is the same.
    if (token && *token + 2 < tokens_.size() &&
        is_symbol(statement_.sql_, tokens_[*token + 1], '.') &&
        identifier_of(statement_.sql_, tokens_[*token]) == "pg_catalog") {
      statement_.edits_.push_back(
          {tokens_[*token].begin, tokens_[*token + 2].begin, "", "", "", true});
      token = *token + 2;
    }
    auto session = session_functions().find(name);
    const json children = node.value("children", json::array());
    if (!window && session != session_functions().end() && children.empty() && token) {
      size_t end = tokens_[*token].end;
      if (*token + 2 < tokens_.size() && is_symbol(statement_.sql_, tokens_[*token + 1], '(') &&
          is_symbol(statement_.sql_, tokens_[*token + 2], ')')) {
        end = tokens_[*token + 2].end;
      }
      statement_.edits_.push_back(
          {tokens_[*token].begin, end, "", session->second, "", session->second != "backend"});
      return;
    }
    if (!is_allowed_function(name)) {
      refuse("42501", fmt::format("function {} is not available in the lake", name), node);
    }
  }

  void check_column(const json& node) {
    const json names = node.value("column_names", json::array());
    std::optional<size_t> token = token_of(node);
    if (!token) return;
    const Token& first = tokens_[*token];
    if (names.size() == 1 && first.kind == Token::Kind::kWord) {
      auto session = session_words().find(identifier_of(statement_.sql_, first));
      if (session == session_words().end()) return;
      statement_.edits_.push_back({first.begin, first.end, "", session->second, "", true});
    }
    // schema.table.column: tables lose their schemas, so columns must too. table.column.field looks
    // the same, so only what names a table is cut (in rewrite order it is known already or comes
    // from an outer FROM, which the tree lists behind the select list: done at the end).
    if (names.size() >= 3 && *token + 4 < tokens_.size()) {
      long_columns_.push_back(*token);
    }
  }

 public:
  /// When all tables are known.
  void cut_schemas() {
    for (size_t token : long_columns_) {
      std::string schema = identifier_of(statement_.sql_, tokens_[token]);
      std::string table = identifier_of(statement_.sql_, tokens_[token + 2]);
      for (const LakeStatement::Table& known : statement_.tables_) {
        if (known.name.schema == schema && known.name.name == table) {
          statement_.edits_.push_back(
              {tokens_[token].begin, tokens_[token + 2].begin, "", "", "", true});
          break;
        }
      }
    }
  }

 private:
  /// PostgreSQL's FigureColname on the engine's tree; strength 0: nothing, 1: a weak name, 2: good.
  int figure_name(const json& node, std::string& name) const {
    std::string node_class = text_of(node, "class");
    std::string type = text_of(node, "type");
    std::optional<size_t> token = token_of(node);
    if (node_class == "COLUMN_REF") {
      const json names = node.value("column_names", json::array());
      if (!token || names.empty()) return 0;
      size_t last = *token + (names.size() - 1) * 2;
      if (last >= tokens_.size()) return 0;
      name = identifier_of(statement_.sql_, tokens_[last]);
      return 2;
    }
    if (node_class == "FUNCTION" || node_class == "WINDOW") {
      if (!token) return 0;
      size_t at = *token;
      while (at + 2 < tokens_.size() && is_symbol(statement_.sql_, tokens_[at + 1], '.')) at += 2;
      if (tokens_[at].kind != Token::Kind::kWord &&
          tokens_[at].kind != Token::Kind::kQuotedIdentifier)
        return 0;
      bool called = at + 1 < tokens_.size() && is_symbol(statement_.sql_, tokens_[at + 1], '(');
      if (!called) return 0;  // LIKE, BETWEEN and other words that are operators
      name = identifier_of(statement_.sql_, tokens_[at]);
      return 2;
    }
    if (node_class == "CAST") {
      const json child = node.value("child", json::object());
      int strength = figure_name(child, name);
      if (strength > 1) return strength;
      name = type_name(text_of(node.value("cast_type", json::object()), "id"));
      return 1;
    }
    if (node_class == "CASE") {
      const json other = node.value("else_expr", json::object());
      int strength = figure_name(other, name);
      if (strength > 1) return strength;
      name = "case";
      return 1;
    }
    if (type == "OPERATOR_COALESCE") {
      name = "coalesce";
      return 2;
    }
    if (type == "OPERATOR_NULLIF") {
      name = "nullif";
      return 2;
    }
    if (type == "ARRAY_EXTRACT" || type == "ARRAY_SLICE") {
      const json children = node.value("children", json::array());
      return children.empty() ? 0 : figure_name(children[0], name);
    }
    if (type == "ARRAY_CONSTRUCTOR") {
      name = "array";
      return 2;
    }
    if (node_class == "SUBQUERY") {
      if (text_of(node, "subquery_type") == "EXISTS") {
        name = "exists";
        return 2;
      }
      if (text_of(node, "subquery_type") != "SCALAR") return 0;
      const json query = node.value("subquery", json::object()).value("node", json::object());
      const json list = query.value("select_list", json::array());
      if (list.empty()) return 0;
      name = text_of(list[0], "alias");
      return name.empty() ? figure_name(list[0], name) : 2;
    }
    return 0;
  }

  void find_outputs(const json& root) {
    json node = root;
    while (node.is_object() && node.contains("left") && !node.contains("select_list")) {
      json left = node["left"];
      node = left;
    }
    if (!node.is_object()) return;
    for (const json& item : node.value("select_list", json::array())) {
      LakeStatement::Output output;
      std::string node_class = text_of(item, "class");
      output.star = node_class == "STAR";
      if (!output.star && text_of(item, "alias").empty()) {
        if (figure_name(item, output.name) == 0) output.name = "?column?";
      }
      statement_.outputs_.push_back(std::move(output));
    }
    // What unnest() and COLUMNS() make of a list is the engine's to name.
  }

  LakeStatement& statement_;
  std::vector<Token> tokens_;
  std::vector<std::string> ctes_;
  std::vector<size_t> long_columns_;
  int depth_ = 0;
};

Outcome<LakeStatement> LakeStatement::analyze(std::string_view sql, const Parser& parser) {
  LakeStatement statement;
  statement.sql_ = sql;
  std::string text = TIDE_TRY(parser(sql));
  json tree = json::parse(text, nullptr, false);
  if (!tree.is_object()) return sql_error("XX000", "cannot read the engine's parse tree");
  if (tree.value("error", false)) {
    std::string message = text_of(tree, "error_message");
    if (text_of(tree, "error_type") == "parser") {
      SqlError error = sql_error("42601", message);
      std::string position = text_of(tree, "position");
      int at = 0;
      std::from_chars(position.data(), position.data() + position.size(), at);
      if (!position.empty()) error.position = at + 1;
      return error;
    }
    SqlError error = sql_error("0A000", "this statement is not supported by the lake endpoint");
    error.detail = message;
    return error;
  }
  const json statements = tree.value("statements", json::array());
  if (statements.size() != 1) return sql_error("42601", "one statement was expected");
  LakeWalker walker(statement);
  walker.run(statements[0].value("node", json::object()));
  walker.cut_schemas();
  if (walker.error) return *walker.error;
  std::sort(statement.edits_.begin(), statement.edits_.end(),
            [](const Edit& a, const Edit& b) { return a.begin < b.begin; });
  return statement;
}

std::string LakeStatement::rewrite(const Session& session,
                                   const std::function<std::string(size_t)>& table_name,
                                   const std::function<std::string(int)>& parameter) const {
  struct Piece {
    size_t begin;
    size_t end;
    std::string text;
  };
  std::vector<Piece> pieces;
  for (size_t i = 0; i < tables_.size(); ++i) {
    std::string text = table_name(i);
    if (tables_[i].command) text = "SELECT * FROM " + text;
    if (!tables_[i].aliased && !tables_[i].bare)
      text += " AS " + quoted_identifier(tables_[i].name.name);
    pieces.push_back({tables_[i].begin, tables_[i].end, std::move(text)});
  }
  for (const Edit& edit : edits_) {
    std::string text = edit.text;
    if (edit.session_value == "backend") {
      text = fmt::format("{}", session.backend);
    } else if (!edit.session_value.empty()) {
      const std::string& value = edit.session_value == "user"           ? session.user
                                 : edit.session_value == "session_user" ? session.session_user
                                 : edit.session_value == "database"     ? session.database
                                 : edit.session_value == "schema"       ? session.schema
                                                                        : session.version;
      text = quoted_literal(value);
    }
    pieces.push_back({edit.begin, edit.end, std::move(text)});
  }
  for (const Token& token : tokenize(sql_)) {
    if (token.kind != Token::Kind::kParameter) continue;
    int number = 0;
    std::from_chars(sql_.data() + token.begin + 1, sql_.data() + token.end, number);
    pieces.push_back({token.begin, token.end, parameter(number)});
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  std::string out;
  size_t at = 0;
  for (const Piece& piece : pieces) {
    if (piece.begin < at) continue;  // named twice by the tree (USING columns): replaced once
    out += sql_.substr(at, piece.begin - at);
    out += piece.text;
    at = piece.end;
  }
  out += sql_.substr(at);
  return out;
}

std::vector<std::string> LakeStatement::column_names(
    const std::vector<std::string>& engine_names) const {
  std::vector<std::string> names = engine_names;
  size_t stars = 0;
  for (const Output& output : outputs_) stars += output.star ? 1 : 0;
  bool known =
      stars == 0 ? outputs_.size() == names.size() : outputs_.size() - stars <= names.size();
  if (!known) return names;
  for (size_t i = 0; i < outputs_.size() && !outputs_[i].star; ++i) {
    if (!outputs_[i].name.empty()) names[i] = outputs_[i].name;
  }
  if (stars == 0) return names;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Output& output = outputs_[outputs_.size() - 1 - i];
    if (output.star) break;
    if (!output.name.empty()) names[names.size() - 1 - i] = output.name;
  }
  return names;
}

}  // namespace tide::warehouse

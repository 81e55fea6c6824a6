#include "warehouse/pg_statement.h"

#include <fmt/format.h>
#include <pg_query.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

using nlohmann::json;

namespace {

using Kind = PgStatement::Kind;

constexpr int kDepthMax = 2000;

struct Freed {
  PgQueryParseResult result;
  ~Freed() { pg_query_free_parse_result(result); }
};

std::string text_member(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t number_member(const json& object, const char* name, int64_t fallback) {
  auto found = object.find(name);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : fallback;
}

bool flag_member(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

/// [{"String":{"sval":"a"}}, ...]
std::vector<std::string> names_of(const json& list) {
  std::vector<std::string> names;
  if (!list.is_array()) return names;
  for (const json& item : list) {
    auto found = item.find("String");
    if (found != item.end()) names.push_back(text_member(*found, "sval"));
  }
  return names;
}

/// Relations and functions below a node, with CTEs in their scope.
class Walker {
 public:
  explicit Walker(PgStatement& statement) : statement_(statement) {}

  bool writes() const { return writes_; }
  const std::string& write_verb() const { return write_verb_; }
  bool too_deep() const { return too_deep_; }

  void walk(const json& node) {
    if (++depth_ > kDepthMax) {
      too_deep_ = true;
      --depth_;
      return;
    }
    if (node.is_array()) {
      for (const json& item : node) walk(item);
    } else if (node.is_object()) {
      walk_object(node);
    }
    --depth_;
  }

 private:
  void walk_object(const json& node) {
    auto with = node.find("withClause");
    size_t scope = visible_.size();
    if (with != node.end()) {
      bool recursive = flag_member(*with, "recursive");
      const json ctes = with->value("ctes", json::array());
      if (recursive) {
        for (const json& cte : ctes) declare(cte);
      }
      for (const json& cte : ctes) {
        walk(cte);
        if (!recursive) declare(cte);
      }
    }
    for (const auto& [key, value] : node.items()) {
      if (key == "withClause") continue;
      if (key == "RangeVar" || key == "ColumnRef") {
        int64_t location = number_member(value, "location", -1);
        if (location >= 0) statement_.names.push_back(static_cast<size_t>(location));
      }
      if (key == "RangeVar") {
        add_relation(value);
        continue;
      }
      if (key == "FuncCall") {
        std::vector<std::string> names = names_of(value.value("funcname", json::array()));
        QualifiedName function;
        if (!names.empty()) function.name = names.back();
        if (names.size() > 1) function.schema = names[names.size() - 2];
        statement_.functions.push_back(function);
      } else if (key == "InsertStmt" || key == "UpdateStmt" || key == "DeleteStmt" ||
                 key == "MergeStmt") {
        note_write(key == "InsertStmt"   ? "INSERT"
                   : key == "UpdateStmt" ? "UPDATE"
                   : key == "DeleteStmt" ? "DELETE"
                                         : "MERGE");
      } else if (key == "intoClause") {
        note_write("SELECT INTO");
      } else if (key == "lockingClause") {
        note_write("SELECT FOR UPDATE");
      }
      walk(value);
    }
    visible_.resize(scope);
  }

  void declare(const json& cte) {
    auto found = cte.find("CommonTableExpr");
    if (found != cte.end()) visible_.push_back(text_member(*found, "ctename"));
  }

  void add_relation(const json& range) {
    QualifiedName name{text_member(range, "catalogname"), text_member(range, "schemaname"),
                       text_member(range, "relname")};
    if (name.schema.empty() &&
        std::find(visible_.begin(), visible_.end(), name.name) != visible_.end())
      return;
    statement_.relations.push_back(std::move(name));
  }

  void note_write(std::string_view verb) {
    if (!writes_) write_verb_ = verb;
    writes_ = true;
  }

  PgStatement& statement_;
  std::vector<std::string> visible_;
  int depth_ = 0;
  bool writes_ = false;
  bool too_deep_ = false;
  std::string write_verb_;
};

/// "CreateStmt" -> "CREATE": good enough for a message.
std::string verb_of(std::string_view text) {
  std::string verb;
  for (const Token& token : tokenize(text.substr(0, 200))) {
    if (token.kind != Token::Kind::kWord || verb.size() > 20) break;
    std::string word = identifier_of(text, token);
    for (char& c : word) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    }
    bool two = word == "CREATE" || word == "ALTER" || word == "DROP" || word == "REFRESH";
    if (!verb.empty()) return verb + " " + word;
    verb = word;
    if (!two) break;
  }
  return verb;
}

/// The value of SET as text: constants joined by commas, as SHOW would print them.
std::optional<std::string> setting_value(const json& node) {
  auto args = node.find("args");
  if (args == node.end() || !args->is_array() || args->empty()) return std::nullopt;
  std::string joined;
  for (const json& arg : *args) {
    const json* constant = &arg;
    if (auto cast = arg.find("TypeCast"); cast != arg.end()) constant = &(*cast)["arg"];
    auto found = constant->find("A_Const");
    if (found == constant->end()) return std::nullopt;
    if (!joined.empty()) joined += ", ";
    if (auto sval = found->find("sval"); sval != found->end()) {
      joined += text_member(*sval, "sval");
    } else if (auto ival = found->find("ival"); ival != found->end()) {
      joined += fmt::format("{}", number_member(*ival, "ival", 0));
    } else if (auto fval = found->find("fval"); fval != found->end()) {
      joined += text_member(*fval, "fval");
    } else if (auto bval = found->find("boolval"); bval != found->end()) {
      joined += flag_member(*bval, "boolval") ? "on" : "off";
    }
  }
  return joined;
}

/// Where the query inside begins: behind the first top-level keyword (FOR, AS), or behind the
/// options of EXPLAIN.
void find_inner_query(PgStatement& statement, std::string_view keyword) {
  std::vector<Token> tokens = tokenize(statement.text);
  int depth = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    if (is_symbol(statement.text, tokens[i], '(')) ++depth;
    if (is_symbol(statement.text, tokens[i], ')')) --depth;
    if (depth == 0 && i > 0 && is_word(statement.text, tokens[i], keyword)) {
      statement.query_offset = tokens[i + 1].begin;
      statement.query = statement.text.substr(statement.query_offset);
      return;
    }
  }
}

void find_explained_query(PgStatement& statement) {
  std::vector<Token> tokens = tokenize(statement.text);
  size_t i = 1;
  if (i < tokens.size() && is_symbol(statement.text, tokens[i], '(')) {
    // Options in parentheses, unless they enclose the query itself.
    static const std::set<std::string> kQueryWords = {"select", "with", "values", "table", "from"};
    bool options = i + 1 < tokens.size() && tokens[i + 1].kind == Token::Kind::kWord &&
                   !kQueryWords.contains(identifier_of(statement.text, tokens[i + 1]));
    if (options) {
      while (i < tokens.size() && !is_symbol(statement.text, tokens[i], ')')) ++i;
      ++i;
    }
  } else {
    while (i < tokens.size() && (is_word(statement.text, tokens[i], "analyze") ||
                                 is_word(statement.text, tokens[i], "analyse") ||
                                 is_word(statement.text, tokens[i], "verbose"))) {
      ++i;
    }
  }
  if (i >= tokens.size()) return;
  statement.query_offset = tokens[i].begin;
  statement.query = statement.text.substr(statement.query_offset);
}

/// COPY ( query ) TO ...: between the outer parentheses.
void find_copied_query(PgStatement& statement) {
  std::vector<Token> tokens = tokenize(statement.text);
  int depth = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (is_symbol(statement.text, tokens[i], '(') && depth++ == 0 && i + 1 < tokens.size()) {
      statement.query_offset = tokens[i + 1].begin;
    }
    if (is_symbol(statement.text, tokens[i], ')') && --depth == 0) {
      statement.query =
          statement.text.substr(statement.query_offset, tokens[i].begin - statement.query_offset);
      return;
    }
  }
}

std::string option_text(const json& element) {
  auto arg = element.find("arg");
  if (arg == element.end()) return "true";
  if (auto text = arg->find("String"); text != arg->end()) return text_member(*text, "sval");
  if (auto flag = arg->find("Boolean"); flag != arg->end())
    return flag_member(*flag, "boolval") ? "true" : "false";
  if (auto number = arg->find("Integer"); number != arg->end())
    return fmt::format("{}", number_member(*number, "ival", 0));
  return "";
}

bool is_on(const std::string& text) { return text == "true" || text == "on" || text == "1"; }

void read_copy(const json& node, PgStatement& statement) {
  PgStatement::Copy& copy = statement.copy;
  for (const json& item : node.value("options", json::array())) {
    auto found = item.find("DefElem");
    if (found == item.end()) continue;
    std::string name = text_member(*found, "defname");
    std::string value = option_text(*found);
    if (name == "format") {
      copy.csv = value == "csv";
      copy.binary = value == "binary";
      if (!copy.csv && !copy.binary && value != "text") copy.unsupported = "FORMAT " + value;
    } else if (name == "header") {
      copy.header = is_on(value);
    } else if (name == "delimiter") {
      copy.delimiter = value;
    } else if (name == "null") {
      copy.null_text = value;
      copy.null_given = true;
    } else if (name == "quote" && value.size() == 1) {
      copy.quote = value[0];
    } else if (name == "escape" && value.size() == 1) {
      copy.escape = value[0];
    } else if (name == "force_quote" && found->contains("arg") &&
               (*found)["arg"].contains("A_Star")) {
      copy.force_quote_all = true;
    } else if (name == "encoding" &&
               (value == "UTF8" || value == "utf8" || value == "UTF-8" || value == "utf-8")) {
    } else {
      copy.unsupported = name;
    }
  }
  if (auto relation = node.find("relation"); relation != node.end()) {
    statement.relations.push_back({text_member(*relation, "catalogname"),
                                   text_member(*relation, "schemaname"),
                                   text_member(*relation, "relname")});
    copy.columns = names_of(node.value("attlist", json::array()));
  } else {
    find_copied_query(statement);
  }
}

/// EXECUTE's arguments and PREPARE's types: the texts between the first parentheses, cut at commas.
std::vector<std::string> parenthesized(std::string_view text, std::string_view stop) {
  std::vector<std::string> parts;
  int depth = 0;
  size_t begin = 0;
  for (const Token& token : tokenize(text)) {
    if (depth == 0 && !stop.empty() && is_word(text, token, stop)) return {};
    if (is_symbol(text, token, '(') || is_symbol(text, token, '[')) {
      if (depth++ == 0) begin = token.end;
    } else if (is_symbol(text, token, ')') || is_symbol(text, token, ']')) {
      if (--depth == 0) {
        parts.emplace_back(trimmed(text.substr(begin, token.begin - begin)));
        return parts;
      }
    } else if (depth == 1 && is_symbol(text, token, ',')) {
      parts.emplace_back(trimmed(text.substr(begin, token.begin - begin)));
      begin = token.end;
    }
  }
  return {};
}

void read_statement(const std::string& type, const json& node, PgStatement& statement) {
  static const std::map<std::string, Kind> kKinds = {
      {"SelectStmt", Kind::kSelect},          {"TransactionStmt", Kind::kTransaction},
      {"VariableSetStmt", Kind::kSet},        {"VariableShowStmt", Kind::kShow},
      {"DeclareCursorStmt", Kind::kDeclare},  {"FetchStmt", Kind::kFetch},
      {"ClosePortalStmt", Kind::kClose},      {"CopyStmt", Kind::kCopyOut},
      {"ExplainStmt", Kind::kExplain},        {"PrepareStmt", Kind::kPrepare},
      {"ExecuteStmt", Kind::kExecute},        {"DeallocateStmt", Kind::kDeallocate},
      {"DiscardStmt", Kind::kDiscard},        {"ListenStmt", Kind::kSession},
      {"UnlistenStmt", Kind::kSession},       {"NotifyStmt", Kind::kSession},
      {"ConstraintsSetStmt", Kind::kSession}, {"LockStmt", Kind::kSession}};
  auto kind = kKinds.find(type);
  statement.kind = kind == kKinds.end() ? Kind::kWrite : kind->second;
  statement.verb = verb_of(statement.text);
  switch (statement.kind) {
    case Kind::kTransaction:
      statement.transaction = text_member(node, "kind");
      if (statement.transaction.empty()) statement.transaction = "TRANS_STMT_BEGIN";
      return;
    case Kind::kSet: {
      statement.setting = text_member(node, "name");
      statement.local = flag_member(node, "is_local");
      std::string how = text_member(node, "kind");
      statement.reset_all = how == "VAR_RESET_ALL";
      if (how == "VAR_SET_VALUE") statement.value = setting_value(node);
      return;
    }
    case Kind::kShow:
      statement.setting = text_member(node, "name");
      return;
    case Kind::kDeclare: {
      statement.name = text_member(node, "portalname");
      int64_t options = number_member(node, "options", 0);
      statement.binary = (options & 0x01) != 0;
      statement.scroll = (options & 0x02) != 0;
      statement.hold = (options & 0x20) != 0;
      find_inner_query(statement, "for");
      break;
    }
    case Kind::kFetch: {
      statement.name = text_member(node, "portalname");
      std::string direction = text_member(node, "direction");
      statement.forward = direction.empty() || direction == "FETCH_FORWARD";
      statement.count = number_member(node, "howMany", 0);
      statement.move = flag_member(node, "ismove");
      return;
    }
    case Kind::kClose:
      statement.name = text_member(node, "portalname");
      return;
    case Kind::kCopyOut:
      if (flag_member(node, "is_from") || flag_member(node, "is_program") ||
          node.contains("filename")) {
        statement.kind = Kind::kWrite;
        statement.verb = flag_member(node, "is_from") ? "COPY FROM" : "COPY TO a file";
        return;
      }
      read_copy(node, statement);
      break;
    case Kind::kExplain:
      for (const json& item : node.value("options", json::array())) {
        auto found = item.find("DefElem");
        if (found != item.end() && text_member(*found, "defname") == "analyze") {
          statement.analyze = is_on(option_text(*found));
        }
      }
      find_explained_query(statement);
      break;
    case Kind::kPrepare:
      statement.name = text_member(node, "name");
      statement.arguments = parenthesized(statement.text, "as");
      find_inner_query(statement, "as");
      break;
    case Kind::kExecute:
      statement.name = text_member(node, "name");
      statement.arguments = parenthesized(statement.text, "");
      break;
    case Kind::kDeallocate:
      statement.name = text_member(node, "name");
      return;
    case Kind::kSelect:
      break;
    default:
      return;
  }
  Walker walker(statement);
  walker.walk(node);
  if (walker.too_deep()) statement.kind = Kind::kWrite;
  if (walker.writes()) {
    statement.kind = Kind::kWrite;
    statement.verb = walker.write_verb();
  }
}

}  // namespace

std::string QualifiedName::to_string() const {
  std::string text;
  if (!catalog.empty()) text += catalog + ".";
  if (!schema.empty()) text += schema + ".";
  return text + name;
}

Outcome<std::vector<PgStatement>> parse_pg(std::string_view sql) {
  std::string text(sql);
  Freed freed{pg_query_parse(text.c_str())};
  if (freed.result.error != nullptr) {
    SqlError error = sql_error("42601", freed.result.error->message);
    error.position = freed.result.error->cursorpos;
    return error;
  }
  json tree = json::parse(freed.result.parse_tree, nullptr, false);
  if (tree.is_discarded()) return sql_error("XX000", "cannot read the parser's answer");
  std::vector<PgStatement> statements;
  for (const json& item : tree.value("stmts", json::array())) {
    PgStatement statement;
    size_t begin = static_cast<size_t>(number_member(item, "stmt_location", 0));
    size_t length = static_cast<size_t>(number_member(item, "stmt_len", 0));
    if (begin > text.size()) begin = text.size();
    std::string_view piece = std::string_view(text).substr(begin, length == 0 ? text.npos : length);
    std::string_view inner = trimmed(piece);
    if (inner.ends_with(';')) inner = trimmed(inner.substr(0, inner.size() - 1));
    statement.offset = inner.empty() ? begin : static_cast<size_t>(inner.data() - text.data());
    statement.text = inner;
    const json stmt = item.value("stmt", json::object());
    for (const auto& [type, node] : stmt.items()) read_statement(type, node, statement);
    statements.push_back(std::move(statement));
  }
  return statements;
}

std::string with_quoted_names(std::string_view sql, size_t offset,
                              const std::vector<size_t>& names) {
  std::set<size_t> begins(names.begin(), names.end());
  std::vector<Token> tokens = tokenize(sql);
  std::string out;
  size_t at = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!begins.contains(tokens[i].begin + offset)) continue;
    // The name and what follows it behind dots.
    while (i < tokens.size()) {
      if (tokens[i].kind == Token::Kind::kWord) {
        out += sql.substr(at, tokens[i].begin - at);
        out += quoted_identifier(identifier_of(sql, tokens[i]));
        at = tokens[i].end;
      }
      if (i + 2 >= tokens.size() || !is_symbol(sql, tokens[i + 1], '.')) break;
      i += 2;
    }
  }
  out += sql.substr(at);
  return out;
}

std::vector<Piece> split_script(std::string_view sql) {
  std::vector<Piece> pieces;
  size_t begin = 0;
  size_t end = 0;
  bool open = false;
  for (const Token& token : tokenize(sql)) {
    if (is_symbol(sql, token, ';')) {
      if (open) pieces.push_back({std::string(sql.substr(begin, end - begin)), begin});
      open = false;
      continue;
    }
    if (!open) begin = token.begin;
    open = true;
    end = token.end;
  }
  if (open) pieces.push_back({std::string(sql.substr(begin, end - begin)), begin});
  return pieces;
}

}  // namespace tide::warehouse

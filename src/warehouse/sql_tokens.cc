#include "warehouse/sql_tokens.h"

#include <algorithm>
#include <cctype>

namespace tide::warehouse {

namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool in_word(char c) { return begins_word(c) || is_digit(c) || c == '$'; }

/// Behind the comment that begins at `at`, or `at` if none does.
size_t skip_comment(std::string_view sql, size_t at) {
  if (sql.substr(at, 2) == "--") {
    size_t end = sql.find('\n', at);
    return end == sql.npos ? sql.size() : end + 1;
  }
  if (sql.substr(at, 2) != "/*") return at;
  int depth = 0;
  while (at < sql.size()) {
    if (sql.substr(at, 2) == "/*") {
      ++depth;
      at += 2;
    } else if (sql.substr(at, 2) == "*/") {
      at += 2;
      if (--depth == 0) return at;
    } else {
      ++at;
    }
  }
  return at;
}

/// Behind a quoted piece that begins at `at`; the quote doubled stands for itself.
size_t skip_quoted(std::string_view sql, size_t at, char quote, bool backslashes) {
  ++at;
  while (at < sql.size()) {
    if (backslashes && sql[at] == '\\' && at + 1 < sql.size()) {
      at += 2;
    } else if (sql[at] == quote) {
      if (at + 1 >= sql.size() || sql[at + 1] != quote) return at + 1;
      at += 2;
    } else {
      ++at;
    }
  }
  return at;
}

/// Behind $tag$...$tag$, or `at` if no such thing begins there.
size_t skip_dollar_quoted(std::string_view sql, size_t at) {
  size_t tag_end = at + 1;
  if (tag_end < sql.size() && begins_word(sql[tag_end])) {
    while (tag_end < sql.size() && in_word(sql[tag_end]) && sql[tag_end] != '$') ++tag_end;
  }
  if (tag_end >= sql.size() || sql[tag_end] != '$') return at;
  std::string_view tag = sql.substr(at, tag_end + 1 - at);
  size_t close = sql.find(tag, tag_end + 1);
  return close == sql.npos ? sql.size() : close + tag.size();
}

}  // namespace

std::vector<Token> tokenize(std::string_view sql) {
  std::vector<Token> tokens;
  size_t at = 0;
  while (at < sql.size()) {
    char c = sql[at];
    if (is_space(c)) {
      ++at;
      continue;
    }
    if (size_t behind = skip_comment(sql, at); behind != at) {
      at = behind;
      continue;
    }
    Token token;
    token.begin = at;
    char next = at + 1 < sql.size() ? sql[at + 1] : '\0';
    if (c == '\'') {
      token.kind = Token::Kind::kString;
      token.end = skip_quoted(sql, at, '\'', false);
    } else if ((c == 'e' || c == 'E' || c == 'b' || c == 'B' || c == 'x' || c == 'X' || c == 'n' ||
                c == 'N') &&
               next == '\'') {
      token.kind = Token::Kind::kString;
      token.end = skip_quoted(sql, at + 1, '\'', c == 'e' || c == 'E');
    } else if ((c == 'u' || c == 'U') && next == '&' && at + 2 < sql.size() &&
               (sql[at + 2] == '\'' || sql[at + 2] == '"')) {
      token.kind = sql[at + 2] == '"' ? Token::Kind::kQuotedIdentifier : Token::Kind::kString;
      token.end = skip_quoted(sql, at + 2, sql[at + 2], false);
    } else if (c == '"') {
      token.kind = Token::Kind::kQuotedIdentifier;
      token.end = skip_quoted(sql, at, '"', false);
    } else if (c == '$' && is_digit(next)) {
      token.kind = Token::Kind::kParameter;
      token.end = at + 1;
      while (token.end < sql.size() && is_digit(sql[token.end])) ++token.end;
    } else if (c == '$' && skip_dollar_quoted(sql, at) != at) {
      token.kind = Token::Kind::kString;
      token.end = skip_dollar_quoted(sql, at);
    } else if (begins_word(c)) {
      token.kind = Token::Kind::kWord;
      token.end = at;
      while (token.end < sql.size() && in_word(sql[token.end])) ++token.end;
    } else if (is_digit(c) || (c == '.' && is_digit(next))) {
      token.kind = Token::Kind::kNumber;
      token.end = at;
      while (token.end < sql.size() && (in_word(sql[token.end]) || sql[token.end] == '.')) {
        bool exponent = sql[token.end] == 'e' || sql[token.end] == 'E';
        ++token.end;
        if (exponent && token.end < sql.size() && (sql[token.end] == '+' || sql[token.end] == '-'))
          ++token.end;
      }
    } else {
      token.end = at + 1;
    }
    at = token.end;
    tokens.push_back(token);
  }
  return tokens;
}

std::string identifier_of(std::string_view sql, const Token& token) {
  std::string_view text = sql.substr(token.begin, token.end - token.begin);
  std::string name;
  if (token.kind == Token::Kind::kQuotedIdentifier) {
    text.remove_prefix(1);
    if (!text.empty() && text.back() == '"') text.remove_suffix(1);
    for (size_t i = 0; i < text.size(); ++i) {
      name += text[i];
      if (text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"') ++i;
    }
    return name;
  }
  name = text;
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return name;
}

bool is_word(std::string_view sql, const Token& token, std::string_view keyword) {
  return token.kind == Token::Kind::kWord && token.end - token.begin == keyword.size() &&
         identifier_of(sql, token) == keyword;
}

bool is_symbol(std::string_view sql, const Token& token, char symbol) {
  return token.kind == Token::Kind::kSymbol && sql[token.begin] == symbol;
}

std::string_view trimmed(std::string_view sql) {
  std::vector<Token> tokens = tokenize(sql);
  if (tokens.empty()) return {};
  return sql.substr(tokens.front().begin, tokens.back().end - tokens.front().begin);
}

std::string quoted_identifier(std::string_view name) {
  std::string out = "\"";
  for (char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

std::string quoted_literal(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + "'";
}

}  // namespace tide::warehouse

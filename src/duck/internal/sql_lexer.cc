#include "duck/internal/sql_lexer.h"

namespace tide::duck {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool continues_word(char c) { return starts_word(c) || is_digit(c) || c == '$'; }

/// Bytes of a blank beyond ASCII at the front of `text`: DuckDB takes these for spaces.
size_t wide_blank(std::string_view text) {
  if (text.empty() || static_cast<unsigned char>(text[0]) < 0x80) return 0;
  if (text.starts_with("\xc2\xa0")) return 2;
  const std::string_view three = text.substr(0, 3);
  if (three == "\xe2\x80\xaf" || three == "\xe2\x81\x9f" || three == "\xe2\x81\xa0" ||
      three == "\xe3\x80\x80" || three == "\xef\xbb\xbf" || three == "\xe1\x9a\x80") {
    return 3;
  }
  const bool general = three.size() == 3 && three.starts_with("\xe2\x80") &&
                       static_cast<unsigned char>(three[2]) <= 0x8f;
  return general ? 3 : 0;
}

class Lexer {
 public:
  explicit Lexer(std::string_view sql) : sql_(sql) {}

  std::vector<Token> run() {
    while (skip_blanks() && at_ < sql_.size()) {
      const size_t begin = at_;
      const bool whole = next();
      tokens_.back().begin = begin;
      tokens_.back().end = at_;
      if (!whole) return broken(begin);
    }
    if (!whole_) return broken(at_);
    return std::move(tokens_);
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < sql_.size() ? sql_[at_ + ahead] : '\0'; }

  std::vector<Token> broken(size_t begin) {
    tokens_.push_back({Token::Kind::kBroken, begin, sql_.size(), ""});
    return std::move(tokens_);
  }

  void add(Token::Kind kind, std::string text) { tokens_.push_back({kind, 0, 0, std::move(text)}); }

  /// False (and whole_ false) within a comment that does not end.
  bool skip_blanks() {
    while (at_ < sql_.size()) {
      if (is_blank(peek())) {
        ++at_;
      } else if (const size_t wide = wide_blank(sql_.substr(at_)); wide > 0) {
        at_ += wide;
      } else if (peek() == '-' && peek(1) == '-') {
        while (at_ < sql_.size() && peek() != '\n' && peek() != '\r') ++at_;
      } else if (peek() == '/' && peek(1) == '*') {
        if (!skip_comment()) return whole_ = false;
      } else {
        break;
      }
    }
    return true;
  }

  bool skip_comment() {
    int depth = 0;
    while (at_ < sql_.size()) {
      if (peek() == '/' && peek(1) == '*') {
        ++depth;
        at_ += 2;
      } else if (peek() == '*' && peek(1) == '/') {
        at_ += 2;
        if (--depth == 0) return true;
      } else {
        ++at_;
      }
    }
    return false;
  }

  /// Adds the token at at_; false if it does not end.
  bool next() {
    const char c = peek();
    if (c == '\'') return quoted(Token::Kind::kString, '\'', false);
    if (c == '"') return quoted(Token::Kind::kQuoted, '"', false);
    if (peek(1) == '\'' && std::string_view("eExXbBnN").find(c) != std::string_view::npos) {
      ++at_;
      return quoted(Token::Kind::kString, '\'', c == 'e' || c == 'E');
    }
    if ((c == 'u' || c == 'U') && peek(1) == '&' && (peek(2) == '\'' || peek(2) == '"')) {
      at_ += 2;
      return quoted(peek() == '"' ? Token::Kind::kQuoted : Token::Kind::kString, peek(), false);
    }
    if (c == '$') return dollar();
    if (starts_word(c)) {
      const size_t begin = at_;
      while (continues_word(peek()) && wide_blank(sql_.substr(at_)) == 0) ++at_;
      add(Token::Kind::kWord, lower_case(sql_.substr(begin, at_ - begin)));
      return true;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      const size_t begin = at_;
      while (continues_word(peek()) || peek() == '.') ++at_;
      add(Token::Kind::kNumber, std::string(sql_.substr(begin, at_ - begin)));
      return true;
    }
    ++at_;
    add(c == '?' ? Token::Kind::kParameter : Token::Kind::kSymbol, std::string(1, c));
    return true;
  }

  bool quoted(Token::Kind kind, char quote, bool backslashes) {
    std::string text;
    for (++at_; at_ < sql_.size();) {
      if (backslashes && peek() == '\\' && at_ + 1 < sql_.size()) {
        text += sql_.substr(at_, 2);
        at_ += 2;
      } else if (peek() != quote) {
        text += sql_[at_++];
      } else if (peek(1) == quote) {
        text += quote;
        at_ += 2;
      } else {
        ++at_;
        add(kind, std::move(text));
        return true;
      }
    }
    add(kind, std::move(text));
    return false;
  }

  /// $1, $name, or $tag$string$tag$.
  bool dollar() {
    const size_t begin = at_++;
    size_t tag_end = at_;
    if (!is_digit(peek())) {
      while (tag_end < sql_.size() && (starts_word(sql_[tag_end]) || is_digit(sql_[tag_end]))) {
        ++tag_end;
      }
    }
    if (tag_end < sql_.size() && sql_[tag_end] == '$') {
      const std::string_view tag = sql_.substr(begin, tag_end + 1 - begin);
      const size_t content = tag_end + 1;
      const size_t close = sql_.find(tag, content);
      at_ = close == std::string_view::npos ? sql_.size() : close + tag.size();
      add(Token::Kind::kString,
          std::string(
              sql_.substr(content, close == std::string_view::npos ? close : close - content)));
      return close != std::string_view::npos;
    }
    while (starts_word(peek()) || is_digit(peek())) ++at_;
    add(Token::Kind::kParameter, std::string(sql_.substr(begin, at_ - begin)));
    return true;
  }

  std::string_view sql_;
  size_t at_ = 0;
  bool whole_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::vector<Token> tokenize(std::string_view sql) { return Lexer(sql).run(); }

std::vector<std::string> parse_name(const std::vector<Token>& tokens, size_t at, size_t& end) {
  std::vector<std::string> parts;
  end = at;
  while (end < tokens.size() && tokens[end].is_name()) {
    parts.push_back(tokens[end++].text);
    if (end + 1 >= tokens.size() || !tokens[end].is_symbol('.') || !tokens[end + 1].is_name()) {
      break;
    }
    ++end;
  }
  return parts;
}

}  // namespace tide::duck

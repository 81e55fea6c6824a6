#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tide::duck {

/// A lexical element of DuckDB's SQL (PostgreSQL's rules). Blanks and comments are none.
struct Token {
  enum class Kind : uint8_t {
    kWord,    ///< Unquoted identifier or keyword; `text` is lower-case.
    kQuoted,  ///< "identifier"; `text` is what it stands for.
    kString,  ///< 'string' in any of its forms; `text` is its content, escapes of E'' left in.
    kNumber,
    kParameter,  ///< $1, ?, $name
    kSymbol,     ///< One character.
    kBroken,     ///< A quote or comment that nothing ends; the last token.
  };
  Kind kind;
  size_t begin;  ///< Bytes [begin, end) of the SQL.
  size_t end;
  std::string text;

  bool is_name() const { return kind == Kind::kWord || kind == Kind::kQuoted; }
  bool is_symbol(char c) const { return kind == Kind::kSymbol && text[0] == c; }
  bool is_word(std::string_view word) const { return kind == Kind::kWord && text == word; }
};

std::vector<Token> tokenize(std::string_view sql);

/// Names joined by points, from tokens[at] on: {"public", "orders"}. Empty if there is none at
/// `at`. `end` becomes the index of the token behind.
std::vector<std::string> parse_name(const std::vector<Token>& tokens, size_t at, size_t& end);

std::string lower_case(std::string_view text);

}  // namespace tide::duck

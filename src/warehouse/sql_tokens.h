#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tide::warehouse {

/// A token of SQL as PostgreSQL's scanner cuts it; comments and blanks are not tokens.
struct Token {
  enum class Kind {
    kWord,              ///< keyword or plain identifier
    kQuotedIdentifier,  ///< "name"
    kString,            ///< '...', E'...', $tag$...$tag$
    kNumber,
    kParameter,  ///< $1
    kSymbol,     ///< one character: operators come piece by piece
  };
  Kind kind = Kind::kSymbol;
  size_t begin = 0;  ///< bytes of the text, half-open
  size_t end = 0;
};

/// Never fails: what is not terminated reaches to the text's end.
std::vector<Token> tokenize(std::string_view sql);

/// The token's name as PostgreSQL means it: plain words in lower case, quoted ones as they are.
std::string identifier_of(std::string_view sql, const Token& token);

/// True for a plain word that is this keyword (given in lower case).
bool is_word(std::string_view sql, const Token& token, std::string_view keyword);
bool is_symbol(std::string_view sql, const Token& token, char symbol);

/// The text without comments and blanks before and behind.
std::string_view trimmed(std::string_view sql);

/// "name", quotes doubled.
std::string quoted_identifier(std::string_view name);
/// 'text', quotes doubled; backslashes stay what they are.
std::string quoted_literal(std::string_view text);

}  // namespace tide::warehouse

#include "warehouse/engine_error.h"

#include <algorithm>
#include <string_view>

namespace tide::warehouse {

namespace {

struct Rule {
  std::string_view text;
  std::string_view code;
};

/// The first that the message contains.
constexpr Rule kRules[] = {
    {"INTERRUPT Error", "57014"},
    {"Interrupted", "57014"},
    {"Out of Memory Error", "53200"},
    {"failed to offload data block", "53100"},
    {"could not allocate block", "53200"},
    {"Referenced table", "42P01"},
    {"does not have a column", "42703"},
    {"not found in FROM clause", "42703"},
    {"Ambiguous reference", "42702"},
    {"must appear in the GROUP BY", "42803"},
    {"aggregate", "42803"},
    {"No function matches", "42883"},
    {"Function with name", "42883"},
    {"Could not choose a best candidate", "42725"},
    {"Type with name", "42704"},
    {"Table with name", "42P01"},
    {"Cannot compare values", "42883"},
    {"Parser Error", "42601"},
    {"syntax error", "42601"},
    {"Division by zero", "22012"},
    {"division by zero", "22012"},
    {"Conversion Error", "22P02"},
    {"Could not convert", "22P02"},
    {"Out of Range Error", "22003"},
    {"Overflow", "22003"},
    {"overflow", "22003"},
    {"Not implemented Error", "0A000"},
    {"Invalid Input Error", "22023"},
    {"Permission Error", "42501"},
    {"IO Error", "58030"},
    {"Binder Error", "42601"},
    {"Catalog Error", "42704"},
};

}  // namespace

SqlError engine_error(const Status& status) {
  SqlError error = to_sql_error(status);
  std::string message = status.message();
  for (const Rule& rule : kRules) {
    if (message.find(rule.text) != message.npos) {
      error.code = rule.code;
      break;
    }
  }
  if (status.code() == Code::kRetry) error.code = "57014";
  // "LINE 1: ..." and the caret show our text, not the user's.
  if (size_t line = message.find("\nLINE "); line != message.npos) message.resize(line);
  if (size_t prefix = message.find(" Error: "); prefix != message.npos && prefix < 30)
    message.erase(0, prefix + 8);
  for (std::string_view mark : {"\nCandidate ", "\nDid you mean", "\n\tCandidate", "\n"}) {
    size_t at = message.find(mark);
    if (at == message.npos) continue;
    std::string rest = message.substr(at + 1);
    message.resize(at);
    while (!rest.empty() && (rest.back() == '\n' || rest.back() == ' ')) rest.pop_back();
    while (!rest.empty() && (rest.front() == '\n' || rest.front() == '\t')) rest.erase(0, 1);
    if (error.hint.empty()) error.hint = rest;
    break;
  }
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  if (!message.empty() && message[0] >= 'A' && message[0] <= 'Z' && message.size() > 1 &&
      message[1] >= 'a' && message[1] <= 'z') {
    message[0] = static_cast<char>(message[0] | 0x20);
  }
  error.message = message;
  if (error.code == "42703") {
    // PostgreSQL's words, which clients look for.
    size_t open = message.find('"');
    size_t close = open == message.npos ? message.npos : message.find('"', open + 1);
    if (close != message.npos)
      error.message = "column " + message.substr(open, close + 1 - open) + " does not exist";
  }
  if (error.code == "53200") {
    error.message = "out of memory";
    error.detail = message;
    error.hint = "The query needs more memory and spill space than the warehouse may use.";
  }
  if (error.code == "57014") error.message = "canceling statement due to user request";
  return error;
}

}  // namespace tide::warehouse

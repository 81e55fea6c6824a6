#include <fmt/format.h>

#include <iterator>
#include <vector>

#include "base/bytes.h"
#include "pgtypes/internal/print.h"

namespace tide::pgtypes {
namespace {

void append_lexeme(std::string_view lexeme, std::string& out) {
  out += '\'';
  for (char c : lexeme) {
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  out += '\'';
}

// ts_type.h: QueryItem, twelve bytes each, a tree in prefix order with the right operand first.
constexpr size_t kItemSize = 12;
constexpr uint8_t kOperand = 1;
constexpr uint8_t kOperator = 2;
enum Operator : uint8_t { kNot = 1, kAnd = 2, kOr = 3, kPhrase = 4 };

int priority_of(uint8_t op) { return op == kNot ? 4 : op == kPhrase ? 3 : op == kAnd ? 2 : 1; }

}  // namespace

Status print_tsvector(std::string_view payload, std::string& out) {
  size_t count = payload.size() < 4 ? 0 : load<uint32_t>(payload.data());
  if (payload.size() < 4 || (payload.size() - 4) / 4 < count) {
    return corrupt_value("tsvector", "its entries are not there");
  }
  std::string_view texts = payload.substr(4 + count * 4);
  for (size_t i = 0; i < count; ++i) {
    auto entry = load<uint32_t>(payload.data() + 4 + i * 4);
    size_t length = entry >> 1 & 0x7FF;
    size_t begin = entry >> 12;
    if (begin + length > texts.size()) return corrupt_value("tsvector", "a lexeme lies outside");
    if (i > 0) out += ' ';
    append_lexeme(texts.substr(begin, length), out);
    if ((entry & 1) == 0) continue;
    size_t at = (begin + length + 1) & ~size_t{1};
    size_t positions = at + 2 > texts.size() ? 0 : load<uint16_t>(texts.data() + at);
    if (at + 2 + positions * 2 > texts.size()) {
      return corrupt_value("tsvector", "positions lie outside");
    }
    for (size_t p = 0; p < positions; ++p) {
      auto position = load<uint16_t>(texts.data() + at + 2 + p * 2);
      fmt::format_to(std::back_inserter(out), "{}{}", p == 0 ? ':' : ',', position & 0x3FFF);
      if (position >> 14 != 0) out += " CBA"[position >> 14];
    }
  }
  return {};
}

Status print_tsquery(std::string_view payload, std::string& out) {
  size_t count = payload.size() < 4 ? 0 : load<uint32_t>(payload.data());
  if (payload.size() < 4 || (payload.size() - 4) / kItemSize < count) {
    return corrupt_value("tsquery", "its items are not there");
  }
  if (count == 0) return {};
  std::string_view items = payload.substr(4, count * kItemSize);
  std::string_view texts = payload.substr(4 + count * kItemSize);

  // Terms of a long chain nest deeply: no recursion, but a stack of what is still to print.
  struct Step {
    bool node = false;
    size_t index = 0;
    int parent_priority = -1;
    bool right_of_phrase = false;
    std::string text;
  };
  auto text_step = [](std::string text) {
    Step step;
    step.text = std::move(text);
    return step;
  };
  std::vector<Step> steps(1);
  steps[0].node = true;
  size_t printed = 0;
  while (!steps.empty()) {
    Step step = std::move(steps.back());
    steps.pop_back();
    if (!step.node) {
      out += step.text;
      continue;
    }
    // Each item has one place in the tree: more visits than items mean a forged one.
    if (step.index >= count || ++printed > count) return corrupt_value("tsquery", "not a tree");
    const char* item = items.data() + step.index * kItemSize;
    auto type = static_cast<uint8_t>(item[0]);
    if (type == kOperand) {
      auto weight = static_cast<uint8_t>(item[1]);
      bool prefix = item[2] != 0;
      auto place = load<uint32_t>(item + 8);
      size_t length = place & 0xFFF;
      size_t begin = place >> 12;
      if (begin + length > texts.size()) return corrupt_value("tsquery", "a lexeme lies outside");
      append_lexeme(texts.substr(begin, length), out);
      if (weight == 0 && !prefix) continue;
      out += ':';
      if (prefix) out += '*';
      for (int bit = 3; bit >= 0; --bit) {
        if ((weight >> bit & 1) != 0) out += "DCBA"[bit];
      }
      continue;
    }
    auto op = static_cast<uint8_t>(item[1]);
    if (type != kOperator || op < kNot || op > kPhrase) {
      return corrupt_value("tsquery", "an item has no known kind");
    }
    int priority = priority_of(op);
    bool parentheses = priority < step.parent_priority || (op == kPhrase && step.right_of_phrase);
    Step right;
    right.node = true;
    right.index = step.index + 1;
    right.parent_priority = priority;
    right.right_of_phrase = op == kPhrase;
    if (parentheses) {
      out += "( ";
      steps.push_back(text_step(" )"));
    }
    if (op == kNot) {
      out += '!';
      right.right_of_phrase = false;
      steps.push_back(std::move(right));
      continue;
    }
    Step left = right;
    left.right_of_phrase = false;
    left.index = step.index + load<uint32_t>(item + 4);
    auto distance = load<int16_t>(item + 2);
    steps.push_back(std::move(right));
    steps.push_back(text_step(op == kOr       ? " | "
                              : op == kAnd    ? " & "
                              : distance == 1 ? " <-> "
                                              : fmt::format(" <{}> ", distance)));
    steps.push_back(std::move(left));
  }
  return {};
}

}  // namespace tide::pgtypes

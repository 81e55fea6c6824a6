#include <fmt/format.h>

#include <string>
#include <vector>

#include "base/bytes.h"
#include "pgtypes/internal/print.h"
#include "pgtypes/varlena.h"

namespace tide::pgtypes {
namespace {

// jsonpath.h: the kinds of nodes in PostgreSQL 15.
enum NodeType : uint8_t {
  kNull,
  kString,
  kNumericNode,
  kBoolean,
  kAnd,
  kOr,
  kNot,
  kIsUnknown,
  kEqual,
  kNotEqual,
  kLess,
  kGreater,
  kLessOrEqual,
  kGreaterOrEqual,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kModulo,
  kPlus,
  kMinus,
  kAnyArray,
  kAnyKey,
  kIndexArray,
  kAny,
  kKey,
  kCurrent,
  kRoot,
  kVariable,
  kFilter,
  kExists,
  kType,
  kSize,
  kAbs,
  kFloor,
  kCeiling,
  kDouble,
  kDatetime,
  kKeyValue,
  kSubscript,
  kLast,
  kStartsWith,
  kLikeRegex,
};

int priority_of(uint8_t type) {
  switch (type) {
    case kOr:
      return 0;
    case kAnd:
      return 1;
    case kEqual:
    case kNotEqual:
    case kLess:
    case kGreater:
    case kLessOrEqual:
    case kGreaterOrEqual:
    case kStartsWith:
      return 2;
    case kAdd:
    case kSubtract:
      return 3;
    case kMultiply:
    case kDivide:
    case kModulo:
      return 4;
    case kPlus:
    case kMinus:
      return 5;
    default:
      return 6;
  }
}

std::string_view operator_text(uint8_t type) {
  switch (type) {
    case kAnd:
      return " && ";
    case kOr:
      return " || ";
    case kEqual:
      return " == ";
    case kNotEqual:
      return " != ";
    case kLess:
      return " < ";
    case kGreater:
      return " > ";
    case kLessOrEqual:
      return " <= ";
    case kGreaterOrEqual:
      return " >= ";
    case kAdd:
      return " + ";
    case kSubtract:
      return " - ";
    case kMultiply:
      return " * ";
    case kDivide:
      return " / ";
    case kModulo:
      return " % ";
    default:
      return " starts with ";
  }
}

std::string_view method_text(uint8_t type) {
  switch (type) {
    case kType:
      return ".type()";
    case kSize:
      return ".size()";
    case kAbs:
      return ".abs()";
    case kFloor:
      return ".floor()";
    case kCeiling:
      return ".ceiling()";
    case kDouble:
      return ".double()";
    default:
      return ".keyvalue()";
  }
}

/// Prints the tree of nodes without recursion: a stack of what is still to print. A node is its
/// type, padding, the distance to the next node of its path (0: none), and what its type needs;
/// all references are distances from the node, forward.
class PathPrinter {
 public:
  PathPrinter(std::string_view nodes, std::string& out) : nodes_(nodes), out_(out) {}

  bool print() {
    push_node(0, false, true);
    for (size_t visited = 0; !steps_.empty();) {
      Step step = std::move(steps_.back());
      steps_.pop_back();
      if (!step.node) {
        out_ += step.text;
        continue;
      }
      // A node has one place in the tree and eight bytes at least.
      if (++visited > nodes_.size() / 8 || !print_node(step)) return false;
    }
    return true;
  }

 private:
  struct Step {
    bool node = false;
    bool in_key = false;
    bool brackets = false;
    size_t at = 0;
    std::string text;
  };

  void push_text(std::string_view text) {
    Step step;
    step.text = text;
    steps_.push_back(std::move(step));
  }
  void push_node(size_t at, bool in_key, bool brackets) {
    Step step;
    step.node = true;
    step.at = at;
    step.in_key = in_key;
    step.brackets = brackets;
    steps_.push_back(std::move(step));
  }
  /// An operand that `distance` names; in brackets if it binds no tighter than its operator.
  bool push_operand(size_t node, uint32_t distance, int priority) {
    size_t at = node + distance;
    if (distance == 0 || at >= nodes_.size()) return false;
    push_node(at, false, priority_of(static_cast<uint8_t>(nodes_[at])) <= priority);
    return true;
  }
  static constexpr int kNoBrackets = -1;

  bool word(size_t at, uint32_t& value) const {
    if (at > nodes_.size() || nodes_.size() - at < 4) return false;
    value = load<uint32_t>(nodes_.data() + at);
    return true;
  }

  bool print_node(const Step& step) {
    auto type = static_cast<uint8_t>(nodes_[step.at]);
    size_t at = (step.at + 1 + 3) & ~size_t{3};
    uint32_t next = 0;
    if (!word(at, next)) return false;
    at += 4;
    if (next != 0) {
      if (next > INT32_MAX || step.at + next >= nodes_.size()) return false;
      push_node(step.at + next, true, true);
    }
    switch (type) {
      case kNull:
        out_ += "null";
        return true;
      case kKey:
        if (step.in_key) out_ += '.';
        return print_string(at);
      case kVariable:
        out_ += '$';
        return print_string(at);
      case kString:
        return print_string(at);
      case kNumericNode:
        return print_number(at);
      case kBoolean:
        if (at >= nodes_.size()) return false;
        out_ += nodes_[at] != 0 ? "true" : "false";
        return true;
      case kPlus:
      case kMinus:
        return print_unary(step, at, type == kPlus ? "+" : "-", "", priority_of(type), true);
      case kFilter:
        return print_unary(step, at, "?(", ")", kNoBrackets, false);
      case kNot:
        return print_unary(step, at, "!(", ")", kNoBrackets, false);
      case kIsUnknown:
        return print_unary(step, at, "(", ") is unknown", kNoBrackets, false);
      case kExists:
        return print_unary(step, at, "exists (", ")", kNoBrackets, false);
      case kDatetime: {
        uint32_t distance = 0;
        if (!word(at, distance)) return false;
        if (distance != 0) {
          return print_unary(step, at, ".datetime(", ")", kNoBrackets, false);
        }
        out_ += ".datetime()";
        return true;
      }
      case kCurrent:
        out_ += '@';
        return true;
      case kRoot:
        out_ += '$';
        return true;
      case kLast:
        out_ += "last";
        return true;
      case kAnyArray:
        out_ += "[*]";
        return true;
      case kAnyKey:
        out_ += step.in_key ? ".*" : "*";
        return true;
      case kIndexArray:
        return print_subscripts(step, at);
      case kAny:
        return print_any(step, at);
      case kType:
      case kSize:
      case kAbs:
      case kFloor:
      case kCeiling:
      case kDouble:
      case kKeyValue:
        out_ += method_text(type);
        return true;
      case kLikeRegex:
        return print_like_regex(step, at);
      case kSubscript:
        return false;
      default:
        return type < kLikeRegex && print_binary(step, at, type);
    }
  }

  bool print_string(size_t at) {
    uint32_t length = 0;
    if (!word(at, length) || nodes_.size() - at - 4 < length) return false;
    print_json_string(nodes_.substr(at + 4, length), out_);
    return true;
  }

  bool print_number(size_t at) {
    if (at >= nodes_.size()) return false;
    size_t size = varlena_size(nodes_.data() + at, nodes_.size() - at);
    if (size == 0) return false;
    std::string scratch;
    auto payload = inline_payload(nodes_.substr(at, size), scratch);
    return payload.ok() && print_numeric(*payload, out_).ok();
  }

  bool print_unary(const Step& step, size_t at, std::string_view before, std::string_view after,
                   int priority, bool may_have_brackets) {
    uint32_t distance = 0;
    if (!word(at, distance)) return false;
    bool brackets = may_have_brackets && step.brackets;
    if (brackets) out_ += '(';
    out_ += before;
    if (brackets) push_text(")");
    push_text(after);
    return push_operand(step.at, distance, priority);
  }

  bool print_binary(const Step& step, size_t at, uint8_t type) {
    uint32_t left = 0;
    uint32_t right = 0;
    if (!word(at, left) || !word(at + 4, right)) return false;
    if (step.brackets) {
      out_ += '(';
      push_text(")");
    }
    if (!push_operand(step.at, right, priority_of(type))) return false;
    push_text(operator_text(type));
    return push_operand(step.at, left, priority_of(type));
  }

  bool print_subscripts(const Step& step, size_t at) {
    uint32_t count = 0;
    if (!word(at, count) || (nodes_.size() - at - 4) / 8 < count) return false;
    out_ += '[';
    push_text("]");
    for (size_t i = count; i-- > 0;) {
      uint32_t from = 0;
      uint32_t to = 0;
      if (!word(at + 4 + i * 8, from) || !word(at + 8 + i * 8, to)) return false;
      if (to != 0) {
        if (!push_operand(step.at, to, kNoBrackets)) return false;
        push_text(" to ");
      }
      if (!push_operand(step.at, from, kNoBrackets)) return false;
      if (i > 0) push_text(",");
    }
    return true;
  }

  bool print_any(const Step& step, size_t at) {
    uint32_t first = 0;
    uint32_t last = 0;
    if (!word(at, first) || !word(at + 4, last)) return false;
    out_ += step.in_key ? ".**" : "**";
    auto level = [](uint32_t value) {
      return value == UINT32_MAX ? std::string("last") : std::to_string(value);
    };
    if (first == 0 && last == UINT32_MAX) return true;
    out_ += first == last ? fmt::format("{{{}}}", level(first))
                          : fmt::format("{{{} to {}}}", level(first), level(last));
    return true;
  }

  bool print_like_regex(const Step& step, size_t at) {
    uint32_t flags = 0;
    uint32_t expression = 0;
    uint32_t length = 0;
    if (!word(at, flags) || !word(at + 4, expression) || !word(at + 8, length) ||
        nodes_.size() - at - 12 < length) {
      return false;
    }
    std::string after = " like_regex ";
    print_json_string(nodes_.substr(at + 12, length), after);
    if (flags != 0) {
      after += " flag \"";
      for (size_t i = 0; i < 5; ++i) {
        if ((flags >> i & 1) != 0) after += "ismxq"[i];
      }
      after += '"';
    }
    if (step.brackets) {
      out_ += '(';
      after += ')';
    }
    push_text(after);
    return push_operand(step.at, expression, priority_of(kLikeRegex));
  }

  std::string_view nodes_;
  std::string& out_;
  std::vector<Step> steps_;
};

}  // namespace

Status print_jsonpath(std::string_view payload, std::string& out) {
  constexpr uint32_t kLax = 0x80000000;
  constexpr uint32_t kVersion = 1;
  if (payload.size() < 12 || (load<uint32_t>(payload.data()) & ~kLax) != kVersion) {
    return corrupt_value("jsonpath", "unknown layout");
  }
  if ((load<uint32_t>(payload.data()) & kLax) == 0) out += "strict ";
  if (!PathPrinter(payload.substr(4), out).print()) {
    return corrupt_value("jsonpath", "its nodes do not fit together");
  }
  return {};
}

}  // namespace tide::pgtypes

#include "deltalog/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "deltalog/internal/json.h"

namespace tide::deltalog {
namespace {

using columns::Column;
using columns::Kind;
using json::Json;

constexpr size_t kCharactersMax = 32;
constexpr size_t kCharactersMaxWithTies = 64;
constexpr char kSeparator = '\x1f';
constexpr int64_t kMicrosPerMilli = 1000;

/// Bytes of the first `count` characters of UTF-8.
size_t bytes_of_characters(std::string_view text, size_t count) {
  size_t at = 0;
  while (at < text.size() && count > 0) {
    ++at;
    while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) ++at;
    --count;
  }
  return at;
}

bool has_bounds(Kind kind) {
  return kind != Kind::kBool && kind != Kind::kBinary && kind != Kind::kList &&
         kind != Kind::kStruct;
}

Int128 decimal_at(const Column& column, size_t row) {
  switch (columns::decimal_width(column.type().precision)) {
    case 2:
      return column.value<int16_t>(row);
    case 4:
      return column.value<int32_t>(row);
    case 8:
      return column.value<int64_t>(row);
    default:
      return column.value<Int128>(row);
  }
}

/// Least and greatest of the non-null values of [0, size) by `at`; calls `found` with both.
template <typename At>
auto extremes(const Column& column, At at)
    -> std::optional<std::pair<decltype(at(size_t{0})), decltype(at(size_t{0}))>> {
  std::optional<std::pair<decltype(at(size_t{0})), decltype(at(size_t{0}))>> result;
  for (size_t row = 0; row < column.size(); ++row) {
    if (column.is_null(row)) continue;
    auto value = at(row);
    if (!result) {
      result.emplace(value, value);
    } else if (value < result->first) {
      result->first = value;
    } else if (result->second < value) {
      result->second = value;
    }
  }
  return result;
}

}  // namespace

/// Of one leaf or struct.
struct StatisticsBuilder::Node {
  columns::Field field;
  std::vector<std::unique_ptr<Node>> children;  ///< Of structs.
  bool counted = true;  ///< False beyond the limit of leaves, and where nothing is known.
  bool set = false;     ///< By set_leaf().
  uint64_t nulls = 0;
  Value min;
  Value max;
  bool bounded = true;  ///< False once a value without order was seen.

  Node(const columns::Field& of, size_t& leaves_left) : field(of) {
    if (field.type.kind == Kind::kStruct) {
      for (const columns::Field& child : field.type.children) {
        children.push_back(std::make_unique<Node>(child, leaves_left));
      }
    } else if (leaves_left == 0) {
      counted = false;
    } else {
      --leaves_left;
    }
    bounded = has_bounds(field.type.kind);
  }

  template <typename T>
  void widen(const std::pair<T, T>& range) {
    Value low;
    Value high;
    if constexpr (std::is_same_v<T, std::string_view>) {
      low = std::string(range.first);
      high = std::string(range.second);
    } else if constexpr (std::is_floating_point_v<T>) {
      low = static_cast<double>(range.first);
      high = static_cast<double>(range.second);
    } else if constexpr (std::is_same_v<T, Int128>) {
      low = range.first;
      high = range.second;
    } else {
      low = static_cast<int64_t>(range.first);
      high = static_cast<int64_t>(range.second);
    }
    if (is_null(min) || compare(low, min) < 0) min = std::move(low);
    if (is_null(max) || compare(high, max) > 0) max = std::move(high);
  }

  template <typename T>
  void add_fixed(const Column& column) {
    if (auto range = extremes(column, [&](size_t row) { return column.value<T>(row); })) {
      widen(*range);
    }
  }

  template <typename T>
  void add_floating(const Column& column) {
    for (size_t row = 0; row < column.size(); ++row) {
      if (!column.is_null(row) && !std::isfinite(column.value<T>(row))) {
        bounded = false;
        return;
      }
    }
    add_fixed<T>(column);
  }

  /// A null struct's fields are null in its children too (columns::Column), so children count
  /// right.
  void add(const Column& column) {
    if (field.type.kind == Kind::kStruct) {
      for (size_t i = 0; i < children.size(); ++i) children[i]->add(column.child(i));
      return;
    }
    if (!counted) return;
    nulls += column.null_count();
    if (!bounded) return;
    switch (field.type.kind) {
      case Kind::kInt16:
        return add_fixed<int16_t>(column);
      case Kind::kInt32:
      case Kind::kDate:
        return add_fixed<int32_t>(column);
      case Kind::kInt64:
      case Kind::kTimestamp:
      case Kind::kTimestampNtz:
        return add_fixed<int64_t>(column);
      case Kind::kFloat:
        return add_floating<float>(column);
      case Kind::kDouble:
        return add_floating<double>(column);
      case Kind::kDecimal:
        if (auto range = extremes(column, [&](size_t row) { return decimal_at(column, row); })) {
          widen(*range);
        }
        return;
      case Kind::kString:
        if (auto range = extremes(column, [&](size_t row) { return column.bytes_at(row); })) {
          widen(*range);
        }
        return;
      default:
        return;
    }
  }

  void forget_unset() {
    for (const auto& child : children) child->forget_unset();
    counted = counted && set;
  }

  /// Years beyond four digits, or before the first, are spelled by every library in its own way:
  /// such a bound would make the whole statistics, or the table, unreadable to some.
  static bool is_readable(Kind kind, int64_t number) {
    constexpr int64_t kYear1 = -719'162;       // days of 0001-01-01
    constexpr int64_t kYear10000 = 2'932'897;  // of 10000-01-01
    constexpr int64_t kMicrosPerDay = int64_t{86'400} * 1'000'000;
    switch (kind) {
      case Kind::kDate:
        return number >= kYear1 && number < kYear10000;
      case Kind::kTimestamp:
      case Kind::kTimestampNtz:
        return number >= kYear1 * kMicrosPerDay && number < kYear10000 * kMicrosPerDay;
      default:
        return true;
    }
  }

  /// The bound as JSON; empty if there is none.
  std::string bound(const Value& value, bool maximum) const {
    if (!counted || !bounded || is_null(value)) return {};
    std::string text;
    if (const auto* bytes = std::get_if<std::string>(&value)) {
      std::optional<std::string> cut = maximum ? cut_maximum(*bytes) : cut_minimum(*bytes);
      if (cut) json::append_quoted(text, *cut);
      return text;
    }
    if (const auto* unscaled = std::get_if<Int128>(&value)) {
      return write_decimal(*unscaled, field.type.scale);
    }
    if (const auto* number = std::get_if<double>(&value)) {
      text = field.type.kind == Kind::kFloat ? fmt::format("{}", static_cast<float>(*number))
                                             : fmt::format("{}", *number);
      return text;
    }
    int64_t number = std::get<int64_t>(value);
    if (!is_readable(field.type.kind, number)) return {};
    switch (field.type.kind) {
      case Kind::kDate:
        return fmt::format("\"{}\"", write_date(number));
      case Kind::kTimestamp:
        return fmt::format("\"{}Z\"", write_timestamp(number, 3));
      case Kind::kTimestampNtz:
        return fmt::format("\"{}\"", write_timestamp(number, 3));
      default:
        return fmt::format("{}", number);
    }
  }

  enum class Part { kMin, kMax, kNulls };
  std::string json_of(Part part) const {
    if (field.type.kind == Kind::kStruct) return json_of(children, part);
    if (part == Part::kNulls) return counted ? fmt::format("{}", nulls) : std::string();
    return part == Part::kMin ? bound(min, false) : bound(max, true);
  }
  /// "{...}" of the members that have something to say; empty if none has.
  static std::string json_of(const std::vector<std::unique_ptr<Node>>& nodes, Part part) {
    std::string text;
    for (const auto& node : nodes) {
      std::string value = node->json_of(part);
      if (value.empty()) continue;
      text += text.empty() ? '{' : ',';
      json::append_quoted(text, node->field.name);
      text += ':';
      text += value;
    }
    return text.empty() ? text : text + '}';
  }
};

StatisticsBuilder::StatisticsBuilder(const std::vector<columns::Field>& fields, size_t leaves_max) {
  for (const columns::Field& field : fields) {
    nodes_.push_back(std::make_unique<Node>(field, leaves_max));
  }
}

StatisticsBuilder::~StatisticsBuilder() = default;

void StatisticsBuilder::add(const columns::Batch& batch) {
  TIDE_CHECK(batch.columns.size() >= nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) nodes_[i]->add(batch.columns[i]);
  rows_ += batch.rows();
}

void StatisticsBuilder::set_leaf(const std::vector<std::string>& path, uint64_t nulls,
                                 const Column& bounds) {
  const std::vector<std::unique_ptr<Node>>* level = &nodes_;
  Node* node = nullptr;
  for (const std::string& name : path) {
    if (level == nullptr) return;  // inside a list
    auto found = std::find_if(level->begin(), level->end(),
                              [&](const auto& child) { return child->field.name == name; });
    if (found == level->end()) return;
    node = found->get();
    level = node->field.type.kind == Kind::kStruct ? &node->children : nullptr;
  }
  if (node == nullptr || node->field.type.kind == Kind::kStruct ||
      node->field.type.kind == Kind::kList || !node->counted) {
    return;
  }
  if (!(bounds.type() == node->field.type)) return;
  node->add(bounds);
  node->nulls = nulls;
  node->set = true;
  // Without bounds there may be a NaN behind it; a later batch must not make bounds of the rest.
  if (bounds.null_count() != 0) node->bounded = false;
}

void StatisticsBuilder::set_rows(uint64_t rows) {
  rows_ = rows;
  for (const auto& node : nodes_) node->forget_unset();
}

std::string StatisticsBuilder::json() const {
  std::string text = fmt::format("{{\"numRecords\":{},\"tightBounds\":true", rows_);
  for (auto [name, part] :
       {std::pair{"minValues", Node::Part::kMin}, std::pair{"maxValues", Node::Part::kMax},
        std::pair{"nullCount", Node::Part::kNulls}}) {
    std::string values = Node::json_of(nodes_, part);
    if (values.empty()) values = "{}";
    text += fmt::format(",\"{}\":{}", name, values);
  }
  return text + "}";
}

std::string cut_minimum(std::string_view text) {
  return std::string(text.substr(0, bytes_of_characters(text, kCharactersMax)));
}

std::optional<std::string> cut_maximum(std::string_view text) {
  size_t size = bytes_of_characters(text, kCharactersMax);
  if (size == text.size()) return std::string(text);
  for (size_t characters = kCharactersMax; characters < kCharactersMaxWithTies; ++characters) {
    if (size == text.size()) return std::string(text);
    std::string_view rest = text.substr(size);
    std::string_view first = rest.substr(0, bytes_of_characters(rest, 1));
    if (static_cast<uint8_t>(first[0]) < 0x7F) return std::string(text.substr(0, size)) + '\x7F';
    if (first != "\xF4\x8F\xBF\xBF") return std::string(text.substr(0, size)) + "\xF4\x8F\xBF\xBF";
    size += first.size();
  }
  return std::nullopt;
}

/// Flattens the JSON into tokens, numbers as their text: a decimal would not survive a double.
class StatisticsParser : public nlohmann::json_sax<Json> {
 public:
  explicit StatisticsParser(FileStatistics& to) : to_(to) {}
  bool null() override { return true; }
  bool boolean(bool value) override {
    if (names_.size() == 1 && names_[0] == "tightBounds") to_.tight_bounds_ = value;
    return keep(false, value ? "true" : "false");
  }
  bool number_integer(number_integer_t value) override {
    return keep(false, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return keep(false, std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override { return keep(false, text); }
  bool string(string_t& value) override { return keep(true, value); }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return ++depth_ < 100; }
  bool end_object() override {
    --depth_;
    if (names_.size() > depth_) names_.resize(depth_);
    return true;
  }
  bool key(string_t& name) override {
    names_.resize(depth_ - 1);
    names_.push_back(name);
    return true;
  }
  // Bounds have no arrays; values inside one are passed over.
  bool start_array(size_t) override { return ++arrays_ < 100; }
  bool end_array() override {
    --arrays_;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  bool keep(bool text, std::string value) {
    if (arrays_ > 0 || names_.empty()) return true;
    std::string key;
    for (const std::string& name : names_) {
      if (!key.empty()) key += kSeparator;
      key += name;
    }
    to_.tokens_.insert_or_assign(std::move(key), FileStatistics::Token{text, std::move(value)});
    return true;
  }

  FileStatistics& to_;
  std::vector<std::string> names_;
  size_t depth_ = 0;
  size_t arrays_ = 0;
};

FileStatistics FileStatistics::parse(std::string_view text) {
  FileStatistics statistics;
  StatisticsParser parser(statistics);
  if (!Json::sax_parse(text, &parser)) return {};
  Value records = statistics.value_of("numRecords", TypeKind::kLong);
  if (const auto* count = std::get_if<int64_t>(&records)) statistics.num_records_ = *count;
  return statistics;
}

Value FileStatistics::value_of(const std::string& key, const DataType& type) const {
  auto token = tokens_.find(key);
  if (token == tokens_.end()) return {};
  Result<Value> value = parse_value(token->second.value, type);
  // An empty text is a null partition value, but a bound of strings.
  if (token->second.text && token->second.value.empty() && type.kind == TypeKind::kString) {
    return std::string();
  }
  return value.ok() ? *value : Value();
}

ColumnBounds FileStatistics::bounds(const std::vector<std::string>& path,
                                    const DataType& type) const {
  std::string names;
  for (const std::string& name : path) {
    names += kSeparator;
    names += name;
  }
  ColumnBounds bounds;
  bounds.min = value_of("minValues" + names, type);
  bounds.max = value_of("maxValues" + names, type);
  if (type.kind == TypeKind::kTimestamp || type.kind == TypeKind::kTimestampNtz) {
    if (auto* max = std::get_if<int64_t>(&bounds.max)) {
      if (__builtin_add_overflow(*max, kMicrosPerMilli, max)) bounds.max = Value();
    }
  }
  Value nulls = value_of("nullCount" + names, TypeKind::kLong);
  if (const auto* count = std::get_if<int64_t>(&nulls)) bounds.null_count = *count;
  return bounds;
}

std::string with_wide_bounds(std::string_view text) {
  // Numbers must keep their digits, so the text is edited, not parsed and written.
  constexpr std::string_view kTight = "\"tightBounds\"";
  if (size_t at = text.find(kTight); at != std::string_view::npos) {
    std::string wide(text);
    at = wide.find_first_not_of(" :", at + kTight.size());
    if (at != std::string::npos && wide.compare(at, 4, "true") == 0) wide.replace(at, 4, "false");
    return wide;
  }
  size_t end = text.rfind('}');
  if (!text.starts_with('{') || end == std::string_view::npos) return R"({"tightBounds":false})";
  std::string wide(text.substr(0, end));
  return wide + (end > 1 ? "," : "") + "\"tightBounds\":false}";
}

}  // namespace tide::deltalog

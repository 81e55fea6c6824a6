#include <fmt/format.h>

#include <array>
#include <iterator>

#include "base/bytes.h"
#include "pgtypes/internal/array_view.h"
#include "pgtypes/internal/print.h"

namespace tide::pgtypes {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// True if an array's element must stand in quotes.
bool array_needs_quotes(std::string_view text, char delimiter) {
  if (text.empty()) return true;
  if (text.size() == 4 && (text[0] | 0x20) == 'n' && (text[1] | 0x20) == 'u' &&
      (text[2] | 0x20) == 'l' && (text[3] | 0x20) == 'l') {
    return true;
  }
  for (char c : text) {
    if (c == '"' || c == '\\' || c == '{' || c == '}' || c == delimiter || is_space(c)) return true;
  }
  return false;
}

/// Puts what `out` has from `start` on into quotes, with `escape(c)` before each character for
/// which it is not zero.
template <typename Escape>
void quote_from(size_t start, std::string& out, Escape escape) {
  std::string text = out.substr(start);
  out.resize(start);
  out += '"';
  for (char c : text) {
    if (char before = escape(c); before != 0) out += before;
    out += c;
  }
  out += '"';
}

/// Quotes a field of a composite or a bound of a range where `extra` or one of the usual characters
/// is in it; quotes and backslashes are doubled.
void quote_field(size_t start, std::string_view extra, std::string& out) {
  std::string_view text = std::string_view(out).substr(start);
  bool quotes = text.empty();
  for (char c : text) {
    quotes = quotes || c == '"' || c == '\\' || c == '(' || c == ')' || c == ',' || is_space(c) ||
             extra.find(c) != std::string_view::npos;
  }
  if (quotes) {
    quote_from(start, out, [](char c) { return c == '"' || c == '\\' ? c : '\0'; });
  }
}

enum RangeFlags : uint8_t {
  kEmpty = 0x01,
  kLowerInclusive = 0x02,
  kUpperInclusive = 0x04,
  kLowerInfinite = 0x08,
  kUpperInfinite = 0x10,
  kLowerNull = 0x20,
  kUpperNull = 0x40,
};

/// `bounds` begins at an aligned place.
Status print_bounds(const TypeTree& subtype, uint8_t flags, std::string_view bounds,
                    const TextSettings& settings, std::string& out) {
  if ((flags & kEmpty) != 0) {
    out += "empty";
    return {};
  }
  size_t offset = 0;
  auto append_bound = [&]() -> Status {
    std::string_view datum;
    if (!take_datum(bounds, offset, subtype.length, align_mask(subtype.align), datum)) {
      return corrupt_value("range", "a bound does not fit");
    }
    size_t start = out.size();
    TIDE_TRY(append_text(subtype, datum, settings, out));
    quote_field(start, "[]", out);
    return {};
  };
  out += (flags & kLowerInclusive) != 0 ? '[' : '(';
  if ((flags & (kLowerInfinite | kLowerNull)) == 0) TIDE_TRY(append_bound());
  out += ',';
  if ((flags & (kUpperInfinite | kUpperNull)) == 0) TIDE_TRY(append_bound());
  out += (flags & kUpperInclusive) != 0 ? ']' : ')';
  return {};
}

}  // namespace

Status print_array(const TypeTree& type, std::string_view payload, const TextSettings& settings,
                   std::string& out) {
  const TypeTree& element = type.children[0];
  ArrayView view;
  if (!view.parse(payload, element.length, element.align) ||
      view.element_type != type.declared_element) {
    return corrupt_value(type.name, "not an array of its element type");
  }
  if (view.count == 0) {
    out += "{}";
    return {};
  }
  auto dimensions = static_cast<size_t>(view.dimensions);
  bool bounds = false;
  for (size_t i = 0; i < dimensions; ++i) bounds = bounds || view.lower_bounds[i] != 1;
  if (bounds) {
    for (size_t i = 0; i < dimensions; ++i) {
      fmt::format_to(std::back_inserter(out), "[{}:{}]", view.lower_bounds[i],
                     int64_t{view.lower_bounds[i]} + view.sizes[i] - 1);
    }
    out += '=';
  }
  std::array<int32_t, ArrayView::kMaxDimensions> position{};
  out.append(dimensions, '{');
  for (int64_t i = 0; i < view.count; ++i) {
    bool null = false;
    std::string_view datum;
    if (!view.next(null, datum)) return corrupt_value(type.name, "an element does not fit");
    size_t start = out.size();
    if (null) {
      out += "NULL";
    } else {
      TIDE_TRY(append_text(element, datum, settings, out));
      if (array_needs_quotes(std::string_view(out).substr(start), type.delimiter)) {
        quote_from(start, out, [](char c) { return c == '"' || c == '\\' ? '\\' : '\0'; });
      }
    }
    // Closes the dimensions that end here and opens them again if more follows.
    size_t closed = 0;
    while (closed < dimensions) {
      size_t dimension = dimensions - 1 - closed;
      if (++position[dimension] < view.sizes[dimension]) break;
      position[dimension] = 0;
      ++closed;
    }
    out.append(closed, '}');
    if (closed < dimensions) {
      out += type.delimiter;
      out.append(closed, '{');
    }
  }
  return {};
}

Status print_composite(const TypeTree& type, std::string_view payload, const TextSettings& settings,
                       std::string& out) {
  TupleView tuple;
  if (!composite_tuple(payload, tuple)) return corrupt_value(type.name, "too short for a row");
  std::vector<AttributeValue> values;
  TIDE_TRY(type.reader.read(tuple, values));
  out += '(';
  bool first = true;
  for (size_t i = 0; i < values.size(); ++i) {
    if (type.attributes[i].dropped) continue;
    if (!first) out += ',';
    first = false;
    if (values[i].null) continue;
    size_t start = out.size();
    TIDE_TRY(append_text(type.children[i], values[i].datum, settings, out));
    quote_field(start, "", out);
  }
  out += ')';
  return {};
}

Status print_range(const TypeTree& type, std::string_view payload, const TextSettings& settings,
                   std::string& out) {
  if (payload.size() < 5 || load<uint32_t>(payload.data()) != type.oid) {
    return corrupt_value(type.name, "not a range of its type");
  }
  return print_bounds(type.children[0], static_cast<uint8_t>(payload.back()),
                      payload.substr(4, payload.size() - 5), settings, out);
}

Status print_multirange(const TypeTree& type, std::string_view payload,
                        const TextSettings& settings, std::string& out) {
  const TypeTree& range = type.children[0];
  if (payload.size() < 8 || load<uint32_t>(payload.data()) != type.oid ||
      range.format != Format::kRange) {
    return corrupt_value(type.name, "not a multirange of its type");
  }
  const TypeTree& subtype = range.children[0];
  uint64_t count = load<uint32_t>(payload.data() + 4);
  if (count == 0) {
    out += "{}";
    return {};
  }
  // Behind the count: (count - 1) lengths or offsets, a byte of flags per range, aligned bounds.
  uint64_t flags_at = 8 + (count - 1) * 4;
  uint64_t mask = align_mask(subtype.align);
  uint64_t bounds_at =
      ((flags_at + count + kVarlenaHeaderSize + mask) & ~mask) - kVarlenaHeaderSize;
  if (flags_at + count > payload.size() || bounds_at > payload.size() + mask) {
    return corrupt_value(type.name, "its ranges are not there");
  }
  std::string_view bounds = payload.substr(std::min<uint64_t>(bounds_at, payload.size()));
  constexpr uint32_t kIsOffset = 0x80000000;
  uint64_t offset = 0;
  out += '{';
  for (uint64_t i = 0; i < count; ++i) {
    if (i > 0) {
      auto item = load<uint32_t>(payload.data() + 8 + (i - 1) * 4);
      offset = (item & kIsOffset) != 0 ? item & ~kIsOffset : offset + item;
      out += ',';
    }
    if (offset > bounds.size()) return corrupt_value(type.name, "a range lies outside");
    TIDE_TRY(print_bounds(subtype, static_cast<uint8_t>(payload[flags_at + i]),
                          bounds.substr(offset), settings, out));
  }
  out += '}';
  return {};
}

}  // namespace tide::pgtypes

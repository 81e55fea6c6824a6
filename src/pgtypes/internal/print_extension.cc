#include "base/bytes.h"
#include "pgtypes/internal/print.h"

namespace tide::pgtypes {

Status print_hstore(std::string_view payload, std::string& out) {
  // hstore.h: count with a flag of the layout's version, the end of each key and value, the texts.
  constexpr uint32_t kNewLayout = 0x80000000;
  constexpr uint32_t kNull = 0x40000000;
  constexpr uint32_t kEndMask = 0x3FFFFFFF;
  if (payload.empty()) return {};
  uint32_t header = payload.size() < 4 ? 0 : load<uint32_t>(payload.data());
  size_t count = header & 0x0FFFFFFF;
  if ((header & kNewLayout) == 0 || (payload.size() - 4) / 8 < count) {
    return corrupt_value("hstore", "unknown layout");
  }
  std::string_view texts = payload.substr(4 + count * 8);
  uint32_t begin = 0;
  for (size_t i = 0; i < count * 2; ++i) {
    auto entry = load<uint32_t>(payload.data() + 4 + i * 4);
    uint32_t end = entry & kEndMask;
    if (end < begin || end > texts.size()) return corrupt_value("hstore", "a text lies outside");
    out += i == 0 ? "" : i % 2 == 0 ? ", " : "=>";
    if (i % 2 == 1 && (entry & kNull) != 0) {
      out += "NULL";
    } else {
      out += '"';
      for (char c : texts.substr(begin, end - begin)) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
      }
      out += '"';
    }
    begin = end;
  }
  return {};
}

Status print_ltree(std::string_view payload, std::string& out) {
  // ltree.h: count, then levels of length and name, each aligned to eight bytes.
  size_t count = payload.size() < 2 ? 0 : load<uint16_t>(payload.data());
  if (payload.size() < 2) return corrupt_value("ltree", "too short");
  size_t at = 4;
  for (size_t i = 0; i < count; ++i) {
    size_t length = at + 2 > payload.size() ? 0 : load<uint16_t>(payload.data() + at);
    if (at + 2 + length > payload.size()) return corrupt_value("ltree", "a label lies outside");
    if (i > 0) out += '.';
    out += payload.substr(at + 2, length);
    at += (2 + length + 7) & ~size_t{7};
  }
  return {};
}

Status print_vector(std::string_view payload, std::string& out) {
  size_t count = payload.size() < 4 ? 0 : load<uint16_t>(payload.data());
  if (payload.size() < 4 || payload.size() - 4 != count * 4) {
    return corrupt_value("vector", "its numbers are not there");
  }
  out += '[';
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    print_float4(load<float>(payload.data() + 4 + i * 4), out);
  }
  out += ']';
  return {};
}

}  // namespace tide::pgtypes

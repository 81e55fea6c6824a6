#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "base/bytes.h"
#include "pgtypes/internal/array_view.h"
#include "pgtypes/internal/print.h"
#include "pgtypes/oids.h"

namespace tide::pgtypes {
namespace {

constexpr char kHex[] = "0123456789abcdef";

/// An IPv6 address as inet_net_ntop() writes it: the longest run of zero words becomes "::", an
/// embedded IPv4 address is written with dots.
void print_ipv6(std::string_view address, std::string& out) {
  uint16_t words[8];
  int run_begin = -1;
  int run_length = 0;
  for (int i = 0, length = 0; i < 8; ++i) {
    words[i] =
        static_cast<uint16_t>(static_cast<uint8_t>(address[static_cast<size_t>(i) * 2]) << 8 |
                              static_cast<uint8_t>(address[static_cast<size_t>(i) * 2 + 1]));
    length = words[i] == 0 ? length + 1 : 0;
    if (length > run_length) {
      run_length = length;
      run_begin = i + 1 - length;
    }
  }
  if (run_length < 2) run_begin = -1;
  for (int i = 0; i < 8; ++i) {
    if (run_begin >= 0 && i >= run_begin && i < run_begin + run_length) {
      if (i == run_begin) out += ':';
      continue;
    }
    if (i > 0) out += ':';
    if (i == 6 && run_begin == 0 && (run_length == 6 || (run_length == 5 && words[5] == 0xFFFF))) {
      fmt::format_to(std::back_inserter(out), "{}.{}.{}.{}", words[6] >> 8, words[6] & 0xFF,
                     words[7] >> 8, words[7] & 0xFF);
      return;
    }
    fmt::format_to(std::back_inserter(out), "{:x}", words[i]);
  }
  if (run_begin >= 0 && run_begin + run_length == 8) out += ':';
}

/// The value of one quoted attribute of an XML declaration, from "= 'value'" at `at`; moves behind.
bool take_xml_value(std::string_view text, size_t& at, std::string_view& value) {
  auto skip_blanks = [&] {
    while (at < text.size() &&
           (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) {
      ++at;
    }
  };
  skip_blanks();
  if (at >= text.size() || text[at] != '=') return false;
  ++at;
  skip_blanks();
  if (at >= text.size() || (text[at] != '\'' && text[at] != '"')) return false;
  size_t end = text.find(text[at], at + 1);
  if (end == std::string_view::npos) return false;
  value = text.substr(at + 1, end - at - 1);
  at = end + 1;
  return true;
}

struct XmlDeclaration {
  size_t size = 0;  ///< bytes of the text that are the declaration; 0: none
  std::optional<std::string_view> version;
  int standalone = -1;
};

/// False if the text begins as a declaration but is none.
bool parse_xml_declaration(std::string_view text, XmlDeclaration& declaration) {
  auto is_blank = [&](size_t at) {
    return at < text.size() &&
           (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r');
  };
  if (text.substr(0, 5) != "<?xml") return true;
  if (text.size() > 5) {
    // "<?xml-stylesheet": a processing instruction whose name only begins with xml.
    auto c = static_cast<uint8_t>(text[5]);
    if (std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == ':' || c >= 0x80)
      return true;
  }
  size_t at = 5;
  auto take_name = [&](std::string_view name) {
    size_t start = at;
    while (is_blank(start)) ++start;
    if (start == at || text.substr(start, name.size()) != name) return false;
    at = start + name.size();
    return true;
  };
  std::string_view value;
  if (!take_name("version") || !take_xml_value(text, at, value)) return false;
  declaration.version = value;
  if (take_name("encoding") && !take_xml_value(text, at, value)) return false;
  if (take_name("standalone")) {
    if (!take_xml_value(text, at, value) || (value != "yes" && value != "no")) return false;
    declaration.standalone = value == "yes" ? 1 : 0;
  }
  while (is_blank(at)) ++at;
  if (text.substr(at, 2) != "?>") return false;
  declaration.size = at + 2;
  for (char c : text.substr(0, declaration.size)) {
    if (static_cast<uint8_t>(c) > 127) return false;
  }
  return true;
}

/// A role's name as putid() quotes it in an aclitem.
void append_acl_name(const TypeCatalog& catalog, uint32_t role, std::string& out) {
  std::optional<std::string> quoted = catalog.object_name(oid::kRegrole, role);
  if (!quoted) {
    fmt::format_to(std::back_inserter(out), "{}", role);
    return;
  }
  // What regrole prints is quoted by other rules: take the quotes off first.
  std::string name;
  if (quoted->size() >= 2 && quoted->front() == '"') {
    for (size_t i = 1; i + 1 < quoted->size(); ++i) {
      name += (*quoted)[i];
      if ((*quoted)[i] == '"') ++i;
    }
  } else {
    name = *quoted;
  }
  bool safe = true;
  for (char c : name) safe = safe && (std::isalnum(static_cast<uint8_t>(c)) != 0 || c == '_');
  if (safe) {
    out += name;
    return;
  }
  out += '"';
  for (char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

}  // namespace

void print_hex(std::string_view bytes, std::string& out) {
  size_t at = out.size();
  out.resize(at + bytes.size() * 2);
  for (char c : bytes) {
    out[at++] = kHex[static_cast<uint8_t>(c) >> 4];
    out[at++] = kHex[static_cast<uint8_t>(c) & 0x0F];
  }
}

void print_uuid(std::string_view bytes, std::string& out) {
  size_t at = 0;
  for (size_t part : {4, 2, 2, 2, 6}) {
    if (at > 0) out += '-';
    print_hex(bytes.substr(at, part), out);
    at += part;
  }
}

void print_macaddr(std::string_view bytes, std::string& out) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ':';
    print_hex(bytes.substr(i, 1), out);
  }
}

Status print_inet(std::string_view payload, bool cidr, std::string& out) {
  constexpr uint8_t kFamilyV4 = 2;
  constexpr uint8_t kFamilyV6 = 3;
  uint8_t family = payload.size() < 2 ? uint8_t{0} : static_cast<uint8_t>(payload[0]);
  size_t size = family == kFamilyV4 ? 4 : family == kFamilyV6 ? 16 : 0;
  if (size == 0 || payload.size() < 2 + size || static_cast<uint8_t>(payload[1]) > size * 8) {
    return corrupt_value("inet", "not an address");
  }
  std::string_view address = payload.substr(2, size);
  if (family == kFamilyV4) {
    for (size_t i = 0; i < 4; ++i) {
      if (i > 0) out += '.';
      fmt::format_int number(static_cast<uint8_t>(address[i]));
      out.append(number.data(), number.size());
    }
  } else {
    print_ipv6(address, out);
  }
  auto bits = static_cast<uint8_t>(payload[1]);
  if (cidr || bits != size * 8) fmt::format_to(std::back_inserter(out), "/{}", bits);
  return {};
}

Status print_bits(std::string_view payload, std::string& out) {
  auto bits = payload.size() < 4 ? -1 : load<int32_t>(payload.data());
  if (bits < 0 || payload.size() - 4 < (static_cast<size_t>(bits) + 7) / 8) {
    return corrupt_value("bit", "its bits are not there");
  }
  for (size_t i = 0; i < static_cast<size_t>(bits); ++i) {
    out += (payload[4 + i / 8] >> (7 - i % 8) & 1) != 0 ? '1' : '0';
  }
  return {};
}

Status print_int_vector(std::string_view payload, bool oids, std::string& out) {
  ArrayView view;
  int16_t length = oids ? 4 : 2;
  if (!view.parse(payload, length, oids ? 'i' : 's') || view.dimensions > 1 ||
      view.element_type != (oids ? oid::kOid : oid::kInt2)) {
    return corrupt_value("vector", "not an array");
  }
  for (int64_t i = 0; i < view.count; ++i) {
    bool null = false;
    std::string_view datum;
    if (!view.next(null, datum) || null) return corrupt_value("vector", "an element is missing");
    if (i > 0) out += ' ';
    fmt::format_to(std::back_inserter(out), "{}",
                   oids ? int64_t{load<uint32_t>(datum.data())} : load<int16_t>(datum.data()));
  }
  return {};
}

Status print_snapshot(std::string_view payload, std::string& out) {
  size_t count = payload.size() < 20 ? 0 : load<uint32_t>(payload.data());
  if (payload.size() < 20 || (payload.size() - 20) / 8 < count) {
    return corrupt_value("pg_snapshot", "its transactions are not there");
  }
  fmt::format_to(std::back_inserter(out), "{}:{}:", load<uint64_t>(payload.data() + 4),
                 load<uint64_t>(payload.data() + 12));
  for (size_t i = 0; i < count; ++i) {
    fmt::format_to(std::back_inserter(out), "{}{}", i > 0 ? "," : "",
                   load<uint64_t>(payload.data() + 20 + i * 8));
  }
  return {};
}

void print_xml(std::string_view payload, std::string& out) {
  XmlDeclaration declaration;
  if (!parse_xml_declaration(payload, declaration)) {
    out += payload;
    return;
  }
  // The encoding goes, as the text may be in another by now; what then says nothing goes too.
  if ((declaration.version && *declaration.version != "1.0") || declaration.standalone >= 0) {
    fmt::format_to(std::back_inserter(out), "<?xml version=\"{}\"{}?>",
                   declaration.version.value_or("1.0"),
                   declaration.standalone == 1   ? " standalone=\"yes\""
                   : declaration.standalone == 0 ? " standalone=\"no\""
                                                 : "");
  } else if (payload.size() > declaration.size && payload[declaration.size] == '\n') {
    ++declaration.size;
  }
  out += payload.substr(declaration.size);
}

Status print_aclitem(const TypeCatalog& catalog, std::string_view bytes, std::string& out) {
  constexpr std::string_view kRights = "arwdDxtXUCTcsA";
  auto grantee = load<uint32_t>(bytes.data());
  auto grantor = load<uint32_t>(bytes.data() + 4);
  auto rights = load<uint32_t>(bytes.data() + 8);
  if (grantee != 0) append_acl_name(catalog, grantee, out);
  out += '=';
  for (size_t i = 0; i < kRights.size(); ++i) {
    if ((rights >> i & 1) != 0) out += kRights[i];
    if ((rights >> (i + 16) & 1) != 0) out += '*';
  }
  out += '/';
  append_acl_name(catalog, grantor, out);
  return {};
}

void print_reg(const TypeTree& type, uint32_t object, std::string& out) {
  if (object == 0) {
    out += type.oid == oid::kRegoper || type.oid == oid::kRegoperator ? '0' : '-';
  } else if (auto name = type.catalog->object_name(type.oid, object)) {
    out += *name;
  } else {
    fmt::format_to(std::back_inserter(out), "{}", object);
  }
}

Status print_ndistinct(std::string_view payload, std::string& out) {
  ByteReader reader(as_bytes(payload));
  constexpr uint32_t kMagic = 0xA352BFA4;
  bool known = reader.read<uint32_t>() == kMagic && reader.read<uint32_t>() == 1;
  auto count = reader.read<uint32_t>();
  if (!known || count > payload.size()) return corrupt_value("pg_ndistinct", "unknown layout");
  out += '{';
  for (uint32_t i = 0; i < count; ++i) {
    auto distinct = reader.read<double>();
    auto attributes = reader.read<int32_t>();
    if (reader.failed() || attributes < 0 || !(std::abs(distinct) < 2e9)) {
      return corrupt_value("pg_ndistinct", "an item is not there");
    }
    out += i > 0 ? ", \"" : "\"";
    for (int32_t a = 0; a < attributes && !reader.failed(); ++a) {
      fmt::format_to(std::back_inserter(out), "{}{}", a > 0 ? ", " : "", reader.read<int16_t>());
    }
    fmt::format_to(std::back_inserter(out), "\": {}", static_cast<int32_t>(distinct));
  }
  out += '}';
  return reader.failed() ? corrupt_value("pg_ndistinct", "it ends early") : Status();
}

Status print_dependencies(std::string_view payload, std::string& out) {
  ByteReader reader(as_bytes(payload));
  constexpr uint32_t kMagic = 0xB4549A2C;
  bool known = reader.read<uint32_t>() == kMagic && reader.read<uint32_t>() == 1;
  auto count = reader.read<uint32_t>();
  if (!known || count > payload.size()) return corrupt_value("pg_dependencies", "unknown layout");
  out += '{';
  for (uint32_t i = 0; i < count; ++i) {
    auto degree = reader.read<double>();
    auto attributes = reader.read<int16_t>();
    if (reader.failed()) break;
    out += i > 0 ? ", \"" : "\"";
    for (int16_t a = 0; a < attributes && !reader.failed(); ++a) {
      fmt::format_to(std::back_inserter(out), "{}{}",
                     a == 0                ? ""
                     : a + 1 == attributes ? " => "
                                           : ", ",
                     reader.read<int16_t>());
    }
    fmt::format_to(std::back_inserter(out), "\": {:.6f}", degree);
  }
  out += '}';
  return reader.failed() ? corrupt_value("pg_dependencies", "it ends early") : Status();
}

}  // namespace tide::pgtypes

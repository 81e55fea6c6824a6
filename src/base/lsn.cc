#include "base/lsn.h"

#include <charconv>

namespace tide {
namespace {

bool parse_hex32(std::string_view text, uint64_t* out) {
  if (text.empty() || text.size() > 8) return false;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out, 16);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<Lsn> Lsn::parse(std::string_view text) {
  size_t slash = text.find('/');
  uint64_t high = 0;
  uint64_t low = 0;
  if (slash == std::string_view::npos || !parse_hex32(text.substr(0, slash), &high) ||
      !parse_hex32(text.substr(slash + 1), &low)) {
    return Status(Code::kInvalid, fmt::format("not an LSN: \"{}\"", text))
        .with_hint("An LSN looks like 16/B374D848.");
  }
  return Lsn(high << 32 | low);
}

std::string Lsn::to_string() const { return fmt::format("{}", *this); }

}  // namespace tide

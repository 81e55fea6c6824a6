#include "base/page_tag.h"

#include <array>
#include <charconv>

namespace tide {
namespace {

constexpr std::array<std::string_view, 4> kForkNames = {"main", "fsm", "vm", "init"};

}  // namespace

std::string_view fork_name(Fork fork) { return kForkNames[static_cast<size_t>(fork) & 3]; }

Result<RelFork> RelFork::parse(std::string_view text) {
  Status invalid = Status(Code::kInvalid, fmt::format("not a relation fork: \"{}\"", text))
                       .with_hint("Write SPC/DB/REL or SPC/DB/REL.FORK, e.g. 1663/5/1259.vm.");
  RelFork rel;
  std::string_view rest = text;
  if (size_t dot = text.find('.'); dot != std::string_view::npos) {
    std::string_view name = text.substr(dot + 1);
    size_t fork = 0;
    while (fork < kForkNames.size() && kForkNames[fork] != name) ++fork;
    if (fork == kForkNames.size()) return invalid;
    rel.fork = static_cast<Fork>(fork);
    rest = text.substr(0, dot);
  }
  uint32_t* fields[] = {&rel.spc, &rel.db, &rel.rel};
  for (size_t i = 0; i < 3; ++i) {
    auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), *fields[i]);
    if (error != std::errc()) return invalid;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (i < 2) {
      if (rest.empty() || rest.front() != '/') return invalid;
      rest.remove_prefix(1);
    }
  }
  if (!rest.empty()) return invalid;
  return rel;
}

}  // namespace tide

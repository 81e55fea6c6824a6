#include "warehouse/branches.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "net/api_error.h"

namespace tide::warehouse {

using nlohmann::json;

DatabaseName DatabaseName::parse(std::string_view text, const std::string& main_branch) {
  constexpr std::string_view kSuffix = ".lake";
  if (text.size() > kSuffix.size() && text.ends_with(kSuffix)) text.remove_suffix(kSuffix.size());
  DatabaseName name;
  size_t at = text.rfind('@');
  name.database = text.substr(0, at);
  if (at != text.npos) name.branch = text.substr(at + 1);
  if (name.branch.empty()) name.branch = main_branch;
  return name;
}

Result<Branch> Branches::awake(const std::string& name) const {
  std::string path = "/v1/branches/" + net::encode_uri_component(name);
  json found = TIDE_TRY(net::json_call({.unix_socket = control_socket_, .target = path}));
  Branch branch;
  branch.name = name;
  branch.timeline = static_cast<uint32_t>(TIDE_TRY(net::number_member(found, "timeline")));
  const json endpoint = found.value("endpoint", json::object());
  if (TIDE_TRY(net::string_member(endpoint, "state", "")) != "running") {
    json started = TIDE_TRY(
        net::json_call({.unix_socket = control_socket_,
                        .method = "POST",
                        .target = "/v1/endpoints/" + net::encode_uri_component(name) + "/start",
                        .timeout = std::chrono::milliseconds(120'000)}));
    branch.port = static_cast<int>(TIDE_TRY(net::number_member(started, "port")));
    return branch;
  }
  branch.port = static_cast<int>(TIDE_TRY(net::number_member(endpoint, "port")));
  return branch;
}

Result<Branches::Defaults> Branches::defaults() const {
  json url = TIDE_TRY(net::json_call({.unix_socket = control_socket_, .target = "/v1/url"}));
  return Defaults{TIDE_TRY(net::string_member(url, "database")),
                  TIDE_TRY(net::string_member(url, "role"))};
}

}  // namespace tide::warehouse

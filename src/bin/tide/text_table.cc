#include "bin/tide/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bin/tide/instance.h"
#include "net/api_error.h"

namespace tide::cli {

using nlohmann::json;

std::string text_of(const json& object, const char* name) {
  auto found = object.find(name);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : net::to_text(*found);
}

std::string bytes_of(const json& object, const char* name) {
  auto found = object.find(name);
  if (found == object.end() || !found->is_number()) return "-";
  return bytes_text(found->get<uint64_t>());
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    fmt::print("{}\n", line);
  }
}

}  // namespace tide::cli

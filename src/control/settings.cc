#include "control/settings.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "env/file.h"
#include "env/instance.h"
#include "net/api_error.h"

namespace tide::control {

using nlohmann::json;

namespace {
constexpr uint64_t kFormat = 1;
}

std::string settings_file(const std::string& data_directory) {
  return data_directory + "/tidewater.json";
}

Result<Settings> Settings::load(const std::string& data_directory) {
  std::string path = settings_file(data_directory);
  std::string text = TIDE_TRY(env::read_file(path));
  auto parse = [&]() -> Result<Settings> {
    json file = TIDE_TRY(net::parse_json(text));
    uint64_t format = TIDE_TRY(net::number_member(file, "format"));
    if (format != kFormat) {
      return Status(Code::kInvalid,
                    fmt::format("format {}; this tide reads format {}", format, kFormat));
    }
    Settings settings;
    settings.port = static_cast<int>(TIDE_TRY(net::number_member(file, "port")));
    settings.http_port = static_cast<int>(TIDE_TRY(net::number_member(file, "http_port")));
    settings.warehouse_port = static_cast<int>(TIDE_TRY(net::number_member(
        file, "warehouse_port", static_cast<uint64_t>(settings.warehouse_port))));
    settings.object_store = TIDE_TRY(net::string_member(file, "object_store"));
    settings.durability = TIDE_TRY(net::string_member(file, "durability"));
    settings.mirror = TIDE_TRY(net::bool_member(file, "mirror", true));
    settings.created_at = TIDE_TRY(net::string_member(file, "created_at", ""));
    settings.created_by = TIDE_TRY(net::string_member(file, "created_by", ""));
    return settings;
  };
  Result<Settings> settings = parse();
  if (settings.ok()) return settings;
  return Status(Code::kCorrupt,
                fmt::format("{} cannot be read: {}", path, settings.status().message()))
      .with_hint(
          "It is a small JSON file written by \"tide up\"; restore it, or remove it and run \"tide "
          "up\" again "
          "with the same --port, --http-port, --warehouse-port and --object-store.");
}

Status Settings::save(const std::string& data_directory) const {
  json file = {{"format", kFormat},
               {"port", port},
               {"http_port", http_port},
               {"warehouse_port", warehouse_port},
               {"object_store", object_store},
               {"durability", durability},
               {"mirror", mirror},
               {"created_at", created_at},
               {"created_by", created_by},
               {"runtime_directory", env::runtime_directory(data_directory)}};
  return env::write_file_atomically(settings_file(data_directory), file.dump(2) + "\n");
}

Status check_object_store_url(const std::string& url) {
  if (url.starts_with("file:///") && url.size() > 8) return {};
  if (url.starts_with("s3://") && url.size() > 5 && url[5] != '/') return {};
  return Status(Code::kInvalid, fmt::format("\"{}\" is not an object store", url))
      .with_hint("Use file:///DIRECTORY or s3://BUCKET/PREFIX.");
}

std::string object_store_directory(const std::string& url) {
  return url.starts_with("file:///") ? url.substr(7) : std::string();
}

}  // namespace tide::control

#include "compute/configuration.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "env/file.h"

namespace tide::compute {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

/// Parallel queries exchange rows through shared memory files; containers often have a tiny
/// /dev/shm.
bool has_roomy_shared_memory() {
  constexpr uint64_t kEnough = 256ULL << 20;
  struct statvfs info {};
  return ::access("/dev/shm", R_OK | W_OK | X_OK) == 0 && ::statvfs("/dev/shm", &info) == 0 &&
         uint64_t{info.f_blocks} * info.f_frsize >= kEnough;
}

/// The names of a list setting: commas between them, double quotes around any.
std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> names;
  std::string name;
  bool in_quotes = false;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && !in_quotes)) {
      while (!name.empty() && name.back() == ' ') name.pop_back();
      if (!name.empty()) names.push_back(name);
      name.clear();
    } else if (text[i] == '"') {
      if (in_quotes && i + 1 < text.size() && text[i + 1] == '"') {
        name += '"';
        ++i;
      } else {
        in_quotes = !in_quotes;
      }
    } else if (text[i] != ' ' || in_quotes || !name.empty()) {
      name += text[i];
    }
  }
  return names;
}

std::string list_element(std::string_view name) {
  std::string element = "\"";
  for (char c : name) {
    if (c == '"') element += '"';
    element += c;
  }
  return element + "\"";
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out + "'";
}

std::optional<std::string> setting_in(std::string_view conf, std::string_view name) {
  std::optional<std::string> value;
  while (!conf.empty()) {
    std::string_view line = conf.substr(0, conf.find('\n'));
    conf.remove_prefix(std::min(conf.size(), line.size() + 1));
    size_t at = line.find_first_not_of(" \t");
    if (at == line.npos || line[at] == '#') continue;
    size_t end = line.find_first_of(" \t=", at);
    if (end == line.npos) continue;
    std::string_view key = line.substr(at, end - at);
    bool same = std::equal(key.begin(), key.end(), name.begin(), name.end(), [](char a, char b) {
      return std::tolower(static_cast<unsigned char>(a)) ==
             std::tolower(static_cast<unsigned char>(b));
    });
    if (!same) continue;
    size_t begin = line.find_first_not_of(" \t=", end);
    std::string text;
    if (begin != line.npos && line[begin] == '\'') {
      for (size_t i = begin + 1; i < line.size(); ++i) {
        if (line[i] == '\\' && i + 1 < line.size()) {
          text += line[++i];
        } else if (line[i] == '\'') {
          if (i + 1 >= line.size() || line[i + 1] != '\'') break;
          text += line[++i];
        } else {
          text += line[i];
        }
      }
    } else if (begin != line.npos) {
      text = line.substr(begin, line.find_first_of(" \t#", begin) - begin);
    }
    value = std::move(text);
  }
  return value;
}

std::string postgresql_conf(const ComputeSpec& spec) {
  Settings settings = {
      {"shared_buffers", "256MB"},
      {"max_connections", "120"},
      // All of them are touched at the start, and 16 MB (what PostgreSQL takes of much memory) cost
      // more milliseconds there than they bring later.
      {"wal_buffers", "4MB"},
      {"password_encryption", "scram-sha-256"},
      // Checkpoints serve no recovery here: a compute never recovers in place. They only bound what
      // a stop has to write and let dropped files go.
      {"checkpoint_timeout", "30min"},
      {"max_wal_size", "8GB"},
      {"log_checkpoints", "off"},
      {"log_line_prefix", "%m [%p] %q%u@%d "},
      {"log_timezone", "UTC"},
      {"timezone", "UTC"},
      {"datestyle", "iso, mdy"},
      {"lc_messages", "C.UTF-8"},
      {"lc_monetary", "C.UTF-8"},
      {"lc_numeric", "C.UTF-8"},
      {"lc_time", "C.UTF-8"},
      {"default_text_search_config", "pg_catalog.english"},
  };
  for (const auto& [name, value] : spec.settings) settings.emplace_back(name, value);

  std::string conf =
      "# Written by Tidewater at every start. Change settings with ALTER SYSTEM or tide; what "
      "follows\n"
      "# from the storage is on the server's command line and cannot be changed.\n";
  for (const auto& [name, value] : settings) conf += fmt::format("{} = {}\n", name, quoted(value));
  return conf;
}

std::string pg_hba_conf() {
  return "# Written by Tidewater at every start.\n"
         "# The Unix socket lies in a directory that only our own operating-system user can "
         "enter.\n"
         "local all         all                trust\n"
         "local replication all                trust\n"
         "host  all         all 127.0.0.1/32   scram-sha-256\n"
         "host  all         all ::1/128        scram-sha-256\n";
}

std::string preload_libraries(const Installation& installation, const ComputeSpec& spec) {
  std::string wanted;
  if (auto given = spec.settings.find("shared_preload_libraries"); given != spec.settings.end()) {
    wanted = given->second;
  }
  // ALTER SYSTEM replaces the default, as in a stock server.
  wanted = setting_in(spec.preserved.auto_conf, "shared_preload_libraries").value_or(wanted);

  std::string libraries;
  if (!spec.library.empty()) libraries = list_element(spec.library);
  for (std::string name : split_list(wanted)) {
    constexpr std::string_view kLibdir = "$libdir/";
    if (name.starts_with(kLibdir)) name.erase(0, kLibdir.size());
    std::string path = name.starts_with('/') ? name : installation.library_dir + "/" + name;
    bool ours = path == spec.library || path.ends_with("/tidewater.so");
    if (ours || !(env::exists(path) || env::exists(path + ".so"))) continue;
    if (!libraries.empty()) libraries += ",";
    libraries += list_element(name);
  }
  return libraries;
}

std::vector<std::string> postgres_arguments(const Installation& installation,
                                            const ComputeSpec& spec,
                                            std::string_view listen_addresses) {
  bool local = spec.durability == Durability::kLocal;
  std::string name;
  for (char c : fmt::format("{}:{}", spec.instance, spec.branch)) {
    name += c > 32 && c < 127 ? c : '?';
  }
  Settings settings = {
      {"listen_addresses", std::string(listen_addresses)},
      {"port", fmt::format("{}", spec.port)},
      {"unix_socket_directories", list_element(spec.socket_dir)},
      {"unix_socket_permissions", "0700"},
      {"cluster_name", name},

      // In local form PostgreSQL's own sync of the WAL is the durability (the extension drops the
      // syncs of data files); in acceptor form the acceptors' is.
      {"fsync", local ? "on" : "off"},
      // The storage has every page, so none can be torn.
      {"full_page_writes", "off"},
      {"wal_level", "logical"},
      // A crash ends this life; the next one begins from the storage.
      {"restart_after_crash", "off"},
      // Local form: the segments belong to the WAL store, so PostgreSQL must never remove or rename
      // one. Acceptor form: what an acceptor that lags may still have to fetch.
      {"wal_keep_size", local ? "2147483647" : "8192"},
      // Zeroes written ahead make later syncs cheaper, which only the local form has.
      {"wal_init_zero", local ? "on" : "off"},
      {"archive_mode", "off"},
      {"hot_standby", "off"},
      {"max_wal_senders", "20"},
      {"synchronous_standby_names", local ? "" : spec.synchronous_standbys},
      {"track_commit_timestamp", "off"},
      {"huge_pages", "off"},
      {"dynamic_shared_memory_type", has_roomy_shared_memory() ? "posix" : "mmap"},
      {"shared_preload_libraries", preload_libraries(installation, spec)},
  };
  // A stop waits for every connected acceptor, so a frozen one must be given up soon.
  if (!local) settings.emplace_back("wal_sender_timeout", "5s");
  if (!spec.library.empty()) {
    settings.emplace_back("tidewater.role", "compute");
    settings.emplace_back("tidewater.page_socket", spec.page_socket);
    settings.emplace_back("tidewater.timeline", fmt::format("{}", spec.timeline.value));
    settings.emplace_back("tidewater.epoch", fmt::format("{}", spec.epoch.value));
    settings.emplace_back("tidewater.start_lsn", spec.start_lsn.to_string());
    settings.emplace_back("tidewater.feed_file", spec.feed_file);
  }
  std::vector<std::string> arguments = {"-D", spec.data_dir};
  for (const auto& [key, value] : settings) {
    arguments.emplace_back("-c");
    arguments.push_back(fmt::format("{}={}", key, value));
  }
  return arguments;
}

}  // namespace tide::compute

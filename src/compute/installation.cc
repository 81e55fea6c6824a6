#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "compute/compute.h"
#include "env/file.h"

namespace tide::compute {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortProgram{20'000};
constexpr milliseconds kInitdb{180'000};

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Result<std::string> output_of(const std::string& program, const std::string& argument) {
  env::SpawnSpec spec;
  spec.program = program;
  spec.arguments = {argument};
  return trimmed(TIDE_TRY(env::run(std::move(spec), kShortProgram)));
}

/// "15.20" of "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)".
Result<std::string> version_of(const std::string& bin_dir) {
  std::string text = TIDE_TRY(output_of(bin_dir + "/postgres", "-V"));
  constexpr std::string_view kBefore = "(PostgreSQL) ";
  size_t at = text.find(kBefore);
  if (at == std::string::npos) {
    return Status(Code::kInvalid, fmt::format("{}/postgres is no PostgreSQL", bin_dir))
        .with_detail(fmt::format("It calls itself \"{}\".", text));
  }
  at += kBefore.size();
  return text.substr(at, text.find(' ', at) - at);
}

Result<Installation> inspect(const std::string& bin_dir) {
  for (const char* program : {"postgres", "initdb"}) {
    std::string path = fmt::format("{}/{}", bin_dir, program);
    if (::access(path.c_str(), X_OK) != 0) return Status::from_errno(errno, path);
  }
  Installation found;
  found.bin_dir = bin_dir;
  found.version = TIDE_TRY(version_of(bin_dir));
  if (!found.version.starts_with("15.")) {
    return Status(Code::kInvalid, fmt::format("{} holds PostgreSQL {}", bin_dir, found.version))
        .with_detail("Tidewater runs PostgreSQL 15.");
  }
  // pg_config belongs to the development package, which a plain server does not have.
  std::string pg_config = bin_dir + "/pg_config";
  if (::access(pg_config.c_str(), X_OK) == 0) {
    Result<std::string> directory = output_of(pg_config, "--pkglibdir");
    if (directory.ok()) found.library_dir = *directory;
  }
  if (found.library_dir.empty()) {
    found.library_dir = std::filesystem::path(bin_dir).parent_path().string() + "/lib";
  }
  return found;
}

}  // namespace

std::string Installation::program(std::string_view name) const {
  return fmt::format("{}/{}", bin_dir, name);
}

Result<Installation> Installation::find() {
  constexpr std::string_view kHint = "Install it: apt-get install postgresql-15";
  if (const char* given = std::getenv("TIDE_PG_BINDIR"); given != nullptr && *given != '\0') {
    Result<Installation> found = inspect(given);
    if (found.ok()) return found;
    return Status(Code::kInvalid, fmt::format("TIDE_PG_BINDIR names no PostgreSQL 15: {}",
                                              found.status().message()))
        .with_detail(found.status().detail())
        .with_hint("Unset it to use /usr/lib/postgresql/15/bin.");
  }
  std::string checked;
  std::vector<std::string> places = {"/usr/lib/postgresql/15/bin"};
  for (const char* pg_config : {"/usr/bin/pg_config", "/usr/local/bin/pg_config"}) {
    if (::access(pg_config, X_OK) != 0) continue;
    Result<std::string> directory = output_of(pg_config, "--bindir");
    if (directory.ok() && *directory != places.front()) places.push_back(*directory);
  }
  for (const std::string& place : places) {
    Result<Installation> found = inspect(place);
    if (found.ok()) return found;
    checked += fmt::format("{}{}", checked.empty() ? "" : "; ", found.status().message());
  }
  return Status(Code::kNotFound, "PostgreSQL 15 is not installed")
      .with_detail(fmt::format("Looked at: {}.", checked))
      .with_hint(std::string(kHint));
}

Status make_template(const Installation& installation, const std::string& directory) {
  if (env::is_directory(directory)) return {};
  std::string parent = std::filesystem::path(directory).parent_path().string();
  if (!parent.empty()) TIDE_TRY(env::make_directories(parent));
  std::string temporary = fmt::format("{}.new-{}", directory, ::getpid());
  TIDE_TRY(env::remove_tree(temporary));

  env::SpawnSpec initdb;
  initdb.program = installation.program("initdb");
  initdb.arguments = {"-D",
                      temporary,
                      "-U",
                      kSuperuser,
                      "--auth=trust",
                      "--locale=C.UTF-8",
                      "--encoding=UTF8",
                      "--no-sync",
                      "--no-instructions"};
  initdb.clean_environment = true;
  Result<std::string> output = env::run(std::move(initdb), kInitdb);
  if (!output.ok()) {
    env::remove_tree(temporary).ignore("the first error counts; the next call removes it");
    return std::move(output).status().with_context("make the template cluster");
  }
  if (::rename(temporary.c_str(), directory.c_str()) != 0) {
    int error = errno;
    env::remove_tree(temporary).ignore("the first error counts");
    // Somebody else was quicker: theirs is as good.
    if (error == EEXIST || error == ENOTEMPTY) return {};
    return Status::from_errno(error, fmt::format("rename {} to {}", temporary, directory));
  }
  return {};
}

}  // namespace tide::compute

#include "duck/internal/library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <string_view>
#include <system_error>

namespace tide::duck {
namespace {

/// Results and errors of 1.5 are what our tests have seen.
constexpr std::string_view kVersion = "v1.5.";

struct Library {
  Status status;
  capi::Functions functions;
};

/// In lib/ beside the program, or beside the program's folder (tests); else wherever the system
/// looks. Not by run path: under a sanitizer dlopen() would follow the sanitizer's own.
void* open_library() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  for (const std::filesystem::path& folder :
       {program.parent_path(), program.parent_path().parent_path()}) {
    const std::filesystem::path file = folder / "lib" / "libduckdb.so";
    // Never closed: its worker threads and thread-local states would outlive its code.
    if (std::filesystem::exists(file, error)) return dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  return dlopen("libduckdb.so", RTLD_NOW | RTLD_LOCAL);
}

Library load() {
  Library library;
  void* handle = open_library();
  if (handle == nullptr) {
    library.status =
        Status(Code::kUnavailable, fmt::format("load the analytical engine: {}", dlerror()))
            .with_hint("The library belongs into lib/ beside the program.");
    return library;
  }
  const char* missing = nullptr;
#define TIDE_DUCKDB_FIND(result, name, arguments)                                         \
  library.functions.name =                                                                \
      reinterpret_cast<decltype(library.functions.name)>(dlsym(handle, "duckdb_" #name)); \
  if (library.functions.name == nullptr) missing = "duckdb_" #name;
  TIDE_DUCKDB_FUNCTIONS(TIDE_DUCKDB_FIND)
#undef TIDE_DUCKDB_FIND
  if (missing != nullptr) {
    library.status =
        Status(Code::kUnavailable, fmt::format("libduckdb.so has no function {}", missing));
    return library;
  }
  std::string_view version = library.functions.library_version();
  if (!version.starts_with(kVersion)) {
    library.status =
        Status(Code::kUnavailable,
               fmt::format("libduckdb.so is of version {}, not {}x", version, kVersion));
  }
  return library;
}

const Library& library() {
  static const Library loaded = load();
  return loaded;
}

}  // namespace

Status load_library() { return library().status; }

const capi::Functions& api() { return library().functions; }

}  // namespace tide::duck

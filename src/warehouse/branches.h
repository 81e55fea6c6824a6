#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::warehouse {

/// "DB[@BRANCH][.lake]"
struct DatabaseName {
  std::string database;
  std::string branch;
  static DatabaseName parse(std::string_view text, const std::string& main_branch = "main");
};

/// Where a branch is to be found.
struct Branch {
  std::string name;
  uint32_t timeline = 0;
  int port = 0;  ///< of its PostgreSQL, which accepts connections
};

/// Asks control for branches. Thread-safe.
class Branches {
 public:
  explicit Branches(std::string control_socket) : control_socket_(std::move(control_socket)) {}
  /// The branch with its compute running: one that is suspended is started. kNotFound if there is
  /// none of this name.
  Result<Branch> awake(const std::string& name) const;
  /// The project's first database and role.
  struct Defaults {
    std::string database;
    std::string role;
  };
  Result<Defaults> defaults() const;

 private:
  const std::string control_socket_;
};

}  // namespace tide::warehouse

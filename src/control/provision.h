#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace tide::control {

/// A password of letters and digits from the kernel's random source.
Result<std::string> random_password(size_t length);
/// Bytes from the kernel's random source in hexadecimal.
Result<std::string> random_token(size_t bytes);

struct Owner {
  std::string role;
  std::string password;
  std::string database;
};

/// Gives a new cluster's owner role (the bootstrap superuser, or one made here) its SCRAM password
/// and its database, over the private Unix socket. Does only what is missing, so it may be
/// repeated.
Status provision_owner(const std::string& socket_directory, int port, const Owner& owner);

/// True if the postmaster is not frozen and takes part in a connection attempt within a few
/// seconds.
bool is_answering(const std::string& socket_directory, int port, pid_t postmaster);

}  // namespace tide::control

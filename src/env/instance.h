#pragma once

#include <string>

#include "base/result.h"

/// Where the parts of one instance find each other. DIR, the data directory, is always the
/// canonical path: absolute, without symbolic links.
namespace tide::env {

/// The canonical form of a path whose last parts need not exist yet.
Result<std::string> canonical_path(const std::string& path);

/// Directory of the instance's sockets and process state: DIR/run, or, where the socket names below
/// it would not fit into the 107 bytes of a Unix socket address, /tmp/tide-UID-HASH (UID: owner of
/// DIR). Depends on nothing but DIR, so every role finds the same place.
std::string runtime_directory(const std::string& data_directory);

/// Makes the runtime directory, mode 0700. kDenied if somebody else owns what lies at its path.
Status prepare_runtime_directory(const std::string& data_directory);

std::string control_socket(const std::string& data_directory);
std::string storage_socket(const std::string& data_directory);
std::string page_socket(const std::string& data_directory);
/// Of the mirror: snapshots of the lake and its figures.
std::string lake_socket(const std::string& data_directory);
/// PostgreSQL's unix_socket_directories of every compute; their ports tell them apart.
std::string postgres_socket_directory(const std::string& data_directory);

}  // namespace tide::env

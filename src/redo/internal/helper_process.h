#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "env/file.h"
#include "redo/redo_pool.h"

namespace tide::redo::internal {

/// Makes the smallest data directory in which `postgres --single` reaches shared memory.
Status make_data_directory(const std::string& path, const Options& options);

/// A running helper.
struct HelperProcess {
  pid_t pid = 0;
  env::FileDescriptor pidfd;
  uint64_t log_begin = 0;  ///< where its words begin in the log file
};

/// Starts a helper on the ring behind `ring_fd`. It ends with the calling thread: call from one
/// that lives as long as the pool.
Result<HelperProcess> start_helper(const Options& options, const std::string& data_directory,
                                   const std::string& log_path, int ring_fd);

/// Takes the exit status of a process that has ended: "was ended by signal 11 (Segmentation
/// fault)".
std::string reap(const HelperProcess& process);

void kill_helper(const HelperProcess& process);

/// The last lines that this helper wrote, at most about 2 KiB.
std::string log_tail(const std::string& log_path, uint64_t log_begin);

}  // namespace tide::redo::internal

#pragma once

#include <string>

#include "base/result.h"

namespace tide::control {

struct ControlOptions {
  std::string data_directory;
  std::string library;  ///< tidewater.so
  /// Only ends the computes that an earlier control role left running, in order, and returns.
  bool shutdown_only = false;
};

/// The control role: serves the control API until SIGTERM or SIGINT, then suspends all computes.
Status run_control(const ControlOptions& options);

}  // namespace tide::control

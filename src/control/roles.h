#pragma once

#include <array>
#include <chrono>
#include <string_view>

namespace tide::control {

/// One kind of process of an instance: `tide NAME --data DIR ...`, child of the supervisor, with
/// its log in DIR/log/NAME.log. It is started again whenever it dies, so it must find everything
/// it needs by itself and wait for other roles that are not there yet.
struct Role {
  std::string_view name;
  /// PostgreSQL cannot be used without it: `tide up` fails if it does not start. Another one that
  /// dies again and again is a problem in `tide status`, no more.
  bool essential = true;
  /// Not started where the mirror is switched off (settings.h).
  bool of_lake = false;
  /// From SIGTERM to SIGKILL.
  std::chrono::milliseconds stop_patience{30'000};
};

inline constexpr std::string_view kStorageRole = "storage";
inline constexpr std::string_view kControlRole = "control";
inline constexpr std::string_view kMirrorRole = "mirror";
inline constexpr std::string_view kWarehouseRole = "warehouse";

/// In the order in which they are started. They end in this order: control, which suspends the
/// computes; then, last started first, those that are not essential; then storage, once it has made
/// everything durable.
inline constexpr std::array kRoles = {
    Role{.name = kStorageRole},
    Role{.name = kControlRole, .stop_patience = std::chrono::milliseconds(120'000)},
    // It ends with a last cut of every branch.
    Role{.name = kMirrorRole,
         .essential = false,
         .of_lake = true,
         .stop_patience = std::chrono::milliseconds(60'000)},
    Role{.name = kWarehouseRole, .essential = false, .of_lake = true},
};

/// Null if there is no such role.
constexpr const Role* find_role(std::string_view name) {
  for (const Role& role : kRoles) {
    if (role.name == name) return &role;
  }
  return nullptr;
}

}  // namespace tide::control

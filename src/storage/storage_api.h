#pragma once

#include <chrono>
#include <string>

#include "net/http_server.h"
#include "storage/page_service.h"
#include "storage/project.h"
#include "storage/upkeep.h"

namespace tide::storage {

/// Everything the API speaks about; owned by the role's main loop.
struct ApiParts {
  Project& project;
  PageService& pages;
  redo::RedoPool& redo;
  Upkeep& upkeep;
  std::string page_socket;
};

/// The routes of docs/formats/storage-api.md. `parts` must outlive the server that serves them.
net::HttpRouter storage_routes(ApiParts& parts);

}  // namespace tide::storage

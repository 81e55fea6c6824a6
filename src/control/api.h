#pragma once

#include <string>

#include "control/computes.h"
#include "control/service.h"
#include "control/settings.h"
#include "net/http_server.h"

namespace tide::control {

struct ApiOptions {
  std::string data_directory;
  std::string postgresql_version;
  Settings settings;
  std::string token;
};

/// The control API. Over the Unix socket no token is asked for (only our user can reach it); over
/// TCP all but /healthz and /readyz need "Authorization: Bearer TOKEN".
class Api {
 public:
  Api(ApiOptions options, Service& service, Store& store, StorageClient& storage,
      Computes& computes);

  net::HttpRouter router();
  std::optional<net::HttpResponse> admit(const net::HttpRequest& request) const;

 private:
  nlohmann::json branch_json(const Branch& branch,
                             const std::map<TimelineId, StorageClient::Timeline>& sizes);
  Result<nlohmann::json> branches_json();
  nlohmann::json endpoint_json(const std::string& branch, TimelineId timeline);
  Result<nlohmann::json> connection_json(const std::string& target);
  nlohmann::json status_json();
  std::string metrics_text();

  const ApiOptions options_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  Service& service_;
  Store& store_;
  StorageClient& storage_;
  Computes& computes_;
};

}  // namespace tide::control

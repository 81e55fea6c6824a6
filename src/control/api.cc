#include "control/api.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "control/supervisor.h"
#include "env/file.h"
#include "net/api_error.h"

namespace tide::control {

using net::HttpRequest;
using net::HttpResponse;
using nlohmann::json;

namespace {

/// Takes as long for a wrong token as for the right one.
bool equal_secret(std::string_view one, std::string_view other) {
  unsigned char difference = one.size() == other.size() ? 0 : 1;
  for (size_t i = 0; i < one.size(); ++i) {
    difference |=
        static_cast<unsigned char>(one[i] ^ (other.empty() ? 0 : other[i % other.size()]));
  }
  return difference == 0;
}

json status_json_of(const Status& status) {
  if (status.ok()) return nullptr;
  return net::error_json(status)["error"];
}

json operation_json(const Operation& operation) {
  return {{"id", operation.id},
          {"kind", operation.kind},
          {"branch", operation.branch},
          {"timeline", operation.timeline.value},
          {"state", state_name(operation.state)},
          {"step", operation.step},
          {"error", operation.error.empty() ? json(nullptr) : json(operation.error)},
          {"created_at", operation.created_at},
          {"updated_at", operation.updated_at}};
}

json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

/// A handler whose answer is JSON or an error.
net::HttpHandler answering(std::function<Result<json>(const HttpRequest&)> handle) {
  return [handle = std::move(handle)](const HttpRequest& request) {
    Result<json> answer = handle(request);
    return answer.ok() ? net::json_response(*answer) : net::error_response(answer.status());
  };
}

Result<Service::Point> point_of(const json& body) {
  return Service::Point{TIDE_TRY(net::string_member(body, "lsn", "")),
                        TIDE_TRY(net::string_member(body, "time", ""))};
}

}  // namespace

Api::Api(ApiOptions options, Service& service, Store& store, StorageClient& storage,
         Computes& computes)
    : options_(std::move(options)),
      service_(service),
      store_(store),
      storage_(storage),
      computes_(computes) {}

std::optional<HttpResponse> Api::admit(const HttpRequest& request) const {
  if (request.over_unix_socket || request.path == "/healthz" || request.path == "/readyz")
    return std::nullopt;
  constexpr std::string_view kScheme = "Bearer ";
  std::string given = request.header("authorization");
  if (given.starts_with(kScheme) &&
      equal_secret(std::string_view(given).substr(kScheme.size()), options_.token)) {
    return std::nullopt;
  }
  HttpResponse refused = net::error_response(
      Status(Code::kDenied, given.empty() ? "this needs a token" : "the token is wrong")
          .with_hint(fmt::format(
              "Send \"Authorization: Bearer TOKEN\"; the token is in {}/secrets/token. The command "
              "line needs none: tide status",
              options_.data_directory)));
  refused.status = 401;
  refused.headers.emplace_back("WWW-Authenticate", "Bearer");
  return refused;
}

json Api::branch_json(const Branch& branch,
                      const std::map<TimelineId, StorageClient::Timeline>& sizes) {
  json answer = {{"name", branch.name},
                 {"timeline", branch.timeline.value},
                 {"state", state_name(branch.state)},
                 {"protected", branch.is_protected},
                 {"backup_of", text_or_null(branch.backup_of)},
                 {"created_at", branch.created_at},
                 {"branch_lsn", branch.branch_lsn.to_string()},
                 {"parent", nullptr},
                 {"lsn", nullptr},
                 {"oldest_lsn", nullptr},
                 {"logical_bytes", nullptr},
                 {"own_bytes", nullptr}};
  if (branch.parent) {
    Result<Branch> parent = store_.branch(*branch.parent);
    if (parent.ok()) answer["parent"] = parent->name;
  }
  if (auto found = sizes.find(branch.timeline); found != sizes.end()) {
    answer["lsn"] = found->second.end_lsn.to_string();
    answer["oldest_lsn"] = found->second.oldest_lsn.to_string();
    answer["logical_bytes"] = found->second.logical_bytes;
    answer["own_bytes"] = found->second.own_bytes;
  }
  answer["endpoint"] = endpoint_json(branch.name, branch.timeline);
  return answer;
}

Result<json> Api::branches_json() {
  std::map<TimelineId, StorageClient::Timeline> sizes;
  if (Result<std::vector<StorageClient::Timeline>> timelines = storage_.timelines();
      timelines.ok()) {
    for (StorageClient::Timeline& timeline : *timelines) sizes[timeline.id] = std::move(timeline);
  }
  json list = json::array();
  for (const Branch& branch : TIDE_TRY(store_.branches())) {
    // A timeline in the making that will take another branch's name.
    if (branch.name.find('.') != std::string::npos) continue;
    list.push_back(branch_json(branch, sizes));
  }
  return list;
}

json Api::endpoint_json(const std::string& branch, TimelineId timeline) {
  Computes::Info info = computes_.info(timeline);
  json answer = {{"branch", branch},
                 {"state", state_name(info.state)},
                 {"port", nullptr},
                 {"pid", info.pid == 0 ? json(nullptr) : json(info.pid)},
                 {"epoch", info.epoch.value},
                 {"restarts", info.restarts},
                 {"start_seconds", info.start_seconds},
                 {"wanted", nullptr},
                 {"last_start", nullptr},
                 {"last_stop", nullptr},
                 {"retry_in_seconds", info.retry_in ? json(*info.retry_in) : json(nullptr)},
                 {"error", text_or_null(info.error)}};
  Result<std::optional<Endpoint>> stored = store_.endpoint(timeline);
  if (stored.ok() && stored->has_value()) {
    const Endpoint& endpoint = **stored;
    answer["port"] = endpoint.port;
    answer["epoch"] = endpoint.epoch.value;
    answer["wanted"] = endpoint.wanted ? "running" : "suspended";
    answer["last_start"] = text_or_null(endpoint.last_start);
    answer["last_stop"] = text_or_null(endpoint.last_stop);
  }
  return answer;
}

Result<json> Api::connection_json(const std::string& text) {
  Target target = TIDE_TRY(Target::parse(text));
  Service::Connection connection = TIDE_TRY(service_.connection(target));
  if (target.lake) {
    connection.database += "@" + connection.branch + ".lake";
    connection.port = options_.settings.warehouse_port;
  }
  return json{{"url", connection.url()},
              {"branch", connection.branch},
              {"host", "127.0.0.1"},
              {"port", connection.port},
              {"database", connection.database},
              {"role", connection.role},
              {"password", connection.password}};
}

json Api::status_json() {
  json answer = {
      {"version", kVersion},
      {"data_directory", options_.data_directory},
      {"postgresql_version", options_.postgresql_version},
      {"port", options_.settings.port},
      {"http_port", options_.settings.http_port},
      {"warehouse_port", options_.settings.warehouse_port},
      {"object_store", options_.settings.object_store},
      {"durability", options_.settings.durability},
      {"uptime_seconds",
       std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count()}};
  // Read before the stages, so that whoever sees "ready" sees all of them done.
  bool up = service_.is_up();
  json problems = json::array();
  auto add_problem = [&problems](std::string where, const Status& status) {
    if (status.ok()) return;
    json problem = status_json_of(status);
    problem["where"] = std::move(where);
    problems.push_back(std::move(problem));
  };

  answer["stages"] = json::array();
  for (const Service::Stage& stage : service_.stages()) {
    answer["stages"].push_back({{"name", stage.name},
                                {"state", stage.state},
                                {"detail", stage.detail},
                                {"seconds", stage.seconds},
                                {"problem", status_json_of(stage.problem)}});
    if (stage.state != "done") add_problem(stage.name, stage.problem);
  }

  Result<json> storage = storage_.status();
  answer["storage"] = storage.ok() ? *storage : json{{"error", status_json_of(storage.status())}};
  if (!storage.ok()) {
    add_problem("storage", storage.status());
  } else if (storage->contains("object_store") && (*storage)["object_store"].is_object()) {
    const json& object_store = (*storage)["object_store"];
    auto last_error = object_store.find("last_error");
    if (last_error != object_store.end() && last_error->is_string() &&
        !last_error->get<std::string>().empty()) {
      add_problem("object store", {Code::kUnavailable, last_error->get<std::string>()});
    }
  }

  answer["project"] = nullptr;
  if (Result<std::optional<Project>> project = store_.project();
      project.ok() && project->has_value()) {
    answer["project"] = {{"name", (*project)->name},
                         {"system_id", text_or_null((*project)->system_id)},
                         {"role", (*project)->role},
                         {"database", (*project)->database},
                         {"provisioned", (*project)->provisioned},
                         {"created_at", (*project)->created_at}};
  }
  Result<json> branches = branches_json();
  answer["branches"] = branches.ok() ? *branches : json::array();
  if (!branches.ok()) add_problem("branches", branches.status());
  for (const json& branch : answer["branches"]) {
    const json& endpoint = branch["endpoint"];
    if (endpoint["error"].is_string()) {
      add_problem("compute of branch " + branch["name"].get<std::string>(),
                  {Code::kUnavailable, endpoint["error"].get<std::string>()});
    }
  }
  answer["operations"] = json::array();
  if (Result<std::vector<Operation>> running = store_.running_operations(); running.ok()) {
    for (const Operation& operation : *running)
      answer["operations"].push_back(operation_json(operation));
  }

  answer["roles"] = json::array();
  if (Result<SupervisorState> supervisor = read_supervisor_state(options_.data_directory);
      supervisor.ok()) {
    answer["supervisor"] = {{"pid", supervisor->pid}, {"state", supervisor->state}};
    for (const SupervisorState::Role& role : supervisor->roles) {
      answer["roles"].push_back({{"name", role.name},
                                 {"pid", role.pid == 0 ? json(nullptr) : json(role.pid)},
                                 {"state", role.state},
                                 {"restarts", role.restarts},
                                 {"last_exit", text_or_null(role.last_exit)}});
      if (role.state != "waiting") continue;
      add_problem(role.name + " role",
                  Status(Code::kUnavailable, fmt::format("it ended: {}", role.last_exit))
                      .with_hint(fmt::format("It is started again. See {}/log/{}.log.",
                                             options_.data_directory, role.name)));
    }
  } else {
    answer["supervisor"] = nullptr;
  }
  answer["ready"] = up && storage.ok();
  answer["state"] = !up ? "starting" : problems.empty() ? "ready" : "degraded";
  answer["problems"] = std::move(problems);
  return answer;
}

std::string Api::metrics_text() {
  std::string text;
  auto gauge = [&text](std::string_view name, std::string_view type, std::string_view help) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  };
  gauge("tide_control_up", "gauge", "1 when the project is up.");
  text += fmt::format("tide_control_up {}\n", service_.is_up() ? 1 : 0);
  gauge("tide_control_compute_starts_total", "counter",
        "Lives of computes begun since this role began.");
  text += fmt::format("tide_control_compute_starts_total {}\n", computes_.starts());
  gauge("tide_control_compute_deaths_total", "counter", "Computes that ended without being asked.");
  text += fmt::format("tide_control_compute_deaths_total {}\n", computes_.deaths());
  if (Result<std::vector<Branch>> branches = store_.branches(); branches.ok()) {
    gauge("tide_control_branches", "gauge", "Branches of the project.");
    text += fmt::format("tide_control_branches {}\n", branches->size());
    gauge("tide_control_endpoint_running", "gauge", "1 while the branch's compute runs.");
    for (const Branch& branch : *branches) {
      bool running = computes_.info(branch.timeline).state == Computes::State::kRunning;
      text += fmt::format("tide_control_endpoint_running{{branch=\"{}\"}} {}\n", branch.name,
                          running ? 1 : 0);
    }
    gauge("tide_control_endpoint_start_seconds", "gauge",
          "What the last start of the branch's compute took.");
    for (const Branch& branch : *branches) {
      text += fmt::format("tide_control_endpoint_start_seconds{{branch=\"{}\"}} {:.6f}\n",
                          branch.name, computes_.info(branch.timeline).start_seconds);
    }
  }
  if (Result<std::vector<Operation>> running = store_.running_operations(); running.ok()) {
    gauge("tide_control_operations_running", "gauge", "Operations that have not ended yet.");
    text += fmt::format("tide_control_operations_running {}\n", running->size());
  }
  Result<std::string> storage = storage_.metrics();
  gauge("tide_control_storage_up", "gauge", "1 when the storage role answers.");
  text += fmt::format("tide_control_storage_up {}\n", storage.ok() ? 1 : 0);
  if (storage.ok()) text += *storage;
  return text;
}

net::HttpRouter Api::router() {
  net::HttpRouter router;
  router.add("GET", "/healthz", [](const HttpRequest&) {
    return net::json_response({{"status", "ok"}});
  });
  router.add("GET", "/readyz", [this](const HttpRequest&) {
    bool ready = service_.is_up();
    return net::json_response({{"status", ready ? "ready" : "starting"}}, ready ? 200 : 503);
  });
  router.add("GET", "/metrics", [this](const HttpRequest&) {
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = metrics_text();
    return response;
  });
  router.add("GET", "/v1/status",
             [this](const HttpRequest&) { return net::json_response(status_json()); });

  router.add("GET", "/v1/branches",
             answering([this](const HttpRequest&) { return branches_json(); }));
  router.add("POST", "/v1/branches", answering([this](const HttpRequest& request) -> Result<json> {
               json body = TIDE_TRY(net::parse_json(request.body));
               std::string name = TIDE_TRY(net::string_member(body, "name"));
               Branch made = TIDE_TRY(service_.create_branch(
                   name, TIDE_TRY(net::string_member(body, "from", "")), TIDE_TRY(point_of(body))));
               return branch_json(made, {});
             }));
  router.add("GET", "/v1/branches/{name}",
             answering([this](const HttpRequest& request) -> Result<json> {
               Branch branch = TIDE_TRY(store_.branch(request.params.at("name")));
               std::map<TimelineId, StorageClient::Timeline> sizes;
               for (auto& timeline : TIDE_TRY(storage_.timelines())) sizes[timeline.id] = timeline;
               return branch_json(branch, sizes);
             }));
  router.add("PATCH", "/v1/branches/{name}",
             answering([this](const HttpRequest& request) -> Result<json> {
               json body = TIDE_TRY(net::parse_json(request.body));
               std::string name = request.params.at("name");
               Branch branch = TIDE_TRY(store_.branch(name));
               TIDE_TRY(service_.set_protected(
                   name, TIDE_TRY(net::bool_member(body, "protected", branch.is_protected))));
               return branch_json(TIDE_TRY(store_.branch(name)), {});
             }));
  router.add("DELETE", "/v1/branches/{name}",
             answering([this](const HttpRequest& request) -> Result<json> {
               std::string name = request.params.at("name");
               TIDE_TRY(service_.delete_branch(name));
               return json{{"deleted", name}};
             }));
  auto rewound_json = [this](const Service::Rewound& rewound) {
    return json{{"branch", branch_json(rewound.branch, {})},
                {"backup", branch_json(rewound.backup, {})}};
  };
  router.add("POST", "/v1/branches/{name}/reset",
             answering([this, rewound_json](const HttpRequest& request) -> Result<json> {
               return rewound_json(TIDE_TRY(service_.reset_branch(request.params.at("name"))));
             }));
  router.add("POST", "/v1/branches/{name}/restore",
             answering([this, rewound_json](const HttpRequest& request) -> Result<json> {
               json body = TIDE_TRY(net::parse_json(request.body));
               return rewound_json(TIDE_TRY(
                   service_.restore_branch(request.params.at("name"), TIDE_TRY(point_of(body)),
                                           TIDE_TRY(net::string_member(body, "preserve_as", "")))));
             }));
  router.add("GET", "/v1/branches/{name}/page", [this](const HttpRequest& request) {
    auto page = [&]() -> Result<std::string> {
      Branch branch = TIDE_TRY(store_.branch(request.params.at("name")));
      auto value = [&](const char* name) {
        auto found = request.query.find(name);
        return found == request.query.end() ? std::string() : found->second;
      };
      return storage_.page(branch.timeline, value("rel"), value("block"), value("lsn"));
    }();
    if (!page.ok()) return net::error_response(page.status());
    HttpResponse response;
    response.content_type = "application/octet-stream";
    response.body = std::move(page).value();
    return response;
  });

  auto endpoint_answer = [this](const std::string& name, Status done) -> Result<json> {
    TIDE_TRY(std::move(done));
    return endpoint_json(name, TIDE_TRY(store_.branch(name)).timeline);
  };
  router.add("GET", "/v1/endpoints", answering([this](const HttpRequest&) -> Result<json> {
               json list = json::array();
               for (const Endpoint& endpoint : TIDE_TRY(store_.endpoints())) {
                 list.push_back(endpoint_json(TIDE_TRY(store_.branch(endpoint.timeline)).name,
                                              endpoint.timeline));
               }
               return list;
             }));
  router.add("GET", "/v1/endpoints/{branch}",
             answering([endpoint_answer](const HttpRequest& request) -> Result<json> {
               return endpoint_answer(request.params.at("branch"), {});
             }));
  router.add("POST", "/v1/endpoints/{branch}/start",
             answering([this, endpoint_answer](const HttpRequest& request) -> Result<json> {
               std::string name = request.params.at("branch");
               return endpoint_answer(name, service_.start_endpoint(name));
             }));
  router.add("POST", "/v1/endpoints/{branch}/suspend",
             answering([this, endpoint_answer](const HttpRequest& request) -> Result<json> {
               std::string name = request.params.at("branch");
               return endpoint_answer(name, service_.suspend_endpoint(name));
             }));
  router.add("POST", "/v1/endpoints/{branch}/restart",
             answering([this, endpoint_answer](const HttpRequest& request) -> Result<json> {
               std::string name = request.params.at("branch");
               return endpoint_answer(name, service_.restart_endpoint(name));
             }));

  router.add("GET", "/v1/operations", answering([this](const HttpRequest&) -> Result<json> {
               json list = json::array();
               for (const Operation& operation : TIDE_TRY(store_.recent_operations(100))) {
                 list.push_back(operation_json(operation));
               }
               return list;
             }));
  router.add(
      "GET", "/v1/operations/{id}", answering([this](const HttpRequest& request) -> Result<json> {
        const std::string& text = request.params.at("id");
        int64_t id = 0;
        auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
        if (error != std::errc() || end != text.data() + text.size()) {
          return Status(Code::kInvalid, fmt::format("\"{}\" is not an operation's number", text));
        }
        return operation_json(TIDE_TRY(store_.operation(id)));
      }));
  router.add("GET", "/v1/url", answering([this](const HttpRequest& request) -> Result<json> {
               auto target = request.query.find("target");
               return connection_json(target == request.query.end() ? "" : target->second);
             }));
  router.add("POST", "/v1/fsck", answering([this](const HttpRequest& request) -> Result<json> {
               json body = TIDE_TRY(net::parse_json(request.body));
               return service_.fsck(TIDE_TRY(net::bool_member(body, "deep", false)));
             }));
  return router;
}

}  // namespace tide::control

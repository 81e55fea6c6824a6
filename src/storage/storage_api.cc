#include "storage/storage_api.h"

#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>

#include "net/api_error.h"
#include "pagestore/base_backup.h"
#include "storage/fsck.h"
#include "storage/rfc3339.h"

namespace tide::storage {
namespace {

using net::HttpRequest;
using net::HttpResponse;
using nlohmann::json;

Result<uint64_t> number_param(const HttpRequest& request, const std::string& name) {
  const std::string& text = request.params.at(name);
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Status(Code::kInvalid, fmt::format("{} is not a number: \"{}\"", name, text));
  }
  return value;
}

Result<TimelineId> timeline_id(uint64_t number) {
  if (number == 0 || number > UINT32_MAX) {
    return Status(Code::kInvalid, fmt::format("{} is not a timeline id", number))
        .with_hint("Timeline ids are numbers from 1 to 4294967295.");
  }
  return TimelineId{static_cast<uint32_t>(number)};
}

Result<TimelineId> timeline_param(const HttpRequest& request) {
  return timeline_id(TIDE_TRY(number_param(request, "id")));
}

Result<Epoch> epoch_param(const HttpRequest& request) {
  return Epoch{TIDE_TRY(number_param(request, "epoch"))};
}

std::string query(const HttpRequest& request, const std::string& name) {
  auto found = request.query.find(name);
  return found == request.query.end() ? "" : found->second;
}

/// Wraps a function that gives a Result<json> (or a whole answer) into a handler.
template <typename Function>
net::HttpHandler json_handler(Function function) {
  return [function](const HttpRequest& request) -> HttpResponse {
    Result<json> answer = function(request);
    return answer.ok() ? net::json_response(*answer) : net::error_response(answer.status());
  };
}

json timeline_json(Project& project, TimelineService& timeline) {
  pagestore::PageStore& store = project.store();
  auto info = store.tree().find(timeline.id());
  auto history = timeline.log().history();
  json item = {{"id", timeline.id().value},
               {"epoch", history.last() == nullptr
                             ? history.promised.value
                             : std::max(history.promised.value, history.last()->epoch.value)},
               {"active", timeline.log().has_open_epoch()},
               {"end_lsn", timeline.flushed().to_string()},
               {"ingested_lsn", store.ingested(timeline.id()).to_string()},
               {"durable_lsn", store.durable(timeline.id()).to_string()},
               {"own_bytes", store.own_bytes(timeline.id())},
               {"wal_bytes", timeline.log().disk_bytes()},
               {"last_error", timeline.last_error()}};
  if (!info) return item;
  item["branch_lsn"] = info->branch_lsn.to_string();
  item["oldest_lsn"] = std::max(info->branch_lsn, info->history_cutoff).to_string();
  item["oldest_time"] = format_rfc3339(info->created_us);
  item["parent"] = info->parent ? json(info->parent->value) : json();
  auto bytes = store.total_bytes(timeline.id(), Lsn::max());
  item["logical_bytes"] = bytes.ok() ? *bytes : 0;
  return item;
}

class Api {
 public:
  explicit Api(ApiParts& parts) : parts_(parts), project_(parts.project) {}

  Result<json> create_project(const HttpRequest& request) {
    json body = TIDE_TRY(net::parse_json(request.body));
    auto created = TIDE_TRY(project_.create(TIDE_TRY(net::string_member(body, "template"))));
    return json{{"system_id", std::to_string(created.system_id)},
                {"timeline", 1},
                {"lsn", created.lsn.to_string()}};
  }

  Result<json> status(const HttpRequest&) {
    auto system_id = project_.system_id();
    Upkeep::State upkeep = parts_.upkeep.state();
    PageService::Stats pages = parts_.pages.stats();
    redo::Stats redo = parts_.redo.stats();
    json timelines = json::array();
    uint64_t pending = 0;
    for (const auto& timeline : project_.timelines()) {
      timelines.push_back(timeline_json(project_, *timeline));
      if (parts_.upkeep.mirror() == nullptr) continue;
      Lsn safe = parts_.upkeep.mirror()->safe(timeline->id());
      Lsn end = timeline->flushed();
      if (end > safe) pending += end - safe;
    }
    return json{{"project", system_id.has_value()},
                {"system_id", system_id ? std::to_string(*system_id) : ""},
                {"page_store",
                 {{"disk_bytes", project_.store().disk_bytes()},
                  {"images_made", project_.images().images_made()},
                  {"connections", pages.connections},
                  {"requests", pages.requests},
                  {"pages", pages.pages},
                  {"errors", pages.errors}}},
                {"object_store",
                 {{"url", upkeep.object_store},
                  {"pending_bytes", upkeep.has_object_store ? pending : 0},
                  {"last_error", upkeep.last_error},
                  {"last_upload_time", upkeep.last_upload_time}}},
                {"redo",
                 {{"helpers", redo.helpers},
                  {"alive", redo.helpers_alive},
                  {"pages", redo.pages},
                  {"records", redo.records},
                  {"failed_pages", redo.failed_pages},
                  {"deaths", redo.helper_deaths}}},
                {"timelines", std::move(timelines)}};
  }

  Result<json> list_timelines(const HttpRequest&) {
    json list = json::array();
    for (const auto& timeline : project_.timelines())
      list.push_back(timeline_json(project_, *timeline));
    return list;
  }

  Result<json> create_timeline(const HttpRequest& request) {
    json body = TIDE_TRY(net::parse_json(request.body));
    TimelineId id = TIDE_TRY(timeline_id(TIDE_TRY(net::number_member(body, "id"))));
    TimelineId parent = TIDE_TRY(timeline_id(TIDE_TRY(net::number_member(body, "parent"))));
    std::string lsn_text = TIDE_TRY(net::string_member(body, "lsn", ""));
    std::string time_text = TIDE_TRY(net::string_member(body, "time", ""));
    std::optional<Lsn> lsn;
    std::optional<int64_t> time_us;
    if (!lsn_text.empty()) lsn = TIDE_TRY(Lsn::parse(lsn_text));
    if (!time_text.empty()) time_us = TIDE_TRY(parse_rfc3339(time_text));
    if (lsn && time_us) return Status(Code::kInvalid, "give an LSN or a time, not both");
    Lsn at = TIDE_TRY(project_.create_timeline(id, parent, lsn, time_us));
    return json{{"id", id.value}, {"parent", parent.value}, {"branch_lsn", at.to_string()}};
  }

  Result<json> delete_timeline(const HttpRequest& request) {
    TimelineId id = TIDE_TRY(timeline_param(request));
    TIDE_TRY(project_.delete_timeline(id));
    parts_.pages.first_touch().forget(id);
    return json::object();
  }

  Result<json> lsn_for_time(const HttpRequest& request) {
    auto timeline = TIDE_TRY(project_.timeline(TIDE_TRY(timeline_param(request))));
    int64_t time_us = TIDE_TRY(parse_rfc3339(query(request, "time")));
    TIDE_TRY(timeline->settle(30000));
    auto point = TIDE_TRY(project_.store().lsn_for_time(timeline->id(), time_us));
    using Kind = pagestore::PageStore::TimePoint;
    const char* kind = point.kind == Kind::kExact           ? "exact"
                       : point.kind == Kind::kBeforeHistory ? "before_history"
                                                            : "after_end";
    return json{{"lsn", point.lsn.to_string()}, {"kind", kind}};
  }

  Result<json> begin_epoch(const HttpRequest& request) {
    auto timeline = TIDE_TRY(project_.timeline(TIDE_TRY(timeline_param(request))));
    json body = TIDE_TRY(net::parse_json(request.body));
    Epoch epoch{TIDE_TRY(net::number_member(body, "epoch"))};
    auto durability = TIDE_TRY(
        walstore::parse_durability(TIDE_TRY(net::string_member(body, "durability", "local"))));
    auto begun = TIDE_TRY(timeline->begin_epoch(epoch, durability));
    bool local = durability == walstore::Durability::kLocal;
    return json{{"epoch", begun.epoch.value},
                {"start_lsn", begun.start.to_string()},
                {"wal_dir", local ? begun.wal_directory : ""},
                {"feed_file", local ? begun.wal_directory + "/feed" : ""},
                {"lock_file", begun.wal_directory + "/lock"},
                {"system_id", std::to_string(begun.system_id)},
                {"page_socket", parts_.page_socket}};
  }

  HttpResponse backup(const HttpRequest& request) {
    auto prepared = [&]() -> Result<HttpResponse> {
      auto timeline = TIDE_TRY(project_.timeline(TIDE_TRY(timeline_param(request))));
      std::string epoch_text = query(request, "epoch");
      uint64_t epoch = 0;
      std::from_chars(epoch_text.data(), epoch_text.data() + epoch_text.size(), epoch);
      Lsn start = TIDE_TRY(timeline->epoch_start(Epoch{epoch}));
      auto wal_files = TIDE_TRY(timeline->first_wal_files(Epoch{epoch}));
      HttpResponse response;
      response.content_type = "application/x-tar";
      auto relations =
          parts_.pages.first_touch().relations(timeline->id(), project_.store().tree());
      parts_.pages.first_touch().begin(timeline->id());
      response.stream = [this, timeline, start, wal_files,
                         relations](net::HttpBodyWriter& body) -> Status {
        std::string buffer;
        pagestore::TarWriter tar([&](std::string_view bytes) -> Status {
          buffer += bytes;
          if (buffer.size() < kStreamPiece) return {};
          TIDE_TRY(body.write(buffer));
          buffer.clear();
          return {};
        });
        TIDE_TRY(pagestore::write_base_backup(project_.store(), timeline->id(), start, wal_files,
                                              tar, relations));
        return body.write(buffer);
      };
      return response;
    }();
    return prepared.ok() ? std::move(*prepared) : net::error_response(prepared.status());
  }

  Result<json> stream_epoch(const HttpRequest& request) {
    auto timeline = TIDE_TRY(project_.timeline(TIDE_TRY(timeline_param(request))));
    json body = TIDE_TRY(net::parse_json(request.body));
    TIDE_TRY(timeline->start_acceptor(TIDE_TRY(epoch_param(request)),
                                      TIDE_TRY(net::string_member(body, "conninfo"))));
    return json::object();
  }

  Result<json> close_epoch(const HttpRequest& request) {
    auto timeline = TIDE_TRY(project_.timeline(TIDE_TRY(timeline_param(request))));
    auto end = TIDE_TRY(timeline->close_epoch(TIDE_TRY(epoch_param(request))));
    return json{{"end_lsn", end.end.to_string()}, {"clean", end.clean}};
  }

  HttpResponse page(const HttpRequest& request) {
    auto read = [&]() -> Result<std::string> {
      auto timeline = TIDE_TRY(project_.timeline(TIDE_TRY(timeline_param(request))));
      RelFork rel = TIDE_TRY(RelFork::parse(query(request, "rel")));
      std::string block_text = query(request, "block");
      uint32_t block = 0;
      auto [end, error] =
          std::from_chars(block_text.data(), block_text.data() + block_text.size(), block);
      if (error != std::errc() || end != block_text.data() + block_text.size()) {
        return Status(Code::kInvalid, fmt::format("not a block number: \"{}\"", block_text));
      }
      Lsn newest = TIDE_TRY(timeline->settle(30000));
      std::string lsn_text = query(request, "lsn");
      Lsn at = lsn_text.empty() ? newest : TIDE_TRY(Lsn::parse(lsn_text));
      if (at > newest || at < project_.store().history_cutoff(timeline->id())) {
        return Status(Code::kOutOfRange, fmt::format("no history at {}", at))
            .with_detail(fmt::format("It reaches from {} to {}.",
                                     project_.store().history_cutoff(timeline->id()), newest));
      }
      auto blocks = TIDE_TRY(project_.store().rel_size(timeline->id(), rel, at));
      if (!blocks) return Status(Code::kNotFound, fmt::format("there is no {} at {}", rel, at));
      if (block >= *blocks) {
        return Status(Code::kOutOfRange, fmt::format("{} has no block {}", rel, block))
            .with_detail(fmt::format("At {} it has {} blocks.", at, *blocks));
      }
      std::string bytes(kPageSize, '\0');
      PageTag tag{rel, block};
      TIDE_TRY(project_.store().pages().read(timeline->id(), {&tag, 1}, at,
                                             reinterpret_cast<std::byte*>(bytes.data())));
      return bytes;
    }();
    if (!read.ok()) return net::error_response(read.status());
    HttpResponse response;
    response.content_type = "application/octet-stream";
    response.body = std::move(*read);
    return response;
  }

  Result<json> flush(const HttpRequest&) {
    TIDE_TRY(parts_.upkeep.flush_all());
    json durable = json::object();
    for (const auto& timeline : project_.timelines()) {
      durable[std::to_string(timeline->id().value)] =
          project_.store().durable(timeline->id()).to_string();
    }
    return json{{"durable", std::move(durable)}};
  }

  Result<json> fsck(const HttpRequest& request) {
    json body = TIDE_TRY(net::parse_json(request.body));
    FsckReport report = TIDE_TRY(
        check(project_, parts_.upkeep.mirror(), TIDE_TRY(net::bool_member(body, "deep", false))));
    json problems = json::array();
    for (const auto& problem : report.problems) {
      problems.push_back(
          {{"what", problem.what}, {"where", problem.where}, {"detail", problem.detail}});
    }
    return json{{"checked", report.checked}, {"problems", std::move(problems)}};
  }

  Result<json> put_metadata(const HttpRequest& request) {
    TIDE_TRY(project_.store().put_metadata(request.params.at("name"), request.body));
    return json::object();
  }

  HttpResponse get_metadata(const HttpRequest& request) {
    auto value = project_.store().metadata(request.params.at("name"));
    if (!value.ok()) return net::error_response(value.status());
    HttpResponse response;
    response.content_type = "application/octet-stream";
    response.body = std::move(*value);
    return response;
  }

  HttpResponse metrics(const HttpRequest&) {
    PageService::Stats pages = parts_.pages.stats();
    redo::Stats redo = parts_.redo.stats();
    std::string text;
    auto metric = [&](std::string_view name, std::string_view type, std::string_view help,
                      uint64_t value) {
      text += fmt::format("# HELP tide_{0} {1}\n# TYPE tide_{0} {2}\ntide_{0} {3}\n", name, help,
                          type, value);
    };
    metric("page_requests_total", "counter", "Requests of computes.", pages.requests);
    metric("pages_served_total", "counter", "Pages sent to computes.", pages.pages);
    metric("page_request_errors_total", "counter", "Requests answered with an error.",
           pages.errors);
    metric("page_connections", "gauge", "Open connections of computes.", pages.connections);
    metric("redo_pages_total", "counter", "Pages redone.", redo.pages);
    metric("redo_records_total", "counter", "WAL records redone.", redo.records);
    metric("redo_busy_microseconds_total", "counter", "Time spent in redo.", redo.busy_micros);
    metric("page_images_total", "counter", "Images made to cut chains.",
           project_.images().images_made());
    metric("page_store_bytes", "gauge", "Bytes of the page store on disk.",
           project_.store().disk_bytes());
    text +=
        "# HELP tide_ingest_lag_bytes WAL not in the page store yet.\n# TYPE tide_ingest_lag_bytes "
        "gauge\n";
    for (const auto& timeline : project_.timelines()) {
      Lsn flushed = timeline->flushed();
      Lsn ingested = project_.store().ingested(timeline->id());
      text += fmt::format("tide_ingest_lag_bytes{{timeline=\"{}\"}} {}\n", timeline->id().value,
                          flushed > ingested ? flushed - ingested : 0);
    }
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4";
    response.body = std::move(text);
    return response;
  }

 private:
  static constexpr size_t kStreamPiece = 256 * 1024;
  ApiParts& parts_;
  Project& project_;
};

}  // namespace

net::HttpRouter storage_routes(ApiParts& parts) {
  auto api = std::make_shared<Api>(parts);
  net::HttpRouter router;
  auto json_route = [&](const char* method, const char* pattern, auto member) {
    router.add(method, pattern, json_handler([api, member](const HttpRequest& request) {
                 return ((*api).*member)(request);
               }));
  };
  auto raw_route = [&](const char* method, const char* pattern, auto member) {
    router.add(method, pattern,
               [api, member](const HttpRequest& request) { return ((*api).*member)(request); });
  };
  json_route("POST", "/v1/project", &Api::create_project);
  json_route("GET", "/v1/status", &Api::status);
  json_route("GET", "/v1/timelines", &Api::list_timelines);
  json_route("POST", "/v1/timelines", &Api::create_timeline);
  json_route("DELETE", "/v1/timelines/{id}", &Api::delete_timeline);
  json_route("GET", "/v1/timelines/{id}/lsn", &Api::lsn_for_time);
  json_route("POST", "/v1/timelines/{id}/epochs", &Api::begin_epoch);
  raw_route("GET", "/v1/timelines/{id}/backup", &Api::backup);
  json_route("POST", "/v1/timelines/{id}/epochs/{epoch}/stream", &Api::stream_epoch);
  json_route("POST", "/v1/timelines/{id}/epochs/{epoch}/close", &Api::close_epoch);
  raw_route("GET", "/v1/timelines/{id}/page", &Api::page);
  json_route("POST", "/v1/flush", &Api::flush);
  json_route("POST", "/v1/fsck", &Api::fsck);
  json_route("PUT", "/v1/metadata/{name}", &Api::put_metadata);
  raw_route("GET", "/v1/metadata/{name}", &Api::get_metadata);
  raw_route("GET", "/metrics", &Api::metrics);
  return router;
}

}  // namespace tide::storage

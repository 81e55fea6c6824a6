#include "storage/learner_service.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "storage/object_mirror.h"
#include "storage/read_position.h"
#include "walstore/flush_watch.h"

namespace tide::storage {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

static_assert(sizeof(TidePsReadWal) == 40 && sizeof(TidePsWal) == 40 &&
              sizeof(TidePsTimelineIs) == 56 && sizeof(TidePsGetSlru) == 16 &&
              sizeof(TidePsGetRelmap) == 16 && sizeof(TidePsListRelations) == 16 &&
              sizeof(TidePsBytes) == 16 && sizeof(TidePsList) == 16 &&
              sizeof(TidePsDatabase) == 8 && sizeof(TidePsRelation) == 12);

constexpr uint32_t kSlruCount = 4;

template <typename Request>
Result<Request> parse(BytesView body) {
  if (body.size() != sizeof(Request)) {
    return Status(Code::kInvalid,
                  fmt::format("request of {} bytes, expected {}", body.size(), sizeof(Request)));
  }
  return load<Request>(body.data());
}

template <typename Head>
LearnerService::Answer answer_with(TidePsType type, const Head& head, std::string_view tail = {}) {
  LearnerService::Answer answer{static_cast<uint16_t>(type), {}};
  answer.body.reserve(sizeof head + tail.size());
  append(answer.body, head);
  answer.body += tail;
  return answer;
}

}  // namespace

bool LearnerService::takes(uint16_t type) {
  return type >= TIDE_PS_READ_WAL && type <= TIDE_PS_LIST_RELATIONS;
}

Result<LearnerService::Answer> LearnerService::answer(TimelineId timeline, uint16_t type,
                                                      BytesView body) {
  switch (type) {
    case TIDE_PS_READ_WAL:
      return read_wal(timeline, TIDE_TRY(parse<TidePsReadWal>(body)));
    case TIDE_PS_FLUSHED: {
      auto service = TIDE_TRY(project_.timeline(timeline));
      return answer_with(TIDE_PS_FLUSHED_LSN, TidePsLsn{service->flushed().value()});
    }
    case TIDE_PS_CONFIRM:
      return confirm(timeline, TIDE_TRY(parse<TidePsLsn>(body)));
    case TIDE_PS_TIMELINE:
      return describe(timeline);
    case TIDE_PS_GET_SLRU:
      return slru_page(timeline, TIDE_TRY(parse<TidePsGetSlru>(body)));
    case TIDE_PS_GET_RELMAP:
      return relation_map(timeline, TIDE_TRY(parse<TidePsGetRelmap>(body)));
    case TIDE_PS_LIST_DATABASES:
      return databases(timeline, TIDE_TRY(parse<TidePsLsn>(body)));
    case TIDE_PS_LIST_RELATIONS:
      return relations(timeline, TIDE_TRY(parse<TidePsListRelations>(body)));
    default:
      return Status(Code::kInvalid, fmt::format("unknown request type {}", type));
  }
}

void LearnerService::stop() {
  stopping_ = true;
  for (const auto& timeline : project_.timelines()) timeline->log().wake();
}

// -- WAL -----------------------------------------------------------------------------------------

Result<LearnerService::Place> LearnerService::place_of(TimelineId timeline,
                                                       const TidePsReadWal& request) const {
  Lsn boundary(request.boundary);
  Lsn limit = Lsn::max();
  auto info = project_.store().tree().find(timeline);
  while (info && info->parent && boundary < info->branch_lsn) {
    if (request.from >= info->branch_lsn.value()) {
      // All of the ancestor's WAL was read, and it ended inside a record: a branch may begin there.
      boundary = info->branch_lsn;
      break;
    }
    limit = std::min(limit, info->branch_lsn);
    info = project_.store().tree().find(*info->parent);
  }
  if (!info) return Status(Code::kNotFound, fmt::format("no timeline {}", timeline));
  if (!info->parent && boundary < normalize(info->branch_lsn)) {
    return Status(Code::kOutOfRange, fmt::format("{} begins behind {}", info->id, boundary));
  }
  return Place{TIDE_TRY(project_.timeline(info->id)), boundary, limit};
}

Result<LearnerService::Answer> LearnerService::look(TimelineId timeline, const Place& place,
                                                    const TidePsReadWal& request) const {
  const walstore::TimelineLog& log = place.service->log();
  auto view = log.view(place.boundary);
  TidePsWal head{};
  head.flushed = place.service->id() == timeline
                     ? place.service->flushed().value()
                     : TIDE_TRY(project_.timeline(timeline))->flushed().value();
  if (!view.writer) {
    head.begin = request.from;
    return answer_with(TIDE_PS_WAL, head);
  }
  head.epoch = view.writer->epoch.value;
  head.epoch_start = view.writer->start.value();
  head.log_timeline = place.service->id().value;
  bool same = request.epoch == head.epoch && request.log_timeline == head.log_timeline;
  Lsn from = same ? Lsn(request.from) : place.boundary;
  head.begin = from.value();
  Lsn limit = std::min(place.limit, view.writer->end.value_or(view.flushed));

  Answer answer = answer_with(TIDE_PS_WAL, head);
  if (from < limit) {
    size_t wanted = std::min<uint64_t>(request.max_bytes, limit - from);
    answer.body.resize(sizeof head + wanted);
    std::span<std::byte> out(reinterpret_cast<std::byte*>(answer.body.data() + sizeof head),
                             wanted);
    auto size = log.read_epoch(view.writer->epoch, from, limit, out);
    if (!size.ok() && size.status().code() == Code::kOutOfRange && objects_ != nullptr) {
      size = ObjectMirror::read_wal(*objects_, place.service->id(), view.writer->epoch, from, limit,
                                    out);
    }
    head.byte_count = static_cast<uint32_t>(TIDE_TRY(std::move(size)));
    answer.body.resize(sizeof head + head.byte_count);
    std::memcpy(answer.body.data(), &head, sizeof head);
  }
  return answer;
}

Result<LearnerService::Answer> LearnerService::read_wal(TimelineId timeline,
                                                        const TidePsReadWal& request) {
  if (request.max_bytes == 0 || request.max_bytes > TIDE_PS_MAX_WAL ||
      request.wait_ms > TIDE_PS_MAX_WAIT_MS || request.boundary == 0 ||
      request.boundary > request.from || (request.epoch == 0 && request.boundary != request.from)) {
    return Status(Code::kInvalid,
                  fmt::format("READ_WAL from {}, boundary {}, {} bytes, {} ms", Lsn(request.from),
                              Lsn(request.boundary), request.max_bytes, request.wait_ms));
  }
  auto deadline = Clock::now() + milliseconds(request.wait_ms);
  while (true) {
    Place place = TIDE_TRY(place_of(timeline, request));
    walstore::FlushWatch watch(place.service->log());
    if (stopping_) return Status(Code::kRetry, "the storage role stops");
    Answer answer = TIDE_TRY(look(timeline, place, request));
    auto head = load<TidePsWal>(answer.body.data());
    auto patience = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (head.byte_count > 0 || patience.count() <= 0) return answer;
    watch.wait(patience);
  }
}

Result<LearnerService::Answer> LearnerService::confirm(TimelineId timeline,
                                                       const TidePsLsn& request) {
  auto service = TIDE_TRY(project_.timeline(timeline));
  // A record that ends a segment early ends, normalized, where the next segment begins.
  Lsn end = std::max(service->flushed(), project_.store().ingested(timeline));
  if (Lsn(request.lsn) > end) {
    return Status(Code::kInvalid,
                  fmt::format("{} is durable up to {}, not {}", timeline, end, Lsn(request.lsn)));
  }
  Lsn confirmed = TIDE_TRY(project_.store().confirm(timeline, Lsn(request.lsn)));
  return answer_with(TIDE_PS_CONFIRMED, TidePsLsn{confirmed.value()});
}

// -- State at an LSN -----------------------------------------------------------------------------

Result<Lsn> LearnerService::position(TimelineId timeline, uint64_t lsn) const {
  return read_position(project_.store(), timeline, Lsn(lsn),
                       lsn == TIDE_PS_LATEST ? Lsn() : Lsn(lsn));
}

Result<LearnerService::Answer> LearnerService::describe(TimelineId timeline) const {
  auto info = project_.store().tree().find(timeline);
  if (!info) return Status(Code::kNotFound, fmt::format("no timeline {}", timeline));
  TidePsTimelineIs is{};
  is.branch_lsn = info->branch_lsn.value();
  is.oldest_lsn = std::max(info->branch_lsn, info->history_cutoff).value();
  is.ingested_lsn = project_.store().ingested(timeline).value();
  is.confirmed_lsn = info->confirmed_lsn.value();
  is.created_us = info->created_us;
  is.system_id = project_.system_id().value_or(0);
  is.timeline = timeline.value;
  is.parent = info->parent ? info->parent->value : 0;
  return answer_with(TIDE_PS_TIMELINE_IS, is);
}

Result<LearnerService::Answer> LearnerService::slru_page(TimelineId timeline,
                                                         const TidePsGetSlru& request) const {
  if (request.slru >= kSlruCount) {
    return Status(Code::kInvalid, fmt::format("no SLRU {}", request.slru));
  }
  Lsn at = TIDE_TRY(position(timeline, request.lsn));
  std::string page(kPageSize, '\0');
  bool exists = TIDE_TRY(project_.store().pages().read_slru(
      timeline, {static_cast<pagestore::Slru>(request.slru), request.page}, at,
      reinterpret_cast<std::byte*>(page.data())));
  if (!exists) page.clear();
  return answer_with(TIDE_PS_SLRU_PAGE,
                     TidePsBytes{at.value(), static_cast<uint32_t>(page.size()), 0}, page);
}

Result<LearnerService::Answer> LearnerService::relation_map(TimelineId timeline,
                                                            const TidePsGetRelmap& request) const {
  Lsn at = TIDE_TRY(position(timeline, request.lsn));
  auto map = TIDE_TRY(project_.store().relation_map(timeline, request.spc, request.db, at));
  std::string bytes = std::move(map).value_or("");
  return answer_with(TIDE_PS_RELMAP,
                     TidePsBytes{at.value(), static_cast<uint32_t>(bytes.size()), 0}, bytes);
}

Result<LearnerService::Answer> LearnerService::databases(TimelineId timeline,
                                                         const TidePsLsn& request) const {
  Lsn at = TIDE_TRY(position(timeline, request.lsn));
  auto databases = TIDE_TRY(project_.store().databases(timeline, at));
  std::string items;
  for (const auto& database : databases) append(items, TidePsDatabase{database.spc, database.db});
  return answer_with(TIDE_PS_DATABASES,
                     TidePsList{at.value(), static_cast<uint32_t>(databases.size()), 0}, items);
}

Result<LearnerService::Answer> LearnerService::relations(TimelineId timeline,
                                                         const TidePsListRelations& request) const {
  Lsn at = TIDE_TRY(position(timeline, request.lsn));
  auto relations = TIDE_TRY(project_.store().relations(timeline, request.db, at));
  std::string items;
  for (const auto& relation : relations) {
    append(items, TidePsRelation{relation.fork.spc, relation.fork.rel, relation.blocks});
  }
  return answer_with(TIDE_PS_RELATIONS,
                     TidePsList{at.value(), static_cast<uint32_t>(relations.size()), 0}, items);
}

}  // namespace tide::storage

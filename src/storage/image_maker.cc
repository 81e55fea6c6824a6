#include "storage/image_maker.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <vector>

#include "obs/log.h"
#include "pagestore/page_version.h"

namespace tide::storage {
namespace {

constexpr size_t kBatch = 64;
/// Between rounds, so that a hot page gets one image a round and not one per hundred records.
constexpr auto kPause = std::chrono::milliseconds(500);
constexpr int kNice = 10;

}  // namespace

using pagestore::Kind;
using Wanted = pagestore::ImageQueue::Wanted;

ImageMaker::ImageMaker(pagestore::PageStore& store, pagestore::ImageQueue& queue)
    : store_(store), queue_(queue), thread_([this] { run(); }) {}

ImageMaker::~ImageMaker() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void ImageMaker::run() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kPause, [&] { return stopping_; })) {
    lock.unlock();
    bool stopping = false;
    for (auto wanted = queue_.take(kBatch); !wanted.empty() && !stopping;
         wanted = queue_.take(kBatch)) {
      Status made = make(wanted);
      // One bad page must not cost the others their images.
      for (size_t i = 0; !made.ok() && i < wanted.size(); ++i) {
        Status one = make({wanted[i]});
        if (!one.ok()) obs::warn("make a page image: {}", one.to_string());
      }
      std::lock_guard check(mutex_);
      stopping = stopping_;
    }
    lock.lock();
  }
}

Status ImageMaker::make(const std::vector<Wanted>& wanted) {
  std::map<TimelineId, std::vector<PageTag>> pages;
  for (const Wanted& want : wanted) {
    if (!store_.tree().find(want.timeline)) continue;
    if (want.kind == Kind::kPage) {
      pages[want.timeline].push_back(pagestore::page_of_body(want.body));
      continue;
    }
    std::byte image[kPageSize];
    Lsn chain_lsn;
    bool exists =
        TIDE_TRY(store_.pages().read_slru(want.timeline, pagestore::slru_of_body(want.body),
                                          store_.ingested(want.timeline), image, &chain_lsn));
    if (!exists) continue;
    TIDE_TRY(store_.put_image(want.kind, want.timeline, want.body, chain_lsn,
                              pagestore::encode_image(image)));
    ++made_;
  }
  for (auto& [timeline, tags] : pages) {
    std::sort(tags.begin(), tags.end());
    std::vector<std::byte> images(tags.size() * kPageSize);
    std::vector<Lsn> chain_lsns;
    TIDE_TRY(
        store_.pages().read(timeline, tags, store_.ingested(timeline), images.data(), &chain_lsns));
    for (size_t i = 0; i < tags.size(); ++i) {
      if (!chain_lsns[i].is_valid()) continue;
      TIDE_TRY(store_.put_image(Kind::kPage, timeline, pagestore::page_body(tags[i]), chain_lsns[i],
                                pagestore::encode_image(images.data() + i * kPageSize)));
      ++made_;
    }
  }
  return {};
}

}  // namespace tide::storage

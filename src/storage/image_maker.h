#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "pagestore/image_queue.h"
#include "pagestore/page_store.h"

namespace tide::storage {

/// Cuts long chains of versions: makes the images that the queue wants, on a thread of its own.
class ImageMaker {
 public:
  ImageMaker(pagestore::PageStore& store, pagestore::ImageQueue& queue);
  ~ImageMaker();

  uint64_t images_made() const { return made_; }

 private:
  void run();
  Status make(const std::vector<pagestore::ImageQueue::Wanted>& wanted);

  pagestore::PageStore& store_;
  pagestore::ImageQueue& queue_;
  std::atomic<uint64_t> made_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tide::storage

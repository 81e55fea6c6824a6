#include "net/blob_channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "net/api_error.h"

namespace tide::net {
namespace {

using nlohmann::json;

class BlobChannelTest : public testing::Test {
 protected:
  BlobChannelTest() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    near_ = std::make_unique<BlobChannel>(env::FileDescriptor(pair[0]));
    raw_ = pair[1];
    far_ = std::make_unique<BlobChannel>(env::FileDescriptor(pair[1]));
  }
  std::unique_ptr<BlobChannel> near_;
  std::unique_ptr<BlobChannel> far_;
  int raw_ = -1;
};

TEST_F(BlobChannelTest, JsonAndBlobsArriveAsSent) {
  std::string large(3 << 20, 'x');
  std::thread sender([&] {
    EXPECT_TRUE(near_->send({{"op", "table"}}, {"", std::string("\0\1", 2), large}).ok());
  });
  Result<BlobMessage> message = far_->receive();
  sender.join();
  ASSERT_TRUE(message.ok()) << message.status().to_string();
  EXPECT_EQ(json::parse(message->json)["op"], "table");
  ASSERT_EQ(message->blobs.size(), 3U);
  EXPECT_EQ(message->blobs[1], std::string("\0\1", 2));
  EXPECT_EQ(message->blobs[2], large);
}

TEST_F(BlobChannelTest, AnErrorAnswerIsItsStatus) {
  std::thread server([&] {
    EXPECT_TRUE(far_->receive().ok());
    EXPECT_TRUE(
        far_->send(error_json(Status(Code::kNotFound, "no database x").with_hint("Make it.")))
            .ok());
  });
  Result<BlobMessage> answer = near_->call({{"op", "snapshot"}}, std::chrono::seconds(10));
  server.join();
  EXPECT_EQ(answer.status().code(), Code::kNotFound);
  EXPECT_EQ(answer.status().hint(), "Make it.");
}

TEST_F(BlobChannelTest, WhatIsNoMessageIsRefused) {
  std::string bytes;
  append(bytes, uint32_t{8});
  append(bytes, uint32_t{100});
  bytes += "{}{}";
  ASSERT_EQ(::write(raw_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(near_->receive().status().code(), Code::kCorrupt);
}

TEST_F(BlobChannelTest, APeerThatHangsUpIsNoticed) {
  EXPECT_EQ(near_->receive(std::chrono::milliseconds(1)).status().code(), Code::kRetry);
  far_->shut_down();
  EXPECT_EQ(near_->receive().status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace tide::net

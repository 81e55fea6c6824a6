#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "env/file.h"
#include "net/api_error.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace tide::net {
namespace {

using namespace std::chrono_literals;

class HttpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tide-http-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    socket_ = directory_ + "/s";
  }
  void TearDown() override {
    server_.reset();
    env::remove_tree(directory_).ignore("scratch");
  }

  void serve(HttpRouter router, HttpServerOptions options = {}) {
    options.unix_socket = socket_;
    auto started = HttpServer::start(std::move(options), std::move(router));
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(started).value();
  }
  HttpCall call(std::string method, std::string target, std::string body = "") {
    return {.unix_socket = socket_,
            .method = std::move(method),
            .target = std::move(target),
            .body = std::move(body)};
  }

  std::string directory_;
  std::string socket_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTest, RoutesByMethodAndPattern) {
  HttpRouter router;
  router.add("GET", "/v1/things/{id}", [](const HttpRequest& request) {
    return json_response({{"id", request.params.at("id")}, {"q", request.query.at("q")}});
  });
  router.add("POST", "/v1/things/{id}", [](const HttpRequest& request) {
    HttpResponse response;
    response.body = request.body;
    return response;
  });
  serve(std::move(router));

  auto got = json_call(call("GET", "/v1/things/a%2Fb?q=x%20y"));
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_EQ((*got)["id"], "a/b");
  EXPECT_EQ((*got)["q"], "x y");
  auto posted = http_call(call("POST", "/v1/things/1", std::string(1 << 20, 'x')));
  ASSERT_TRUE(posted.ok());
  EXPECT_EQ(posted->body.size(), 1u << 20);
  EXPECT_EQ(http_call(call("DELETE", "/v1/things/1"))->status, 405);
  EXPECT_EQ(http_call(call("GET", "/nothing"))->status, 404);
}

TEST_F(HttpTest, ErrorsComeBackAsTheStatusTheyWere) {
  HttpRouter router;
  router.add("GET", "/e", [](const HttpRequest&) {
    return error_response(
        Status(Code::kStaleEpoch, "fenced").with_detail("by e5").with_hint("go away"));
  });
  serve(std::move(router));
  auto got = json_call(call("GET", "/e"));
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.status().to_string(), "STALE_EPOCH: fenced\nDETAIL: by e5\nHINT: go away");
}

TEST_F(HttpTest, StreamsBodies) {
  HttpRouter router;
  router.add("GET", "/good", [](const HttpRequest&) {
    HttpResponse response;
    response.content_type = "application/x-tar";
    response.stream = [](HttpBodyWriter& writer) -> Status {
      for (int i = 0; i < 100; ++i)
        TIDE_TRY(writer.write(std::string(100'000, static_cast<char>('a' + i % 26))));
      return {};
    };
    return response;
  });
  router.add("GET", "/broken", [](const HttpRequest&) {
    HttpResponse response;
    response.stream = [](HttpBodyWriter& writer) -> Status {
      TIDE_TRY(writer.write("half"));
      return {Code::kIo, "disk gone"};
    };
    return response;
  });
  serve(std::move(router));

  size_t bytes = 0;
  auto good = http_call_stream(call("GET", "/good"), [&](std::string_view piece) {
    bytes += piece.size();
    return Status();
  });
  ASSERT_TRUE(good.ok()) << good.status().to_string();
  EXPECT_EQ(good->headers["content-type"], "application/x-tar");
  EXPECT_EQ(bytes, 10'000'000u);
  auto broken = http_call_stream(call("GET", "/broken"), [](std::string_view) { return Status(); });
  EXPECT_EQ(broken.status().code(), Code::kUnavailable);
  auto drawn = HttpStream::open(call("GET", "/good"));
  ASSERT_TRUE(drawn.ok()) << drawn.status().to_string();
  std::vector<std::byte> buffer(70'000);
  size_t total = 0;
  while (size_t got = (*drawn)->read(buffer).value()) total += got;
  EXPECT_EQ(total, 10'000'000u);
  EXPECT_EQ(HttpStream::open(call("GET", "/missing")).status().code(), Code::kNotFound);
  auto refused = http_call_stream(call("GET", "/good"),
                                  [](std::string_view) { return Status(Code::kNoSpace, "full"); });
  EXPECT_EQ(refused.status().code(), Code::kNoSpace);
}

TEST_F(HttpTest, LimitsAndTimeouts) {
  HttpRouter router;
  router.add("POST", "/x", [](const HttpRequest&) { return HttpResponse{}; });
  router.add("GET", "/slow", [](const HttpRequest&) {
    std::this_thread::sleep_for(300ms);
    return HttpResponse{};
  });
  HttpServerOptions options;
  options.body_bytes_max = 1000;
  options.threads = 1;
  options.queue_limit = 1;
  serve(std::move(router), options);

  auto large = http_call(call("POST", "/x", std::string(1001, 'x')));
  ASSERT_TRUE(large.ok()) << large.status().to_string();
  EXPECT_EQ(large->status, 413);
  HttpCall long_head = call("GET", "/" + std::string(20'000, 'x'));
  auto head = http_call(long_head);
  ASSERT_TRUE(head.ok()) << head.status().to_string();
  EXPECT_EQ(head->status, 431);

  HttpCall impatient = call("GET", "/slow");
  impatient.timeout = 50ms;
  EXPECT_EQ(http_call(impatient).status().code(), Code::kUnavailable);
  // One runs, one waits, the rest is refused at once.
  std::atomic<int> busy{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      auto got = http_call(call("GET", "/slow"));
      if (got.ok() && got->status == 503) ++busy;
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_GE(busy, 1);
}

TEST_F(HttpTest, SocketIsPrivateAndNotTakenFromALiveServer) {
  serve({});
  struct stat state;
  ASSERT_EQ(::stat(socket_.c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 0777, 0600u);
  HttpServerOptions options;
  options.unix_socket = socket_;
  EXPECT_EQ(HttpServer::start(options, {}).status().code(), Code::kExists);
  server_.reset();
  EXPECT_FALSE(env::exists(socket_));
  EXPECT_EQ(http_call(call("GET", "/")).status().code(), Code::kUnavailable);
  // A socket file left behind by a killed server is replaced.
  int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  socket_.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(left, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(left);
  serve({});
}

TEST_F(HttpTest, StopLetsRunningHandlersFinishAndEndsStreams) {
  std::atomic<bool> finished{false};
  HttpRouter router;
  router.add("GET", "/slow", [&](const HttpRequest&) {
    std::this_thread::sleep_for(200ms);
    finished = true;
    return HttpResponse{};
  });
  router.add("GET", "/events", [](const HttpRequest&) {
    HttpResponse response;
    response.content_type = "text/event-stream";
    response.stream = [](HttpBodyWriter& writer) -> Status {
      while (!writer.stopping()) {
        TIDE_TRY(writer.write("data: x\n\n"));
        std::this_thread::sleep_for(10ms);
      }
      return {};
    };
    return response;
  });
  HttpServerOptions options;
  options.port = 0;
  serve(std::move(router), options);
  EXPECT_GT(server_->port(), 0);
  std::thread slow([&] {
    auto got = http_call(call("GET", "/slow"));
    EXPECT_TRUE(got.ok()) << got.status().to_string();
  });
  std::thread events([&] {
    auto got = http_call_stream(call("GET", "/events"), [](std::string_view) { return Status(); });
    EXPECT_TRUE(got.ok()) << got.status().to_string();
  });
  std::this_thread::sleep_for(50ms);
  server_->stop(2s);
  EXPECT_TRUE(finished);
  slow.join();
  events.join();
}

TEST(UriComponentTest, RoundTrip) {
  EXPECT_EQ(encode_uri_component("1663/5/16384.main"), "1663%2F5%2F16384.main");
  EXPECT_EQ(decode_uri_component("a%2fb%zz%4"), "a/b%zz%4");
}

}  // namespace
}  // namespace tide::net

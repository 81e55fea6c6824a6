#include "net/http_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <cstring>

#include "net/api_error.h"

namespace tide::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr size_t kUnixPathMax = 107;

/// One call: an event loop of its own that runs on the caller's thread, so that every step has a
/// deadline although the call blocks.
class Call {
 public:
  explicit Call(const HttpCall& call) : call_(call), stream_(io_) {}

  Status connect() {
    if (call_.unix_socket.size() > kUnixPathMax) {
      return Status(Code::kInvalid, fmt::format("socket path {} is longer than {} bytes",
                                                call_.unix_socket, kUnixPathMax));
    }
    arm();
    stream_.async_connect(asio::local::stream_protocol::endpoint(call_.unix_socket),
                          [this](error_code error) { outcome_ = error; });
    run();
    return check("connect to");
  }

  Status send() {
    http::request<http::string_body> request;
    request.method_string(call_.method);
    request.target(call_.target);
    request.version(11);
    request.set(http::field::host, "localhost");
    request.set(http::field::connection, "close");
    if (!call_.body.empty()) request.set(http::field::content_type, "application/json");
    request.body() = call_.body;
    request.prepare_payload();
    arm();
    http::async_write(stream_, request, [this](error_code error, size_t) { outcome_ = error; });
    run();
    // A server that refuses early answers and closes before it has read the whole body.
    if (outcome_ == asio::error::broken_pipe) return {};
    return check("send to");
  }

  Status read_head() {
    parser_.body_limit(boost::none);
    parser_.header_limit(64 * 1024);
    buffer_.reserve(piece_.size());  // reads are as large as the room there is
    arm();
    http::async_read_header(stream_, buffer_, parser_,
                            [this](error_code error, size_t) { outcome_ = error; });
    run();
    return check("read from");
  }

  /// The next piece, empty at the body's end.
  Result<std::string_view> read_piece() {
    while (!parser_.is_done()) {
      parser_.get().body().data = piece_.data();
      parser_.get().body().size = piece_.size();
      if (!whole_call_) arm();
      http::async_read_some(stream_, buffer_, parser_,
                            [this](error_code error, size_t) { outcome_ = error; });
      run();
      if (outcome_ == http::error::need_buffer) outcome_ = {};
      TIDE_TRY(check("read from"));
      size_t got = piece_.size() - parser_.get().body().size;
      if (got > 0) return std::string_view(piece_.data(), got);
    }
    return std::string_view();
  }

  HttpReply head() {
    HttpReply reply;
    reply.status = parser_.get().result_int();
    for (const auto& field : parser_.get()) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      reply.headers[name] = std::string(field.value());
    }
    return reply;
  }

  /// From here on the deadline is set anew for each piece.
  void time_pieces() { whole_call_ = false; }

 private:
  void arm() {
    if (whole_call_) {
      stream_.expires_at(deadline_);
    } else {
      stream_.expires_after(call_.timeout);
    }
  }
  void run() {
    io_.restart();
    io_.run();
  }
  Status check(const char* what) {
    if (!outcome_) return {};
    if (outcome_ == beast::error::timeout) {
      return {Code::kUnavailable, fmt::format("{} {}: no answer within {} ms", what,
                                              call_.unix_socket, call_.timeout.count())};
    }
    return {Code::kUnavailable,
            fmt::format("{} {}: {}", what, call_.unix_socket, outcome_.message())};
  }

  const HttpCall& call_;
  std::chrono::steady_clock::time_point deadline_ =
      std::chrono::steady_clock::now() + call_.timeout;
  bool whole_call_ = true;
  asio::io_context io_{1};
  beast::basic_stream<asio::local::stream_protocol> stream_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::array<char, 64 * 1024> piece_;
  error_code outcome_;
};

Result<HttpReply> run_call(const HttpCall& request,
                           const std::function<Status(std::string_view)>* take) {
  auto call = std::make_unique<Call>(request);
  TIDE_TRY(call->connect());
  TIDE_TRY(call->send());
  TIDE_TRY(call->read_head());
  HttpReply reply = call->head();
  bool streamed = take != nullptr && reply.status >= 200 && reply.status < 300;
  if (streamed) call->time_pieces();
  while (true) {
    std::string_view piece = TIDE_TRY(call->read_piece());
    if (piece.empty()) return reply;
    if (streamed) {
      TIDE_TRY((*take)(piece));
    } else {
      reply.body += piece;
    }
  }
}

}  // namespace

Result<HttpReply> http_call(const HttpCall& call) { return run_call(call, nullptr); }

Result<HttpReply> http_call_stream(const HttpCall& call,
                                   const std::function<Status(std::string_view)>& take) {
  return run_call(call, &take);
}

class HttpStream::Impl {
 public:
  explicit Impl(HttpCall request) : request_(std::move(request)), call_(request_) {}

  Status open() {
    TIDE_TRY(call_.connect());
    TIDE_TRY(call_.send());
    TIDE_TRY(call_.read_head());
    int status = call_.head().status;
    if (status >= 200 && status < 300) {
      call_.time_pieces();
      return {};
    }
    std::string body;
    while (true) {
      std::string_view piece = TIDE_TRY(call_.read_piece());
      if (piece.empty()) return status_from_reply(status, body);
      body += piece;
    }
  }

  Result<size_t> read(std::span<std::byte> into) {
    if (left_.empty()) left_ = TIDE_TRY(call_.read_piece());
    size_t taken = std::min(left_.size(), into.size());
    std::memcpy(into.data(), left_.data(), taken);
    left_.remove_prefix(taken);
    return taken;
  }

 private:
  const HttpCall request_;
  Call call_;
  std::string_view left_;  // of the last piece
};

HttpStream::HttpStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpStream::~HttpStream() = default;

Result<std::unique_ptr<HttpStream>> HttpStream::open(HttpCall call) {
  auto impl = std::make_unique<Impl>(std::move(call));
  TIDE_TRY(impl->open());
  return std::unique_ptr<HttpStream>(new HttpStream(std::move(impl)));
}

Result<size_t> HttpStream::read(std::span<std::byte> into) { return impl_->read(into); }

}  // namespace tide::net

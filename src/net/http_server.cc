#include "net/http_server.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "net/api_error.h"

namespace tide::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using unix_stream = asio::local::stream_protocol;
using any_stream = asio::generic::stream_protocol;

namespace {

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> segments;
  size_t begin = 0;
  while (begin < path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string_view::npos) end = path.size();
    if (end > begin) segments.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return segments;
}

bool is_parameter(const std::string& segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

void parse_query(std::string_view text, std::map<std::string, std::string>& query) {
  while (!text.empty()) {
    size_t end = text.find('&');
    std::string_view pair = text.substr(0, end);
    size_t equals = pair.find('=');
    std::string name = decode_uri_component(pair.substr(0, equals));
    std::string value =
        equals == std::string_view::npos ? "" : decode_uri_component(pair.substr(equals + 1));
    if (!name.empty()) query[name] = value;
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
}

/// A fixed number of threads and a bounded queue of jobs.
class HandlerPool {
 public:
  HandlerPool(const std::string& name, int threads, size_t queue_limit)
      : queue_limit_(queue_limit) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, name] {
        pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
        run();
      });
    }
  }

  /// False if the queue is full or the pool closed.
  bool submit(std::function<void()> job) {
    std::lock_guard lock(mutex_);
    if (closed_ || jobs_.size() >= queue_limit_) return false;
    jobs_.push_back(std::move(job));
    wake_.notify_one();
    return true;
  }

  bool wait_idle(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    return idle_.wait_for(lock, limit, [this] { return jobs_.empty() && running_ == 0; });
  }

  void close_and_join() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      wake_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      ++running_;
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
      --running_;
      if (jobs_.empty() && running_ == 0) idle_.notify_all();
    }
  }

  const size_t queue_limit_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<std::function<void()>> jobs_;
  size_t running_ = 0;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

void HttpRouter::add(std::string method, const std::string& pattern, HttpHandler handler) {
  routes_.push_back({std::move(method), split_path(pattern), std::move(handler)});
}

HttpResponse HttpRouter::dispatch(HttpRequest& request) const {
  std::vector<std::string> segments = split_path(request.path);
  std::string allowed;
  std::string method = request.method == "HEAD" ? "GET" : request.method;
  for (const Route& route : routes_) {
    if (route.segments.size() != segments.size()) continue;
    std::map<std::string, std::string> params;
    bool fits = true;
    for (size_t i = 0; i < segments.size() && fits; ++i) {
      const std::string& wanted = route.segments[i];
      if (is_parameter(wanted)) {
        params[wanted.substr(1, wanted.size() - 2)] = decode_uri_component(segments[i]);
      } else {
        fits = wanted == segments[i];
      }
    }
    if (!fits) continue;
    if (route.method != method) {
      if (!allowed.empty()) allowed += ", ";
      allowed += route.method;
      continue;
    }
    request.params = std::move(params);
    return route.handler(request);
  }
  if (!allowed.empty()) {
    HttpResponse response = error_response(
        Status(Code::kInvalid, fmt::format("{} does not take {}", request.path, request.method))
            .with_hint(fmt::format("Allowed: {}.", allowed)));
    response.status = 405;
    response.headers.emplace_back("Allow", allowed);
    return response;
  }
  return error_response({Code::kNotFound, fmt::format("no such path {}", request.path)});
}

class HttpServer::Impl : public std::enable_shared_from_this<HttpServer::Impl> {
 public:
  Impl(HttpServerOptions options, HttpRouter router)
      : options_(std::move(options)),
        router_(std::move(router)),
        pool_(options_.name + "-pool", std::max(1, options_.threads), options_.queue_limit) {}

  Status listen();
  void run();
  void stop(std::chrono::milliseconds grace);
  int port() const { return port_; }

 private:
  class Session;
  class ChunkWriter;

  template <typename Acceptor>
  void accept_on(Acceptor& acceptor, bool is_unix);
  void close_acceptors();

  const HttpServerOptions options_;
  const HttpRouter router_;
  std::set<Session*> sessions_;  // touched on the I/O thread only; outlives what io_ still holds
  asio::io_context io_{1};
  tcp::acceptor tcp_acceptor_{io_};
  unix_stream::acceptor unix_acceptor_{io_};
  asio::steady_timer accept_pause_{io_};
  std::atomic<bool> stopping_{false};
  std::mutex stop_mutex_;
  bool stopped_ = false;
  int port_ = -1;
  std::thread io_thread_;
  HandlerPool pool_;
};

/// One connection. Everything but the handler runs on the I/O thread, so nothing here needs a lock.
class HttpServer::Impl::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Impl& server, any_stream::socket socket, bool is_unix)
      : server_(server), stream_(std::move(socket)), is_unix_(is_unix) {
    server_.sessions_.insert(this);
  }
  ~Session() { server_.sessions_.erase(this); }

  void read() {
    if (server_.stopping_) return close();
    reading_ = true;
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(server_.options_.header_bytes_max));
    parser_->body_limit(server_.options_.body_bytes_max);
    stream_.expires_after(server_.options_.idle_timeout);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, size_t) { self->on_head(error); });
  }

  void close() {
    error_code ignored;
    stream_.socket().shutdown(any_stream::socket::shutdown_both, ignored);
    stream_.socket().close(ignored);
  }

  bool is_reading() const { return reading_; }

 private:
  friend class ChunkWriter;

  void on_head(error_code error) {
    if (error) return on_read_error(error);
    if (beast::iequals(parser_->get()[http::field::expect], "100-continue")) {
      // Refuse what is too large before it is sent.
      auto length = parser_->content_length();
      if (length && *length > server_.options_.body_bytes_max)
        return on_read_error(http::error::body_limit);
      auto go_on = std::make_shared<http::response<http::empty_body>>(http::status::continue_, 11);
      http::async_write(stream_, *go_on,
                        [self = shared_from_this(), go_on](error_code failed, size_t) {
                          if (failed) return self->close();
                          self->read_body();
                        });
      return;
    }
    read_body();
  }

  void read_body() {
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, size_t) { self->on_request(error); });
  }

  void on_read_error(error_code error) {
    reading_ = false;
    int status = 0;
    std::string message;
    if (error == http::error::body_limit) {
      status = 413;
      message = fmt::format("the body is larger than {} bytes", server_.options_.body_bytes_max);
    } else if (error == http::error::header_limit) {
      status = 431;
      message = fmt::format("the head is larger than {} bytes", server_.options_.header_bytes_max);
    } else if (error.category() == make_error_code(http::error::bad_method).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      status = 400;
      message = fmt::format("malformed request: {}", error.message());
    }
    if (status == 0) return close();
    keep_alive_ = false;
    HttpResponse response = error_response({Code::kInvalid, message});
    response.status = status;
    send(std::move(response));
  }

  void on_request(error_code error) {
    if (error) return on_read_error(error);
    reading_ = false;
    auto message = parser_->release();
    keep_alive_ = message.keep_alive() && !server_.stopping_;
    version_ = message.version();
    head_only_ = message.method() == http::verb::head;
    auto request = std::make_shared<HttpRequest>();
    request->method = std::string(message.method_string());
    request->target = std::string(message.target());
    size_t question = request->target.find('?');
    request->path = request->target.substr(0, question);
    if (question != std::string::npos) {
      parse_query(std::string_view(request->target).substr(question + 1), request->query);
    }
    for (const auto& field : message) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      request->headers[name] = std::string(field.value());
    }
    request->body = std::move(message.body());
    request->over_unix_socket = is_unix_;
    // A handler takes its own time: the deadline is for the client's part only.
    stream_.expires_never();
    bool taken = server_.pool_.submit([self = shared_from_this(), request]() mutable {
      self->handle(std::move(request));
      // The session ends on the I/O thread.
      asio::io_context& io = self->server_.io_;
      asio::post(io, [last = std::move(self)] {});
    });
    if (!taken) {
      send(error_response(Status(Code::kRetry, "the server is busy")
                              .with_detail(fmt::format("{} requests are waiting already.",
                                                       server_.options_.queue_limit))));
    }
  }

  /// On a pool thread.
  void handle(std::shared_ptr<HttpRequest> request);

  void send(HttpResponse answer) {
    auto response = std::make_shared<http::response<http::string_body>>();
    fill_head(*response, answer);
    response->body() = std::move(answer.body);
    response->prepare_payload();
    if (head_only_) response->body().clear();  // Content-Length stays what GET would have had.
    stream_.expires_after(server_.options_.write_timeout);
    http::async_write(stream_, *response,
                      [self = shared_from_this(), response](error_code error, size_t) {
                        if (error || !self->keep_alive_) return self->close();
                        self->read();
                      });
  }

  template <typename Response>
  void fill_head(Response& response, const HttpResponse& answer) {
    response.result(static_cast<unsigned>(answer.status));
    response.version(version_);
    response.set(http::field::server, "tidewater");
    if (!answer.content_type.empty()) response.set(http::field::content_type, answer.content_type);
    for (const auto& [name, value] : answer.headers) response.set(name, value);
    response.keep_alive(keep_alive_);
  }

  Impl& server_;
  beast::basic_stream<any_stream> stream_;
  const bool is_unix_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  bool reading_ = false;
  bool keep_alive_ = false;
  bool head_only_ = false;
  unsigned version_ = 11;
};

/// Hands pieces from a pool thread to the I/O thread and waits until each is written.
class HttpServer::Impl::ChunkWriter : public HttpBodyWriter {
 public:
  explicit ChunkWriter(std::shared_ptr<Session> session) : session_(std::move(session)) {}

  Status write_head(const HttpResponse& answer) {
    chunked_ = session_->version_ >= 11;
    if (!chunked_) session_->keep_alive_ = false;
    response_.emplace();
    session_->fill_head(*response_, answer);
    response_->chunked(chunked_);
    serializer_.emplace(*response_);
    return on_io_thread(
        [this](auto done) { http::async_write_header(session_->stream_, *serializer_, done); });
  }

  Status write(std::string_view bytes) override {
    if (bytes.empty()) return {};
    if (session_->head_only_) return {};
    if (!chunked_) {
      return on_io_thread([this, bytes](auto done) {
        asio::async_write(session_->stream_, asio::buffer(bytes.data(), bytes.size()), done);
      });
    }
    return on_io_thread([this, bytes](auto done) {
      asio::async_write(session_->stream_,
                        http::make_chunk(asio::buffer(bytes.data(), bytes.size())), done);
    });
  }

  Status finish() {
    if (!chunked_ || session_->head_only_) return {};
    return on_io_thread(
        [this](auto done) { asio::async_write(session_->stream_, http::make_chunk_last(), done); });
  }

  bool stopping() const override { return session_->server_.stopping_; }

 private:
  template <typename Start>
  Status on_io_thread(Start start) {
    std::mutex mutex;
    std::condition_variable finished;
    bool done = false;
    error_code outcome;
    asio::post(session_->server_.io_, [&] {
      session_->stream_.expires_after(session_->server_.options_.write_timeout);
      start([&](error_code error, size_t) {
        std::lock_guard lock(mutex);
        outcome = error;
        done = true;
        finished.notify_one();
      });
    });
    std::unique_lock lock(mutex);
    finished.wait(lock, [&] { return done; });
    if (!outcome) return {};
    return {Code::kUnavailable, fmt::format("the client is gone: {}", outcome.message())};
  }

  std::shared_ptr<Session> session_;
  bool chunked_ = true;
  std::optional<http::response<http::empty_body>> response_;
  std::optional<http::response_serializer<http::empty_body>> serializer_;
};

void HttpServer::Impl::Session::handle(std::shared_ptr<HttpRequest> request) {
  HttpResponse answer;
  std::optional<HttpResponse> refused;
  if (server_.options_.admit) refused = server_.options_.admit(*request);
  answer = refused ? std::move(*refused) : server_.router_.dispatch(*request);
  request.reset();
  if (!answer.stream) {
    asio::post(server_.io_, [self = shared_from_this(), answer = std::move(answer)]() mutable {
      self->send(std::move(answer));
    });
    return;
  }
  ChunkWriter writer(shared_from_this());
  Status written = writer.write_head(answer);
  if (written.ok() && !head_only_) written = answer.stream(writer);
  if (written.ok()) written = writer.finish();
  bool complete = written.ok();
  asio::post(server_.io_, [self = shared_from_this(), complete] {
    if (!complete || !self->keep_alive_) return self->close();
    self->read();
  });
}

template <typename Acceptor>
void HttpServer::Impl::accept_on(Acceptor& acceptor, bool is_unix) {
  acceptor.async_accept([this, &acceptor, is_unix](error_code error, auto socket) {
    if (stopping_ || !acceptor.is_open()) return;
    if (error) {
      // Out of descriptors: wait for some to come back instead of spinning.
      accept_pause_.expires_after(std::chrono::milliseconds(50));
      accept_pause_.async_wait([this, &acceptor, is_unix](error_code cancelled) {
        if (!cancelled) accept_on(acceptor, is_unix);
      });
      return;
    }
    if (sessions_.size() < options_.connection_limit) {
      if constexpr (std::is_same_v<decltype(socket), tcp::socket>) {
        error_code ignored;
        socket.set_option(tcp::no_delay(true), ignored);
      }
      std::make_shared<Session>(*this, any_stream::socket(std::move(socket)), is_unix)->read();
    }
    accept_on(acceptor, is_unix);
  });
}

namespace {
/// True if somebody accepts connections on the Unix socket.
bool answers(const std::string& path) {
  asio::io_context io;
  unix_stream::socket probe(io);
  error_code error;
  probe.connect(unix_stream::endpoint(path), error);
  return !error;
}
}  // namespace

Status HttpServer::Impl::listen() {
  error_code error;
  if (!options_.unix_socket.empty()) {
    const std::string& path = options_.unix_socket;
    if (path.size() > 107) {
      return {Code::kInvalid, fmt::format("socket path {} is longer than 107 bytes", path)};
    }
    if (::access(path.c_str(), F_OK) == 0 && answers(path)) {
      return {Code::kExists, fmt::format("another server listens on {}", path)};
    }
    ::unlink(path.c_str());
    unix_acceptor_.open(unix_stream(), error);
    // Nobody may connect between bind and chmod.
    mode_t previous = ::umask(0177);
    if (!error) unix_acceptor_.bind(unix_stream::endpoint(path), error);
    ::umask(previous);
    if (error) return Status::from_errno(error.value(), fmt::format("listen on {}", path));
    if (::chmod(path.c_str(), options_.unix_socket_mode) != 0) {
      return Status::from_errno(errno, fmt::format("chmod {}", path));
    }
    unix_acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return Status::from_errno(error.value(), fmt::format("listen on {}", path));
  }
  if (options_.port >= 0) {
    auto address = asio::ip::make_address(options_.host, error);
    if (error) return {Code::kInvalid, fmt::format("{} is not an address", options_.host)};
    tcp::endpoint endpoint(address, static_cast<unsigned short>(options_.port));
    tcp_acceptor_.open(endpoint.protocol(), error);
    if (!error) tcp_acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) tcp_acceptor_.bind(endpoint, error);
    if (!error) tcp_acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error == asio::error::address_in_use) {
      return {Code::kExists, fmt::format("port {} on {} is in use", options_.port, options_.host)};
    }
    if (error) {
      return Status::from_errno(error.value(),
                                fmt::format("listen on {} port {}", options_.host, options_.port));
    }
    port_ = tcp_acceptor_.local_endpoint().port();
  }
  return {};
}

void HttpServer::Impl::run() {
  if (unix_acceptor_.is_open()) accept_on(unix_acceptor_, true);
  if (tcp_acceptor_.is_open()) accept_on(tcp_acceptor_, false);
  io_thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), (options_.name + "-io").substr(0, 15).c_str());
    auto keep_running = asio::make_work_guard(io_);
    io_.run();
  });
}

void HttpServer::Impl::close_acceptors() {
  error_code ignored;
  if (unix_acceptor_.is_open()) {
    unix_acceptor_.close(ignored);
    ::unlink(options_.unix_socket.c_str());
  }
  tcp_acceptor_.close(ignored);
  accept_pause_.cancel();
}

void HttpServer::Impl::stop(std::chrono::milliseconds grace) {
  std::lock_guard lock(stop_mutex_);
  if (stopped_) return;
  stopped_ = true;
  stopping_ = true;
  if (!io_thread_.joinable()) {  // never ran
    pool_.close_and_join();
    close_acceptors();
    return;
  }
  asio::post(io_, [this] {
    close_acceptors();
    for (Session* session : sessions_) {
      if (session->is_reading()) session->close();
    }
  });
  if (!pool_.wait_idle(grace)) {
    asio::post(io_, [this] {
      for (Session* session : sessions_) session->close();
    });
  }
  pool_.close_and_join();
  // The last answers are on their way; give them a moment, then end.
  auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  while (std::chrono::steady_clock::now() < until) {
    std::mutex mutex;
    std::condition_variable known;
    std::optional<size_t> open;
    asio::post(io_, [&] {
      std::lock_guard guard(mutex);
      open = sessions_.size();
      known.notify_one();
    });
    std::unique_lock guard(mutex);
    known.wait(guard, [&] { return open.has_value(); });
    if (*open == 0) break;
    guard.unlock();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  asio::post(io_, [this] {
    for (Session* session : sessions_) session->close();
    // Behind the handlers that the closing has queued.
    asio::post(io_, [this] { io_.stop(); });
  });
  io_thread_.join();
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() { stop(std::chrono::milliseconds(1000)); }

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options,
                                                      HttpRouter router) {
  auto impl = std::make_shared<Impl>(std::move(options), std::move(router));
  std::unique_ptr<HttpServer> server(new HttpServer(impl));
  TIDE_TRY(impl->listen());
  impl->run();
  return server;
}

int HttpServer::port() const { return impl_->port(); }

void HttpServer::stop(std::chrono::milliseconds grace) { impl_->stop(grace); }

}  // namespace tide::net

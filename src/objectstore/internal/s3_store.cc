#include "objectstore/internal/s3_store.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "base/crc32c.h"
#include "env/file.h"
#include "objectstore/internal/s3_xml.h"
#include "objectstore/internal/sigv4.h"

namespace tide::objectstore::internal {
namespace {

constexpr size_t kIdleHandlesMax = 16;
constexpr size_t kErrorBodyBytesMax = size_t{64} << 10;
constexpr size_t kCopyBytes = size_t{256} << 10;
constexpr char kCrcHeader[] = "x-amz-meta-tide-crc32c";

/// The bytes of a request: in memory, or a range of an open file.
class Body {
 public:
  Body() = default;
  explicit Body(BytesView bytes) : bytes_(bytes), size_(bytes.size()) {}
  Body(int fd, uint64_t offset, uint64_t size) : fd_(fd), offset_(offset), size_(size) {}

  uint64_t size() const { return size_; }
  /// Fills `to` from `position`; fewer bytes only at the end.
  Result<size_t> read(uint64_t position, std::span<std::byte> to) const {
    size_t wanted = static_cast<size_t>(std::min<uint64_t>(to.size(), size_ - position));
    if (fd_ < 0) {
      std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(position), wanted, to.begin());
      return wanted;
    }
    size_t done = 0;
    while (done < wanted) {
      ssize_t got = ::pread(fd_, to.data() + done, wanted - done,
                            static_cast<off_t>(offset_ + position + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Status::from_errno(errno, "read file to upload");
      if (got == 0) return Status(Code::kIo, "file to upload became shorter");
      done += static_cast<size_t>(got);
    }
    return done;
  }

 private:
  int fd_ = -1;
  BytesView bytes_;
  uint64_t offset_ = 0;
  uint64_t size_ = 0;
};

struct Digests {
  std::string sha256_hex;
  uint32_t crc = 0;
};

Result<Digests> digest(const Body& body) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    return Status(Code::kBug, "OpenSSL has no SHA-256");
  }
  uint32_t crc = kCrc32cInit;
  Bytes buffer(static_cast<size_t>(std::min<uint64_t>(kCopyBytes, body.size())));
  for (uint64_t position = 0; position < body.size();) {
    size_t got = TIDE_TRY(body.read(position, buffer));
    BytesView part = BytesView(buffer).first(got);
    EVP_DigestUpdate(context.get(), part.data(), part.size());
    crc = crc32c_extend(crc, part);
    position += got;
  }
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), raw, &size);
  Digests digests;
  for (unsigned int i = 0; i < size; ++i) digests.sha256_hex += fmt::format("{:02x}", raw[i]);
  digests.crc = crc32c_finish(crc);
  return digests;
}

/// Where the bytes of a good answer go. A new attempt begins with `restart`.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual Status restart() = 0;
  virtual Status take(BytesView bytes) = 0;
};

class StringSink final : public Sink {
 public:
  Status restart() override {
    content.clear();
    return {};
  }
  Status take(BytesView bytes) override {
    content.append(as_chars(bytes));
    return {};
  }
  std::string content;
};

class FileSink final : public Sink {
 public:
  FileSink(int fd, const std::string& path) : fd_(fd), path_(path) {}
  Status restart() override {
    crc_ = kCrc32cInit;
    if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) {
      return Status::from_errno(errno, fmt::format("truncate {}", path_));
    }
    return {};
  }
  Status take(BytesView bytes) override {
    crc_ = crc32c_extend(crc_, bytes);
    return env::write_all(fd_, bytes).with_context(path_);
  }
  uint32_t crc() const { return crc32c_finish(crc_); }

 private:
  int fd_;
  const std::string& path_;
  uint32_t crc_ = kCrc32cInit;
};

struct Request {
  std::string method;
  std::string key;  ///< With the store's prefix; empty for the bucket itself.
  std::vector<std::pair<std::string, std::string>> query;
  std::vector<std::pair<std::string, std::string>> headers;  ///< Lower-case names; signed too.
  Body body;
  std::optional<Digests> digests;  ///< Of the body, if already known.
  Sink* sink = nullptr;            ///< For the body of a 2xx answer; null: dropped.
  /// For requests whose repetition answers differently: on a reused connection libcurl repeats a
  /// request by itself, unseen by us, when the server closes before it answers.
  bool fresh_connection = false;
};

struct Response {
  long status = 0;
  std::map<std::string, std::string> headers;  ///< Names in lower case.
  S3Error error;
  int attempts = 0;
  /// True if an earlier attempt may have been carried out although no answer came back.
  bool maybe_done_before = false;
};

/// One transfer's state, reached from libcurl's callbacks.
struct Transfer {
  CURL* curl = nullptr;
  const Request* request = nullptr;
  Response response;
  uint64_t sent = 0;
  uint64_t received = 0;
  std::string error_body;
  Status local_error;  ///< Failure on our side (file to read or write); never retried.
};

size_t on_read(char* to, size_t size, size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  Result<size_t> got =
      transfer.request->body.read(transfer.sent, {reinterpret_cast<std::byte*>(to), size * count});
  if (!got.ok()) {
    transfer.local_error = std::move(got).status();
    return CURL_READFUNC_ABORT;
  }
  transfer.sent += *got;
  return *got;
}

int on_seek(void* data, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Transfer*>(data)->sent = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

size_t on_write(char* from, size_t size, size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  size_t bytes = size * count;
  long status = 0;
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &status);
  transfer.received += bytes;
  if (status / 100 != 2) {
    transfer.error_body.append(
        from, std::min(bytes, kErrorBodyBytesMax -
                                  std::min(kErrorBodyBytesMax, transfer.error_body.size())));
    return bytes;
  }
  if (transfer.request->sink == nullptr) return bytes;
  Status taken = transfer.request->sink->take(as_bytes({from, bytes}));
  if (!taken.ok()) {
    transfer.local_error = std::move(taken);
    return 0;
  }
  return bytes;
}

size_t on_header(char* from, size_t size, size_t count, void* data) {
  auto& transfer = *static_cast<Transfer*>(data);
  std::string_view line(from, size * count);
  if (line.starts_with("HTTP/")) transfer.response.headers.clear();
  if (size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string name(line.substr(0, colon));
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.front())))
      value.remove_prefix(1);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())))
      value.remove_suffix(1);
    transfer.response.headers[name] = value;
  }
  return size * count;
}

/// Errors of the way to the server, not of the request: worth another attempt.
bool is_transient(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

bool is_transient(long status, const std::string& error_code) {
  return status == 500 || status == 502 || status == 503 || status == 504 || status == 429 ||
         status == 408 || error_code == "SlowDown" || error_code == "RequestTimeout" ||
         error_code == "ConditionalRequestConflict" || error_code == "OperationAborted";
}

std::string utc_timestamp() {
  std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class S3Store final : public ObjectStore {
 public:
  S3Store(const StoreUrl& url, const Options& options)
      : options_(options),
        bucket_(url.bucket),
        prefix_(url.prefix.empty() ? "" : url.prefix + "/"),
        endpoint_(url.endpoint),
        region_(url.region),
        conditional_put_(url.conditional_put) {
    // The Host header, as libcurl will send it: the port only where it is not the scheme's own.
    host_ = endpoint_.substr(endpoint_.find("://") + 3);
    base_path_ = "";
    if (size_t slash = host_.find('/'); slash != std::string::npos) {
      base_path_ = host_.substr(slash);
      host_.resize(slash);
    }
    std::string_view own = endpoint_.starts_with("https:") ? ":443" : ":80";
    host_and_port_ = host_;
    if (host_.ends_with(own)) host_.resize(host_.size() - own.size());
  }

  ~S3Store() override {
    for (CURL* handle : idle_) curl_easy_cleanup(handle);
  }

  /// Asks for a page of one key: shows at once an unreachable host, bad credentials, no such
  /// bucket.
  Status check_bucket_answers() {
    Request request{.method = "GET", .query = {{"list-type", "2"}, {"max-keys", "1"}}};
    if (!prefix_.empty()) request.query.emplace_back("prefix", prefix_);
    StringSink sink;
    request.sink = &sink;
    Response response = TIDE_TRY(perform(request));
    if (response.status != 200) return error_of(request, response);
    return parse_list_page(sink.content).ok()
               ? Status()
               : Status(Code::kInvalid,
                        fmt::format("{} does not answer like an S3 server", endpoint_))
                     .with_hint("Check the endpoint in the URL or in AWS_ENDPOINT_URL.");
  }

  Status put(const std::string& key, BytesView bytes) override {
    TIDE_TRY(check_key(key));
    Response response = TIDE_TRY(put_body(key, Body(bytes), false));
    (void)response;
    return {};
  }

  Status put_file(const std::string& key, const std::string& path) override {
    TIDE_TRY(check_key(key));
    env::FileDescriptor file = TIDE_TRY(env::open_file(path, O_RDONLY));
    struct stat info {};
    if (::fstat(file.get(), &info) != 0)
      return Status::from_errno(errno, fmt::format("stat {}", path));
    auto size = static_cast<uint64_t>(info.st_size);
    if (size > options_.multipart_threshold_bytes) return put_in_parts(key, file.get(), size);
    Response response = TIDE_TRY(put_body(key, Body(file.get(), 0, size), false));
    (void)response;
    return {};
  }

  Result<bool> put_if_absent(const std::string& key, BytesView bytes) override {
    TIDE_TRY(check_key(key));
    if (!conditional_put_) {
      std::optional<uint64_t> size = TIDE_TRY(head(key));
      if (size) return false;
      TIDE_TRY(put(key, bytes));
      return true;
    }
    TIDE_TRY(check_conditional_put());
    Response response = TIDE_TRY(put_body(key, Body(bytes), true));
    if (response.status != 412) return true;
    if (!response.maybe_done_before) return false;
    // Our own first attempt may have written it before its answer was lost.
    std::string present = TIDE_TRY(get(key));
    return present == as_chars(bytes);
  }

  Result<std::string> get(const std::string& key) override {
    TIDE_TRY(check_key(key));
    StringSink sink;
    Request request{.method = "GET", .key = prefix_ + key, .sink = &sink};
    Response response = TIDE_TRY(perform(request));
    if (response.status != 200) return error_of(request, response);
    TIDE_TRY(check_crc(key, response, crc32c(as_bytes(sink.content))));
    return std::move(sink.content);
  }

  Status get_to_file(const std::string& key, const std::string& path) override {
    TIDE_TRY(check_key(key));
    std::string temporary = fmt::format("{}.tide-{:016x}-{}", path, tag_, ++temporary_count_);
    Status fetched = [&]() -> Status {
      env::FileDescriptor file = TIDE_TRY(env::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
      FileSink sink(file.get(), temporary);
      Request request{.method = "GET", .key = prefix_ + key, .sink = &sink};
      Response response = TIDE_TRY(perform(request));
      if (response.status != 200) return error_of(request, response);
      TIDE_TRY(check_crc(key, response, sink.crc()));
      TIDE_TRY(env::sync_data(file.get(), temporary));
      if (::rename(temporary.c_str(), path.c_str()) != 0) {
        return Status::from_errno(errno, fmt::format("rename {} to {}", temporary, path));
      }
      return {};
    }();
    if (!fetched.ok()) {
      env::remove_file(temporary).ignore("the first error is the one to report");
      return fetched;
    }
    size_t slash = path.rfind('/');
    return env::sync_directory(slash == std::string::npos ? "."
                               : slash == 0               ? "/"
                                                          : path.substr(0, slash));
  }

  Result<std::string> get_range(const std::string& key, uint64_t offset, uint64_t size) override {
    TIDE_TRY(check_key(key));
    if (size == 0) {
      std::optional<uint64_t> total = TIDE_TRY(head(key));
      if (!total) return no_object(key);
      if (offset > *total)
        return Status(Code::kOutOfRange, fmt::format("object {} ends before {}", key, offset));
      return std::string();
    }
    StringSink sink;
    Request request{.method = "GET",
                    .key = prefix_ + key,
                    .headers = {{"range", fmt::format("bytes={}-{}", offset, offset + size - 1)}},
                    .sink = &sink};
    Response response = TIDE_TRY(perform(request));
    if (response.status == 416) {
      return Status(Code::kOutOfRange, fmt::format("object {} ends before {}", key, offset));
    }
    if (response.status == 200) {
      // A server that knows no ranges sends the whole object.
      if (offset >= sink.content.size()) {
        return Status(Code::kOutOfRange, fmt::format("object {} ends before {}", key, offset));
      }
      return sink.content.substr(offset, size);
    }
    if (response.status != 206) return error_of(request, response);
    if (!response.headers["content-range"].starts_with(fmt::format("bytes {}-", offset)) ||
        sink.content.size() > size) {
      return Status(Code::kCorrupt,
                    fmt::format("get {}: the server sent another range than bytes {}+{}: {}", key,
                                offset, size, response.headers["content-range"]));
    }
    return std::move(sink.content);
  }

  Result<std::optional<uint64_t>> head(const std::string& key) override {
    TIDE_TRY(check_key(key));
    Request request{.method = "HEAD", .key = prefix_ + key};
    Response response = TIDE_TRY(perform(request));
    if (response.status == 404) return std::optional<uint64_t>();
    if (response.status != 200) return error_of(request, response);
    const std::string& length = response.headers["content-length"];
    uint64_t size = 0;
    auto [stop, error] = std::from_chars(length.data(), length.data() + length.size(), size);
    if (length.empty() || error != std::errc() || stop != length.data() + length.size()) {
      return Status(Code::kCorrupt, fmt::format("head {}: no content-length in the answer", key));
    }
    return std::optional<uint64_t>(size);
  }

  Result<std::vector<ObjectInfo>> list(const std::string& prefix) override {
    std::vector<ObjectInfo> objects;
    std::optional<std::string> token;
    do {
      StringSink sink;
      Request request{
          .method = "GET",
          .query = {{"list-type", "2"}, {"encoding-type", "url"}, {"prefix", prefix_ + prefix}},
          .sink = &sink};
      if (token) request.query.emplace_back("continuation-token", *token);
      Response response = TIDE_TRY(perform(request));
      if (response.status != 200) return error_of(request, response);
      Result<ListPage> page = parse_list_page(sink.content);
      if (!page.ok()) return std::move(page).status().with_context(fmt::format("list {}", prefix));
      if (page->next_token && token == page->next_token) {
        return Status(Code::kCorrupt, fmt::format("list {}: the server repeats a page", prefix));
      }
      for (ObjectInfo& object : page->objects) {
        if (!object.key.starts_with(prefix_)) {
          return Status(Code::kCorrupt,
                        fmt::format("list {}: got key {} from outside", prefix, object.key));
        }
        object.key.erase(0, prefix_.size());
        // Some consoles leave empty "directory" objects; they are none of ours.
        if (!object.key.empty() && object.key.back() != '/') objects.push_back(std::move(object));
      }
      token = page->next_token;
    } while (token);
    std::sort(objects.begin(), objects.end(),
              [](const ObjectInfo& a, const ObjectInfo& b) { return a.key < b.key; });
    return objects;
  }

  Status remove(const std::string& key) override {
    TIDE_TRY(check_key(key));
    Request request{.method = "DELETE", .key = prefix_ + key};
    Response response = TIDE_TRY(perform(request));
    if (response.status / 100 == 2) return {};
    if (response.status == 404 && response.error.code != "NoSuchBucket") return {};
    return error_of(request, response);
  }

  ObjectStoreStats stats() const override {
    return {
        .requests = requests_, .retries = retries_, .bytes_out = bytes_out_, .bytes_in = bytes_in_};
  }

  std::string describe() const override {
    return fmt::format("s3://{}/{} at {}", bucket_, prefix_, endpoint_);
  }

 private:
  Status no_object(const std::string& key) const {
    return Status(Code::kNotFound, fmt::format("no object {}", key));
  }

  /// A PUT of one body; answers other than success and, for `only_new`, 412 become errors.
  Result<Response> put_body(const std::string& key, const Body& body, bool only_new) {
    Request request{.method = "PUT", .key = prefix_ + key, .body = body};
    request.digests = TIDE_TRY(digest(body));
    request.headers.emplace_back(kCrcHeader, fmt::format("{:08x}", request.digests->crc));
    if (only_new) request.headers.emplace_back("if-none-match", "*");
    request.fresh_connection = only_new;
    Response response = TIDE_TRY(perform(request));
    if (response.status / 100 != 2 && !(only_new && response.status == 412)) {
      return error_of(request, response);
    }
    return response;
  }

  Status put_in_parts(const std::string& key, int fd, uint64_t size) {
    Digests whole = TIDE_TRY(digest(Body(fd, 0, size)));
    StringSink begun;
    Request begin{.method = "POST",
                  .key = prefix_ + key,
                  .query = {{"uploads", ""}},
                  .headers = {{kCrcHeader, fmt::format("{:08x}", whole.crc)}},
                  .sink = &begun};
    Response response = TIDE_TRY(perform(begin));
    if (response.status != 200) return error_of(begin, response);
    std::string upload_id = TIDE_TRY(parse_element(begun.content, "UploadId"));
    Status uploaded = upload_parts(key, fd, size, upload_id);
    if (!uploaded.ok()) {
      Request abort{.method = "DELETE", .key = prefix_ + key, .query = {{"uploadId", upload_id}}};
      Result<Response> aborted = perform(abort);
      if (!aborted.ok()) {
        aborted.status().ignore("the bucket's life-cycle rule for unfinished uploads cleans up");
      }
    }
    return uploaded;
  }

  Status upload_parts(const std::string& key, int fd, uint64_t size, const std::string& upload_id) {
    // S3 takes at most 10,000 parts.
    uint64_t part_bytes = std::max(options_.part_bytes, (size + 9999) / 10000);
    std::string completion = "<CompleteMultipartUpload>";
    int number = 1;
    for (uint64_t offset = 0; offset < size; offset += part_bytes, ++number) {
      Request put{.method = "PUT",
                  .key = prefix_ + key,
                  .query = {{"partNumber", std::to_string(number)}, {"uploadId", upload_id}},
                  .body = Body(fd, offset, std::min(part_bytes, size - offset))};
      Response response = TIDE_TRY(perform(put));
      if (response.status != 200) return error_of(put, response);
      completion += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", number,
                                escape_text(response.headers["etag"]));
    }
    completion += "</CompleteMultipartUpload>";
    StringSink answer;
    Request complete{.method = "POST",
                     .key = prefix_ + key,
                     .query = {{"uploadId", upload_id}},
                     .headers = {{"content-type", "application/xml"}},
                     .body = Body(as_bytes(completion)),
                     .sink = &answer,
                     .fresh_connection = true};
    Response response = TIDE_TRY(perform(complete));
    if (response.status == 404 && response.maybe_done_before) {
      // The upload id is gone because an attempt whose answer was lost completed it.
      std::optional<uint64_t> present = TIDE_TRY(head(key));
      if (present == size) return {};
    }
    if (response.status != 200) return error_of(complete, response);
    // S3 may answer 200 and then report a failure in the body.
    if (S3Error error = parse_error(answer.content); !error.code.empty()) {
      response.error = error;
      response.status = 500;
      return error_of(complete, response);
    }
    return {};
  }

  /// Shows once per store that the server honours If-None-Match; one that ignores it would let two
  /// writers both believe they were first.
  Status check_conditional_put() {
    std::lock_guard lock(conditional_mutex_);
    if (conditional_put_checked_) return {};
    std::string key = fmt::format("tide-conditional-put-{:016x}", tag_);
    TIDE_TRY(put(key, as_bytes("1")));
    Result<Response> second = put_body(key, Body(as_bytes("2")), true);
    TIDE_TRY(remove(key));
    if (!second.ok()) {
      if (second.status().code() != Code::kInvalid) return std::move(second).status();
    } else if (second->status == 412) {
      conditional_put_checked_ = true;
      return {};
    }
    return Status(Code::kInvalid,
                  fmt::format("the S3 server at {} ignores If-None-Match", endpoint_))
        .with_detail("Two writers could both believe that they created the same object.")
        .with_hint(
            "Use a server with conditional writes (AWS S3, MinIO, Ceph 19 or newer), or, if only "
            "one "
            "machine ever writes, add conditional_put=off to the store's URL.");
  }

  Status check_crc(const std::string& key, const Response& response, uint32_t crc) const {
    auto stored = response.headers.find(kCrcHeader);
    // Objects that somebody else put there carry no checksum of ours.
    if (stored == response.headers.end()) return {};
    if (stored->second == fmt::format("{:08x}", crc)) return {};
    return Status(Code::kCorrupt, fmt::format("object {} has checksum {:08x}, was written with {}",
                                              key, crc, stored->second));
  }

  CURL* take_handle() {
    std::lock_guard lock(mutex_);
    if (idle_.empty()) return curl_easy_init();
    CURL* handle = idle_.back();
    idle_.pop_back();
    return handle;
  }

  void give_back(CURL* handle) {
    // Keeps the connection and the DNS cache, forgets all options.
    curl_easy_reset(handle);
    std::lock_guard lock(mutex_);
    if (idle_.size() < kIdleHandlesMax) {
      idle_.push_back(handle);
    } else {
      curl_easy_cleanup(handle);
    }
  }

  /// Full jitter over a doubling limit, so that many clients do not come back together.
  void wait_before_retry(int attempt) {
    double limit = options_.retry_wait_ms;
    for (int i = 1; i < attempt && limit < options_.retry_wait_ms_max; ++i) limit *= 2;
    limit = std::min<double>(limit, options_.retry_wait_ms_max);
    thread_local std::mt19937 random{std::random_device{}()};
    double wait = std::uniform_real_distribution<double>(limit / 4, limit)(random);
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(wait));
  }

  /// Sends the request until there is an answer worth having. Any HTTP answer that is not transient
  /// is a Response; kUnavailable after the last attempt.
  Result<Response> perform(Request& request) {
    if (!request.digests) request.digests = TIDE_TRY(digest(request.body));
    Status last;
    bool maybe_done = false;
    for (int attempt = 1;; ++attempt) {
      ++requests_;
      if (attempt > 1) ++retries_;
      Transfer transfer;
      transfer.request = &request;
      if (request.sink != nullptr) TIDE_TRY(request.sink->restart());
      CURLcode code = send(request, transfer);
      if (!transfer.local_error.ok()) return transfer.local_error;
      bytes_out_ += transfer.sent;
      bytes_in_ += transfer.received;
      transfer.response.attempts = attempt;
      transfer.response.maybe_done_before = maybe_done;
      if (code == CURLE_OK) {
        transfer.response.error = parse_error(transfer.error_body);
        if (!is_transient(transfer.response.status, transfer.response.error.code)) {
          return std::move(transfer.response);
        }
        last = error_of(request, transfer.response);
      } else if (is_transient(code)) {
        last = unreachable(code);
      } else {
        return Status(Code::kUnavailable,
                      fmt::format("request to {}: {}", host_and_port_, curl_easy_strerror(code)))
            .with_hint("Check the endpoint, its certificate and the network between.");
      }
      // Only a refused connection is certain not to have reached the server.
      if (code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST) maybe_done = true;
      if (attempt >= options_.attempts) return last;
      wait_before_retry(attempt);
    }
  }

  Status unreachable(CURLcode code) const {
    return Status(Code::kUnavailable, fmt::format("object store at {} does not answer: {}",
                                                  host_and_port_, curl_easy_strerror(code)))
        .with_detail(fmt::format("Tried {} times.", options_.attempts))
        .with_hint(
            "Check that the server runs and that the endpoint in the URL or in AWS_ENDPOINT_URL is "
            "right.");
  }

  CURLcode send(const Request& request, Transfer& transfer) {
    SigningInput signing;
    signing.method = request.method;
    signing.encoded_path = base_path_ + "/" + uri_encode(bucket_, false);
    if (!request.key.empty()) signing.encoded_path += "/" + uri_encode(request.key, true);
    signing.query = request.query;
    signing.headers = request.headers;
    signing.payload_hash = request.digests->sha256_hex;
    signing.timestamp = utc_timestamp();
    signing.region = region_;
    signing.headers.emplace_back("host", host_);
    signing.headers.emplace_back("x-amz-date", signing.timestamp);
    signing.headers.emplace_back("x-amz-content-sha256", signing.payload_hash);
    if (!options_.credentials.session_token.empty()) {
      signing.headers.emplace_back("x-amz-security-token", options_.credentials.session_token);
    }

    curl_slist* headers = nullptr;
    auto add = [&](const std::string& line) { headers = curl_slist_append(headers, line.c_str()); };
    for (const auto& [name, value] : signing.headers) add(name + ": " + value);
    if (!options_.credentials.access_key_id.empty()) {
      add("authorization: " + authorization(signing, options_.credentials));
    }
    // Waiting for 100-continue costs a round trip that no error is worth; chunked uploads are not
    // S3.
    add("expect:");
    if (request.method == "PUT" || request.method == "POST") {
      bool has_type =
          std::any_of(request.headers.begin(), request.headers.end(),
                      [](const auto& header) { return header.first == "content-type"; });
      if (!has_type) add("content-type: application/octet-stream");
    }

    std::string query = canonical_query(request.query);
    std::string scheme = endpoint_.substr(0, endpoint_.find("://") + 3);
    std::string url =
        scheme + host_and_port_ + signing.encoded_path + (query.empty() ? "" : "?" + query);
    CURL* curl = take_handle();
    if (curl == nullptr) return CURLE_FAILED_INIT;
    transfer.curl = curl;
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     static_cast<long>(options_.connect_timeout_ms));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall_timeout_s));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    if (request.method == "HEAD") {
      curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (request.method == "PUT" || request.method == "POST") {
      curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                       static_cast<curl_off_t>(request.body.size()));
      curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
      curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
      curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
      curl_easy_setopt(curl, CURLOPT_SEEKDATA, &transfer);
    }
    if (request.fresh_connection) curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
    // A server may refuse an upload before it has read it all, and close: its answer is what
    // counts.
    if ((code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR) && transfer.response.status >= 400)
      code = CURLE_OK;
    curl_slist_free_all(headers);
    give_back(curl);
    return code;
  }

  /// What an HTTP answer that is no success means to the caller.
  Status error_of(const Request& request, const Response& response) const {
    const std::string& name = response.error.code;
    std::string what =
        fmt::format("{} {}: HTTP {}{}{}{}{}", request.method,
                    request.key.empty() ? "bucket " + bucket_ : request.key, response.status,
                    name.empty() ? "" : " ", name, response.error.message.empty() ? "" : ": ",
                    response.error.message);
    if (name == "NoSuchBucket" || (response.status == 404 && request.key.empty())) {
      return Status(Code::kNotFound, fmt::format("no bucket {} at {}", bucket_, host_and_port_))
          .with_detail(std::move(what))
          .with_hint("Create the bucket first, or correct the name or the endpoint in the URL.");
    }
    if (response.status == 404) {
      return Status(Code::kNotFound, fmt::format("no object {}", request.key))
          .with_detail(std::move(what));
    }
    if (name == "RequestTimeTooSkewed") {
      return Status(Code::kDenied, std::move(what)).with_hint("Set this machine's clock.");
    }
    if (response.status == 401 || response.status == 403) {
      return Status(Code::kDenied,
                    fmt::format("access to bucket {} at {} denied", bucket_, host_and_port_))
          .with_detail(std::move(what))
          .with_hint(
              "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and what they may "
              "do.");
    }
    if (name == "AuthorizationHeaderMalformed" || name == "PermanentRedirect" ||
        response.status == 301) {
      return Status(Code::kInvalid, std::move(what))
          .with_hint(fmt::format(
              "The bucket may lie in another region than {}: set region= in the URL.", region_));
    }
    if (response.status == 507 || name == "QuotaExceeded" || name == "XMinioStorageFull" ||
        name == "EntityTooLarge") {
      return Status(Code::kNoSpace, std::move(what))
          .with_hint("Free space or raise the quota at the object store.");
    }
    if (name == "BadDigest" || name == "XAmzContentSHA256Mismatch" || name == "InvalidDigest") {
      return Status(Code::kCorrupt, std::move(what));
    }
    if (response.status >= 500 || response.status == 429 || response.status == 408 ||
        is_transient(response.status, name)) {
      return Status(Code::kUnavailable,
                    fmt::format("object store at {} fails: {}", host_and_port_, what))
          .with_hint("The server answers but cannot serve; its own log says why.");
    }
    return Status(Code::kInvalid, std::move(what));
  }

  const Options options_;
  const std::string bucket_;
  const std::string prefix_;  ///< Empty, or with a slash at its end.
  const std::string endpoint_;
  const std::string region_;
  const bool conditional_put_;
  std::string host_;           ///< As in the Host header.
  std::string host_and_port_;  ///< As in the URL and in messages.
  std::string base_path_;
  const uint64_t tag_ = (uint64_t{std::random_device{}()} << 32) | std::random_device{}();

  std::mutex mutex_;
  std::vector<CURL*> idle_;
  std::mutex conditional_mutex_;
  bool conditional_put_checked_ = false;
  std::atomic<uint64_t> temporary_count_ = 0;
  std::atomic<uint64_t> requests_ = 0;
  std::atomic<uint64_t> retries_ = 0;
  std::atomic<uint64_t> bytes_out_ = 0;
  std::atomic<uint64_t> bytes_in_ = 0;
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> open_s3_store(const StoreUrl& given,
                                                   const Options& given_options) {
  static const CURLcode curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (curl_ready != CURLE_OK) return Status(Code::kBug, "libcurl does not start");
  StoreUrl url = given;
  Options options = given_options;
  if (url.region.empty()) url.region = environment("AWS_REGION");
  if (url.region.empty()) url.region = environment("AWS_DEFAULT_REGION");
  if (url.region.empty()) url.region = "us-east-1";
  if (url.endpoint.empty()) url.endpoint = environment("AWS_ENDPOINT_URL");
  if (url.endpoint.empty()) url.endpoint = fmt::format("https://s3.{}.amazonaws.com", url.region);
  while (url.endpoint.ends_with('/')) url.endpoint.pop_back();
  bool has_scheme = url.endpoint.starts_with("http://") || url.endpoint.starts_with("https://");
  std::string_view host =
      std::string_view(url.endpoint).substr(has_scheme ? url.endpoint.find("://") + 3 : 0);
  if (!has_scheme || host.empty() || host.find_first_of("?#@ \t\r\n") != std::string_view::npos) {
    return Status(Code::kInvalid,
                  fmt::format("endpoint \"{}\" is not http://host[:port] or https://host[:port]",
                              url.endpoint));
  }
  S3Credentials& credentials = options.credentials;
  if (credentials.access_key_id.empty() && credentials.secret_access_key.empty()) {
    credentials = {environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY"),
                   environment("AWS_SESSION_TOKEN")};
  }
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    return Status(Code::kDenied, fmt::format("no credentials for bucket {}", url.bucket))
        .with_hint("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.");
  }
  auto store = std::make_unique<S3Store>(url, options);
  Status answers = store->check_bucket_answers();
  if (!answers.ok())
    return std::move(answers).with_context(fmt::format("open {}", store->describe()));
  return std::unique_ptr<ObjectStore>(std::move(store));
}

}  // namespace tide::objectstore::internal

#include "storage/page_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <random>
#include <thread>

#include "contracts/page_service.h"
#include "pagestore/internal/test_store.h"

namespace tide::storage {
namespace {

using namespace pagestore;
[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new UnprivilegedEnvironment);

constexpr RelFork kRel{1663, 5, 1000, Fork::kMain};
constexpr TidePsRelFork kAsked{1663, 5, 1000, 0};
constexpr uint64_t kEpoch = 7;

struct Answer {
  TidePsHeader header{};
  std::string body;
  bool hung_up = false;
  uint32_t error() const {
    return header.type == TIDE_PS_ERROR ? load<TidePsError>(body.data()).code : 0;
  }
};

class Client {
 public:
  explicit Client(const std::string& path)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  void send(std::string_view bytes) {
    (void)!::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  template <typename Body>
  static std::string request(TidePsType type, const Body& body, uint64_t id = 1) {
    std::string bytes;
    append(bytes, TidePsHeader{sizeof body, static_cast<uint16_t>(type), 0, id});
    append(bytes, body);
    return bytes;
  }
  Answer receive() {
    Answer answer;
    if (!read(&answer.header, sizeof answer.header)) return hung_up();
    answer.body.resize(answer.header.length);
    if (!read(answer.body.data(), answer.body.size())) return hung_up();
    return answer;
  }
  template <typename Body>
  Answer ask(TidePsType type, const Body& body, uint64_t id = 1) {
    send(request(type, body, id));
    return receive();
  }
  Answer hello(uint64_t epoch = kEpoch, uint32_t timeline = 1, uint32_t version = TIDE_PS_VERSION) {
    return ask(TIDE_PS_HELLO, TidePsHello{TIDE_PS_MAGIC, version, timeline, 0, epoch});
  }
  void hang_up() { socket_.reset(); }

 private:
  static Answer hung_up() {
    Answer answer;
    answer.hung_up = true;
    return answer;
  }
  bool read(void* to, size_t size) {
    return size == 0 || ::recv(socket_.get(), to, size, MSG_WAITALL) == static_cast<ssize_t>(size);
  }
  env::FileDescriptor socket_;
};

class PageServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    store_.add_root();
    std::vector<TestStore::Put> puts;
    for (uint32_t block = 0; block < 5; ++block) {
      std::string page = page_of(static_cast<char>('a' + block));
      puts.push_back({Kind::kPage, page_body({kRel, block}), kRootLsn + 8,
                      encode_image(reinterpret_cast<const std::byte*>(page.data()))});
    }
    puts.push_back({Kind::kRelSize, rel_body(kRel), kRootLsn + 8, size_value(5)});
    store_.write(kRootTimeline, kRootLsn + 8, puts);
    // Cut to three; the pages of the two others stay stored.
    store_.write(kRootTimeline, kRootLsn + 16,
                 {{Kind::kRelSize, rel_body(kRel), kRootLsn + 16, size_value(3)}});
    auto service = PageService::start(path_, *store_, [this](TimelineId id) {
      return id == kRootTimeline ? Epoch{epoch_.load()} : Epoch{};
    });
    ASSERT_OK(service);
    service_ = std::move(service).value();
  }
  static std::string size_value(uint32_t blocks) {
    std::string value;
    append(value, blocks);
    return value;
  }
  static TidePsGetPages pages(uint32_t first, uint32_t count, uint64_t at = TIDE_PS_LATEST,
                              uint64_t min = 0) {
    return {kAsked, first, count, at, min};
  }
  void expect_served() {
    Client client(path_);
    ASSERT_EQ(client.hello().header.type, TIDE_PS_HELLO_OK);
    EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1)).header.type, TIDE_PS_PAGES);
  }

  TestStore store_;
  walstore::TestDirectory scratch_;
  std::string path_ = scratch_ / "pages.sock";
  std::atomic<uint64_t> epoch_{kEpoch};
  std::unique_ptr<PageService> service_;
};

TEST_F(PageServiceTest, AnswersEveryRequest) {
  Client client(path_);
  Answer hello = client.hello();
  ASSERT_EQ(hello.header.type, TIDE_PS_HELLO_OK);
  EXPECT_EQ(load<uint64_t>(hello.body.data()), (kRootLsn + 16).value());

  Answer answer = client.ask(TIDE_PS_GET_PAGES, pages(1, 2), 4711);
  ASSERT_EQ(answer.header.type, TIDE_PS_PAGES);
  EXPECT_EQ(answer.header.request_id, 4711U);
  auto head = load<TidePsPages>(answer.body.data());
  EXPECT_EQ(head.first_block, 1U);
  EXPECT_EQ(head.block_count, 2U);
  EXPECT_EQ(head.at_lsn, (kRootLsn + 16).value());
  EXPECT_EQ(answer.body.substr(sizeof head), page_of('b') + page_of('c'));

  answer = client.ask(TIDE_PS_REL_SIZE, TidePsRelSize{kAsked, TIDE_PS_LATEST, 0});
  EXPECT_EQ(load<TidePsSize>(answer.body.data()).block_count, 3U);
  answer = client.ask(TIDE_PS_REL_SIZE, TidePsRelSize{kAsked, (kRootLsn + 8).value(), 0});
  EXPECT_EQ(load<TidePsSize>(answer.body.data()).block_count, 5U);
  answer = client.ask(TIDE_PS_REL_SIZE, TidePsRelSize{{1663, 5, 9, 0}, TIDE_PS_LATEST, 0});
  EXPECT_EQ(load<TidePsSize>(answer.body.data()).block_count, TIDE_PS_NO_RELATION);
  answer = client.ask(TIDE_PS_DB_SIZE, TidePsDbSize{5, 0, TIDE_PS_LATEST, 0});
  EXPECT_EQ(load<TidePsDbBytes>(answer.body.data()).bytes, 3 * kPageSize);
}

TEST_F(PageServiceTest, BlocksBehindTheEndAreZerosWhateverOnceStoodThere) {
  Client client(path_);
  client.hello();
  Answer answer = client.ask(TIDE_PS_GET_PAGES, pages(2, 4));
  ASSERT_EQ(answer.header.type, TIDE_PS_PAGES);
  EXPECT_EQ(answer.body.substr(sizeof(TidePsPages)),
            page_of('c') + std::string(3 * kPageSize, '\0'));
  answer = client.ask(TIDE_PS_GET_PAGES, pages(3, 2, (kRootLsn + 8).value()));
  EXPECT_EQ(answer.body.substr(sizeof(TidePsPages)), page_of('d') + page_of('e'))
      << "at the older LSN they are there";
  answer = client.ask(TIDE_PS_GET_PAGES, pages(4000000000, 128));
  EXPECT_EQ(answer.body.substr(sizeof(TidePsPages)), std::string(128 * kPageSize, '\0'));
}

TEST_F(PageServiceTest, AFencedComputeGetsNothingMore) {
  Client client(path_);
  EXPECT_EQ(client.hello(kEpoch + 1).error(), TIDE_PS_ERR_STALE_EPOCH);
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1)).error(), TIDE_PS_ERR_INVALID)
      << "not greeted";
  ASSERT_EQ(client.hello().header.type, TIDE_PS_HELLO_OK);
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1)).header.type, TIDE_PS_PAGES);
  Client reader(path_);
  ASSERT_EQ(reader.hello(0).header.type, TIDE_PS_HELLO_OK);
  epoch_ = kEpoch + 1;
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1)).error(), TIDE_PS_ERR_STALE_EPOCH);
  EXPECT_EQ(client.ask(TIDE_PS_REL_SIZE, TidePsRelSize{kAsked, TIDE_PS_LATEST, 0}).error(),
            TIDE_PS_ERR_STALE_EPOCH);
  EXPECT_EQ(reader.ask(TIDE_PS_GET_PAGES, pages(0, 1)).header.type, TIDE_PS_PAGES);
  epoch_ = 0;
  EXPECT_EQ(Client(path_).hello(kEpoch).error(), TIDE_PS_ERR_STALE_EPOCH);
}

TEST_F(PageServiceTest, AFailedHelloLeavesNobodyGreeted) {
  Client client(path_);
  ASSERT_EQ(client.hello().header.type, TIDE_PS_HELLO_OK);
  EXPECT_EQ(client.hello(0, 99).error(), TIDE_PS_ERR_NOT_FOUND);
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1)).error(), TIDE_PS_ERR_INVALID);
  EXPECT_EQ(client.hello(kEpoch, 1, 2).error(), TIDE_PS_ERR_INVALID);
}

TEST_F(PageServiceTest, WaitsForTheLsnItIsAskedFor) {
  Client client(path_);
  client.hello();
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    store_.write(kRootTimeline, kRootLsn + 64,
                 {{Kind::kRelSize, rel_body(kRel), kRootLsn + 64, size_value(9)}});
  });
  Answer answer =
      client.ask(TIDE_PS_REL_SIZE, TidePsRelSize{kAsked, TIDE_PS_LATEST, (kRootLsn + 64).value()});
  writer.join();
  ASSERT_EQ(answer.header.type, TIDE_PS_SIZE);
  EXPECT_EQ(load<TidePsSize>(answer.body.data()).block_count, 9U);
  EXPECT_GE(load<TidePsSize>(answer.body.data()).at_lsn, (kRootLsn + 64).value());
}

TEST_F(PageServiceTest, ImpossibleRequestsAreErrorsAndTheConnectionLives) {
  Client client(path_);
  client.hello();
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 0)).error(), TIDE_PS_ERR_INVALID);
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 129)).error(), TIDE_PS_ERR_INVALID);
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(UINT32_MAX, 2)).error(), TIDE_PS_ERR_INVALID);
  EXPECT_EQ(
      client.ask(TIDE_PS_GET_PAGES, TidePsGetPages{{1, 2, 3, 4}, 0, 1, TIDE_PS_LATEST, 0}).error(),
      TIDE_PS_ERR_INVALID);
  EXPECT_EQ(client.ask(TIDE_PS_REL_SIZE, TidePsRelSize{{1, 2, 3, 99}, TIDE_PS_LATEST, 0}).error(),
            TIDE_PS_ERR_INVALID);
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1, 8, 16)).error(), TIDE_PS_ERR_INVALID)
      << "an answer could not be at least min_lsn";
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, uint32_t{5}).error(), TIDE_PS_ERR_INVALID);
  EXPECT_EQ(client.ask(static_cast<TidePsType>(77), uint32_t{5}).error(), TIDE_PS_ERR_INVALID);
  ASSERT_OK(store_->flush());
  ASSERT_OK(store_->set_history_cutoff(kRootTimeline, kRootLsn + 16));
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1, (kRootLsn + 8).value())).error(),
            TIDE_PS_ERR_OUT_OF_RANGE);
  EXPECT_EQ(client.ask(TIDE_PS_GET_PAGES, pages(0, 1)).header.type, TIDE_PS_PAGES);
}

TEST_F(PageServiceTest, RequestsInOnePieceOrByteByByte) {
  Client client(path_);
  std::string all =
      Client::request(TIDE_PS_HELLO, TidePsHello{TIDE_PS_MAGIC, TIDE_PS_VERSION, 1, 0, kEpoch}, 1) +
      Client::request(TIDE_PS_GET_PAGES, pages(0, 1), 2) +
      Client::request(TIDE_PS_GET_PAGES, pages(1, 1), 3);
  client.send(all);
  for (uint64_t id : {1, 2, 3}) EXPECT_EQ(client.receive().header.request_id, id);
  for (char byte : Client::request(TIDE_PS_GET_PAGES, pages(2, 1), 4)) client.send({&byte, 1});
  EXPECT_EQ(client.receive().body.substr(sizeof(TidePsPages)), page_of('c'));
}

TEST_F(PageServiceTest, AbuseHurtsNobodyElse) {
  std::mt19937 random(42);
  for (int round = 0; round < 100; ++round) {
    Client client(path_);
    if (round % 2 == 0) client.hello();
    std::string garbage;
    if (round % 3 == 0) {
      append(garbage, TidePsHeader{UINT32_MAX - round, TIDE_PS_GET_PAGES, 0, 1});  // oversize
    } else if (round % 3 == 1) {
      garbage =
          Client::request(TIDE_PS_GET_PAGES, pages(0, 128)).substr(0, 1 + round % 50);  // cut off
    } else {
      for (size_t i = random() % 500; i > 0; --i) garbage.push_back(static_cast<char>(random()));
    }
    client.send(garbage);
    if (round % 3 == 0) {
      EXPECT_TRUE(client.receive().hung_up);
      continue;
    }
    client.hang_up();
  }
  // Those that ask for much and never read it.
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 8; ++i) {
    silent.push_back(std::make_unique<Client>(path_));
    silent.back()->hello();
    for (int k = 0; k < 20; ++k)
      silent.back()->send(Client::request(TIDE_PS_GET_PAGES, pages(0, 128)));
  }
  expect_served();
  silent.resize(4);
  expect_served();
  for (int i = 0; i < 200 && service_->stats().connections > 6; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LE(service_->stats().connections, 6U) << "connections that ended are let go";
  service_.reset();  // with silent ones still there
}

TEST_F(PageServiceTest, ManyClientsAtOnce) {
  std::vector<std::thread> clients;
  std::atomic<int> right = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      Client client(path_);
      client.hello();
      for (int k = 0; k < 50; ++k) {
        uint32_t block = static_cast<uint32_t>(i + k) % 3;
        Answer answer = client.ask(TIDE_PS_GET_PAGES, pages(block, 1), static_cast<uint64_t>(k));
        if (answer.header.request_id == static_cast<uint64_t>(k) &&
            answer.body.substr(sizeof(TidePsPages)) == page_of(static_cast<char>('a' + block))) {
          ++right;
        }
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(right, 400);
  EXPECT_GE(service_->stats().pages, 400U);
}

TEST_F(PageServiceTest, PathsThatDoNotFitAreRefused) {
  EXPECT_EQ(PageService::start(std::string(200, 'x'), *store_, [](TimelineId) { return Epoch{}; })
                .status()
                .code(),
            Code::kInvalid);
}

}  // namespace
}  // namespace tide::storage

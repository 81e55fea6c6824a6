#include "compute/tar_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "env/file.h"

namespace tide::compute {
namespace {

/// One ustar member: header and padded content.
std::string member(std::string_view name, char type, std::string_view content,
                   std::string_view link = "", int mode = 0600) {
  std::string header(512, '\0');
  auto put = [&](size_t at, std::string_view text) {
    std::memcpy(&header[at], text.data(), text.size());
  };
  put(0, name);
  put(100, fmt::format("{:07o}", mode));
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", content.size()));
  put(136, "00000000000");
  put(148, "        ");
  header[156] = type;
  put(157, link);
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  unsigned sum = 0;
  for (unsigned char c : header) sum += c;
  put(148, fmt::format("{:06o}", sum));
  header[154] = '\0';
  std::string padded(content);
  padded.resize((content.size() + 511) / 512 * 512);
  return header + padded;
}

std::string end_mark() { return std::string(1024, '\0'); }

/// Hands the archive out in odd pieces, so that every boundary falls everywhere.
ByteSource in_pieces(const std::string& archive, size_t piece) {
  auto at = std::make_shared<size_t>(0);
  return [&archive, at, piece](std::span<std::byte> to) -> Result<size_t> {
    size_t part = std::min({piece, to.size(), archive.size() - *at});
    std::memcpy(to.data(), archive.data() + *at, part);
    *at += part;
    return part;
  };
}

class TarReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tide-tar-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    base_ = name;
    root_ = base_ + "/root";
    ASSERT_EQ(::mkdir(root_.c_str(), 0700), 0);
  }
  void TearDown() override { env::remove_tree(base_).ignore("a test's rest"); }

  Status unpack(const std::string& archive, size_t piece = 700) {
    return unpack_tar(in_pieces(archive, piece), root_);
  }

  std::string base_;
  std::string root_;
};

TEST_F(TarReaderTest, UnpacksFilesDirectoriesAndLinks) {
  std::string big(300'000, 'x');
  big.replace(8192, 100'000, std::string(100'000, '\0'));
  std::string zeros(65536, '\0');
  std::string archive = member("./", '5', "", "", 0755) + member("dir/", '5', "", "", 0700) +
                        member("dir/file", '0', "content", "", 0640) +
                        member("dir/empty", '0', "") + member("deep/er/big", '0', big) +
                        member("zeros", '0', zeros) + member("link", '2', "", "/elsewhere/wal") +
                        end_mark();
  for (size_t piece : {1ul, 511ul, 513ul, 1000000ul}) {
    ASSERT_TRUE(env::remove_tree(root_).ok());
    ASSERT_EQ(::mkdir(root_.c_str(), 0700), 0);
    Status status = unpack(archive, piece);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(*env::read_file(root_ + "/dir/file"), "content");
    EXPECT_EQ(*env::read_file(root_ + "/dir/empty"), "");
    EXPECT_EQ(*env::read_file(root_ + "/deep/er/big"), big);
    EXPECT_EQ(*env::read_file(root_ + "/zeros"), zeros);
    char target[64] = {};
    EXPECT_GT(::readlink((root_ + "/link").c_str(), target, sizeof target - 1), 0);
    EXPECT_STREQ(target, "/elsewhere/wal");
  }
  struct stat info {};
  ASSERT_EQ(::stat((root_ + "/zeros").c_str(), &info), 0);
  EXPECT_EQ(info.st_blocks, 0) << "zeros take no space";
}

TEST_F(TarReaderTest, NothingLeavesTheDirectory) {
  for (const char* name : {"/etc/passwd", "../outside", "a/../../outside", "a/.."}) {
    Status status = unpack(member(name, '0', "evil") + end_mark());
    EXPECT_EQ(status.code(), Code::kInvalid) << name;
  }
  // Through a link made by the archive itself.
  Status status =
      unpack(member("door", '2', "", base_) + member("door/outside", '0', "evil") + end_mark());
  EXPECT_EQ(status.code(), Code::kInvalid);
  // Over a link: the target must not be written.
  status = unpack(member("file", '2', "", base_ + "/outside") + member("file", '0', "evil") +
                  end_mark());
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(env::exists(base_ + "/outside"));
}

TEST_F(TarReaderTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(unpack(member("device", '3', "") + end_mark()).code(), Code::kInvalid);
  EXPECT_EQ(unpack(member("hard", '1', "", "file") + end_mark()).code(), Code::kInvalid);
}

TEST_F(TarReaderTest, NoticesDamage) {
  std::string archive = member("file", '0', std::string(5000, 'y')) + end_mark();
  EXPECT_EQ(unpack(archive.substr(0, 3000)).code(), Code::kCorrupt);
  EXPECT_EQ(unpack(archive.substr(0, 512 + 5120)).code(), Code::kCorrupt) << "no end mark";
  archive[3] ^= 1;
  EXPECT_EQ(unpack(archive).code(), Code::kCorrupt);
  EXPECT_EQ(unpack("").code(), Code::kCorrupt);
}

TEST_F(TarReaderTest, PassesOnTheSourcesError) {
  ByteSource broken = [](std::span<std::byte>) -> Result<size_t> {
    return Status(Code::kUnavailable, "storage is gone");
  };
  EXPECT_EQ(unpack_tar(broken, root_).code(), Code::kUnavailable);
}

}  // namespace
}  // namespace tide::compute

#include "env/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tide::env {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/tide-env-XXXXXX";
    root_ = ::mkdtemp(pattern);
  }
  void TearDown() override { remove_tree(root_).ignore("scratch"); }
  std::string root_;
};

TEST_F(FileTest, AtomicWritesReplaceWholeOrNotAtAll) {
  std::string path = root_ + "/file";
  ASSERT_TRUE(write_file_atomically(path, "one").ok());
  ASSERT_TRUE(write_file_atomically(path, std::string(200000, '2')).ok());
  EXPECT_EQ(*read_file(path), std::string(200000, '2'));
  struct stat info {};
  ::stat(path.c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  ASSERT_TRUE(make_directories(path + ".new").ok());  // in the way
  EXPECT_FALSE(write_file_atomically(path, "three").ok());
  EXPECT_EQ(*read_file(path), std::string(200000, '2'));
  ASSERT_TRUE(remove_tree(path + ".new").ok());
  ASSERT_TRUE(write_file(path + ".new", "left by a kill").ok());
  ASSERT_TRUE(write_file_atomically(path, "4").ok());
  EXPECT_EQ(*read_file(path), "4");
  EXPECT_FALSE(exists(path + ".new"));
}

TEST_F(FileTest, RangesEndWithTheFile) {
  std::string path = root_ + "/file";
  ASSERT_TRUE(write_file(path, "0123456789").ok());
  auto file = open_file(path, O_RDWR);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*read_range(file->get(), 3, 4), "3456");
  EXPECT_EQ(*read_range(file->get(), 8, 4), "89");
  EXPECT_EQ(*read_range(file->get(), 80, 4), "");
  ASSERT_TRUE(write_at(file->get(), 12, as_bytes("x")).ok());
  EXPECT_EQ(*read_file(path), std::string("0123456789\0\0x", 13));
  EXPECT_EQ(*file_size(path), 13U);
  EXPECT_TRUE(sync_data(file->get(), path).ok());
  EXPECT_EQ(write_at(-1, 0, as_bytes("x")).code(), Code::kIo);
}

TEST_F(FileTest, AFullDiskSaysSo) {
  auto full = open_file("/dev/full", O_WRONLY);
  if (!full.ok()) GTEST_SKIP();
  EXPECT_EQ(write_all(full->get(), as_bytes("x")).code(), Code::kNoSpace);
}

TEST_F(FileTest, DirectoriesAndTrees) {
  ASSERT_TRUE(make_directories(root_ + "/a/b/c").ok());
  ASSERT_TRUE(make_directories(root_ + "/a/b/c").ok());
  ASSERT_TRUE(write_file(root_ + "/a/z", "").ok());
  EXPECT_EQ(make_directories(root_ + "/a/z").code(), Code::kInvalid);
  EXPECT_FALSE(make_directories(root_ + "/a/z/y").ok());
  EXPECT_EQ(*list_directory(root_ + "/a"), (std::vector<std::string>{"b", "z"}));
  EXPECT_EQ(list_directory(root_ + "/none").status().code(), Code::kNotFound);
  EXPECT_TRUE(is_directory(root_ + "/a"));
  EXPECT_FALSE(is_directory(root_ + "/a/z"));
  EXPECT_TRUE(sync_directory(root_ + "/a").ok());
  EXPECT_TRUE(remove_file(root_ + "/a/z").ok());
  EXPECT_TRUE(remove_file(root_ + "/a/z").ok());
  EXPECT_TRUE(remove_tree(root_ + "/a").ok());
  EXPECT_TRUE(remove_tree(root_ + "/a").ok());
  EXPECT_GT(*free_bytes(root_), 0U);
}

TEST_F(FileTest, ALockLastsAsLongAsAnyHeirOfIt) {
  std::string path = root_ + "/lock";
  auto ours = open_lock_file(path);
  ASSERT_TRUE(ours.ok());
  ASSERT_TRUE(*try_lock(ours->get(), LockKind::kShared));
  auto other = open_lock_file(path);
  EXPECT_TRUE(*try_lock(other->get(), LockKind::kShared));
  EXPECT_FALSE(*try_lock(other->get(), LockKind::kExclusive));
  int gate[2];
  ASSERT_EQ(pipe(gate), 0);
  pid_t child = fork();
  if (child == 0) {
    char byte;
    (void)!read(gate[0], &byte, 1);
    _exit(0);
  }
  ours->reset();
  auto fresh = open_lock_file(path);
  other->reset();
  EXPECT_FALSE(*try_lock(fresh->get(), LockKind::kExclusive)) << "the child inherited it";
  (void)!write(gate[1], "x", 1);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(*try_lock(fresh->get(), LockKind::kExclusive));
  close(gate[0]);
  close(gate[1]);
}

}  // namespace
}  // namespace tide::env

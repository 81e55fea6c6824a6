#include "env/instance.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/file.h"
#include "env/privileges.h"

namespace tide::env {
namespace {

std::string scratch() {
  char name[] = "/tmp/tide-env-XXXXXX";
  return ::mkdtemp(name);
}

TEST(InstanceTest, ShortPathsKeepTheirSocketsInside) {
  EXPECT_EQ(runtime_directory("/srv/data"), "/srv/data/run");
  EXPECT_EQ(control_socket("/srv/data"), "/srv/data/run/control.sock");
  std::string longest = "/" + std::string(107 - 1 - 4 - 18, 'x');
  EXPECT_EQ(runtime_directory(longest), longest + "/run");
}

TEST(InstanceTest, LongPathsGetAShortDirectoryOfTheirOwn) {
  std::string one = runtime_directory("/" + std::string(120, 'x'));
  std::string other = runtime_directory("/" + std::string(121, 'x'));
  EXPECT_TRUE(one.starts_with("/tmp/tide-"));
  EXPECT_NE(one, other);
  EXPECT_LT(postgres_socket_directory("/" + std::string(120, 'x')).size() + 16, 107u);
}

TEST(InstanceTest, CanonicalPathFollowsLinksAndAllowsWhatIsMissing) {
  std::string directory = scratch();
  ASSERT_EQ(::symlink(directory.c_str(), (directory + "-link").c_str()), 0);
  auto path = canonical_path(directory + "-link/./a/../b/");
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(*path, directory + "/b");
  ::unlink((directory + "-link").c_str());
  ASSERT_TRUE(remove_tree(directory).ok());
}

TEST(PrivilegesTest, ClosedParentIsOpenedForUsOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  auto account = service_account();
  if (!account.ok()) GTEST_SKIP() << account.status().to_string();
  std::string closed = scratch();  // 0700, root's
  std::string data = closed + "/deep/data";
  ASSERT_TRUE(make_directories(data).ok());
  ASSERT_TRUE(write_file(data + "/file", "content").ok());
  ASSERT_TRUE(give_to(data, **account).ok());
  EXPECT_EQ(first_barrier(data, **account), closed);
  EXPECT_EQ(::geteuid(), 0u);

  pid_t child = ::fork();
  if (child == 0) {
    Status entered = enter_private_view(**account, {data, "/usr"});
    if (entered.code() == Code::kDenied) ::_exit(77);
    bool good = entered.ok() && become(**account).ok() && ::geteuid() == (*account)->uid;
    auto content = read_file(data + "/file");
    good = good && content.ok() && *content == "content" && write_file(data + "/new", "x").ok();
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no mount namespaces here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(exists(data + "/new"));
  EXPECT_EQ(first_barrier(data, **account), closed) << "the view leaked";
  ASSERT_TRUE(remove_tree(closed).ok());
}

}  // namespace
}  // namespace tide::env

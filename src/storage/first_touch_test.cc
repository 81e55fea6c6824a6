#include "storage/first_touch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tide::storage {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr TimelineId kRoot{1}, kChild{2}, kGrandchild{3};
constexpr RelFork kClass{1663, 5, 1259}, kAttribute{1663, 5, 1249};

class FirstTouchTest : public testing::Test {
 protected:
  void SetUp() override {
    tree_.put({.id = kRoot});
    tree_.put({.id = kChild, .parent = kRoot});
    tree_.put({.id = kGrandchild, .parent = kChild});
  }
  pagestore::TimelineTree tree_;
  FirstTouch touch_;
};

TEST_F(FirstTouchTest, RemembersWhatAFreshComputeAsksFor) {
  touch_.note(kRoot, kClass);
  EXPECT_THAT(touch_.relations(kRoot, tree_), IsEmpty());  // no compute has begun
  touch_.begin(kRoot);
  touch_.note(kRoot, kClass);
  touch_.note(kRoot, {1663, 5, 1259, Fork::kVisibilityMap});
  touch_.note(kRoot, kAttribute);
  touch_.note(kRoot, kClass);
  touch_.note(kChild, kClass);
  EXPECT_THAT(touch_.relations(kRoot, tree_), ElementsAre(kClass, kAttribute));
  touch_.forget(kRoot);
  EXPECT_THAT(touch_.relations(kRoot, tree_), IsEmpty());
}

TEST_F(FirstTouchTest, ANewBranchBeginsWithItsAncestors) {
  touch_.begin(kRoot);
  touch_.note(kRoot, kClass);
  EXPECT_THAT(touch_.relations(kGrandchild, tree_), ElementsAre(kClass));
  touch_.begin(kGrandchild);
  EXPECT_THAT(touch_.relations(kGrandchild, tree_), ElementsAre(kClass));
  touch_.note(kGrandchild, kAttribute);
  EXPECT_THAT(touch_.relations(kGrandchild, tree_), ElementsAre(kAttribute));
  EXPECT_THAT(touch_.relations(TimelineId{9}, tree_), IsEmpty());
}

TEST_F(FirstTouchTest, TheListIsBounded) {
  touch_.begin(kRoot);
  for (uint32_t rel = 1; rel <= 1000; ++rel) touch_.note(kRoot, {1663, 5, rel});
  auto relations = touch_.relations(kRoot, tree_);
  EXPECT_THAT(relations, SizeIs(256));
  EXPECT_EQ(relations.back().rel, 1000u);
}

}  // namespace
}  // namespace tide::storage

#include "coordinator/block_manager.h"

#include <gtest/gtest.h>

#include "base/check.h"

namespace trireme {
namespace {

BlockManager make_manager(int32_t blocks) { return BlockManager(KvGroupInfo{.block_size = 2, .num_blocks = blocks}); }

const std::vector<TokenId> kFirst{1, 2}, kSecond{3, 4};

TEST(BlockManager, HandsOutEveryBlockOnce) {
  BlockManager manager = make_manager(3);
  std::vector<int32_t> owners(3);
  for (int count = 0; count < 3; ++count) ++owners[size_t(manager.allocate())];
  EXPECT_EQ(owners, (std::vector<int32_t>{1, 1, 1}));
  EXPECT_EQ(manager.available(), 0);
  manager.verify(owners);
  EXPECT_THROW(manager.allocate(), InternalError);
}

TEST(BlockManager, KeepsAReleasedBlockUntilThePlansThatCouldTouchItHaveRetired) {
  BlockManager manager = make_manager(1);
  const BlockId block = manager.allocate();
  manager.release(block, 5);
  EXPECT_EQ(manager.num_retiring(), 1);
  EXPECT_EQ(manager.available(), 0);
  manager.retire(4);
  EXPECT_EQ(manager.available(), 0);
  manager.retire(5);
  EXPECT_EQ(manager.num_free(), 1);
}

TEST(BlockManager, FreesAtOnceWhatNoPlanInFlightCouldTouch) {
  BlockManager manager = make_manager(1);
  manager.retire(3);
  manager.release(manager.allocate(), 3);
  EXPECT_EQ(manager.num_free(), 1);
}

TEST(BlockManager, ABlockReadByALaterPlanRetiresBehindThatPlan) {
  BlockManager manager = make_manager(1);
  const BlockId block = manager.allocate();
  manager.touch(block, 8);
  manager.release(block, 5);
  manager.retire(7);
  EXPECT_EQ(manager.num_retiring(), 1);
  manager.retire(8);
  EXPECT_EQ(manager.num_free(), 1);
}

TEST(BlockManager, ASharedBlockIsOwnedUntilItsLastRelease) {
  BlockManager manager = make_manager(2);
  const BlockId block = manager.allocate();
  manager.share(block);
  manager.release(block, -1);
  EXPECT_EQ(manager.references(block), 1);
  EXPECT_EQ(manager.num_owned(), 1);
  manager.release(block, -1);
  EXPECT_EQ(manager.num_owned(), 0);
  EXPECT_THROW(manager.release(block, -1), InternalError);
}

TEST(BlockManager, AnEnrolledBlockIsCachedWhenReleasedAndFoundAgain) {
  BlockManager manager = make_manager(2);
  const ChainKey root = manager.root(0, 0, 0);
  const BlockId block = manager.allocate();
  ASSERT_TRUE(manager.enroll(root, kFirst, block));
  manager.release(block, -1);
  EXPECT_EQ(manager.num_cached(), 1);
  const auto match = manager.find(root, kFirst);
  ASSERT_TRUE(match);
  EXPECT_EQ(match->block, block);
  manager.share(block);
  EXPECT_EQ(manager.num_cached(), 0);
  EXPECT_EQ(manager.references(block), 1);
}

TEST(BlockManager, APrefixHitTakesARetiringBlockBack) {
  BlockManager manager = make_manager(1);
  const BlockId block = manager.allocate();
  manager.enroll(manager.root(0, 0, 0), kFirst, block);
  manager.release(block, 4);
  manager.share(block);
  manager.retire(4);
  EXPECT_EQ(manager.num_owned(), 1);
  manager.release(block, 9);
  manager.retire(8);
  EXPECT_EQ(manager.num_retiring(), 1);
}

TEST(BlockManager, EvictsTheLongestUnusedCachedBlockWhenNoneIsFree) {
  BlockManager manager = make_manager(2);
  const ChainKey root = manager.root(0, 0, 0);
  const BlockId first = manager.allocate(), second = manager.allocate();
  manager.enroll(root, kFirst, first);
  manager.enroll(root, kSecond, second);
  manager.release(first, -1);
  manager.release(second, -1);
  manager.share(first);  // used again: now the younger one
  manager.release(first, -1);
  EXPECT_EQ(manager.allocate(), second);
  EXPECT_FALSE(manager.find(root, kSecond));
  EXPECT_TRUE(manager.find(root, kFirst));
}

TEST(BlockManager, AForgottenBlockIsNoHitAndBecomesFree) {
  BlockManager manager = make_manager(1);
  const ChainKey root = manager.root(0, 0, 0);
  const BlockId block = manager.allocate();
  manager.enroll(root, kFirst, block);
  manager.release(block, -1);
  manager.forget(block);
  EXPECT_EQ(manager.num_free(), 1);
  EXPECT_FALSE(manager.find(root, kFirst));
  manager.verify(std::vector<int32_t>{0});
}

TEST(BlockManager, VerifyFindsAReferenceWithoutAnOwner) {
  BlockManager manager = make_manager(1);
  manager.allocate();
  EXPECT_THROW(manager.verify(std::vector<int32_t>{0}), InternalError);
}

TEST(PrefixIndex, AChainDependsOnItsParentGroupAdapterAndSalt) {
  PrefixIndex index(4);
  const ChainKey root = index.root(0, 0, 0);
  const auto held = index.insert(root, kFirst, 0);
  ASSERT_TRUE(held);
  EXPECT_TRUE(index.find(root, kFirst));
  EXPECT_FALSE(index.find(held->key, kFirst));
  EXPECT_FALSE(index.find(root, kSecond));
  EXPECT_FALSE(index.find(index.root(1, 0, 0), kFirst));
  EXPECT_FALSE(index.find(index.root(0, 1, 0), kFirst));
  EXPECT_FALSE(index.find(index.root(0, 0, 1), kFirst));
}

TEST(PrefixIndex, TheSameTokensTwiceKeepTheFirstBlockAndOneChain) {
  PrefixIndex index(4);
  const ChainKey root = index.root(0, 0, 0);
  const auto first = index.insert(root, kFirst, 2), again = index.insert(root, kFirst, 3);
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->key, again->key);
  EXPECT_EQ(again->block, 2);
  EXPECT_EQ(index.find(root, kFirst)->block, 2);
  EXPECT_FALSE(index.contains(3));
}

TEST(PrefixIndex, ErasingABlockHidesWhatHangsOnIt) {
  PrefixIndex index(4);
  const ChainKey root = index.root(0, 0, 0);
  const auto first = index.insert(root, kFirst, 0);
  index.insert(first->key, kSecond, 1);
  index.erase(0);
  EXPECT_FALSE(index.find(root, kFirst));
  EXPECT_EQ(index.insert(root, kFirst, 2)->key, first->key);
  EXPECT_EQ(index.find(first->key, kSecond)->block, 1);
}

}  // namespace
}  // namespace trireme

// Where the memory of objects lies. What all workers read can be interleaved over the nodes: the kernel must have been told so
// before there were pages, every process must see it, and memory near its maker must not be mixed with it. On a host with one
// node the kernel still says which policy a mapping has.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/memory_policy.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::test::MemoryPolicy;

constexpr size_t kMiB = 1 << 20;

// The policy of argument 0, as this worker has it mapped.
int report_policy(tarn_call* call) {
  int32_t mode = tarn::test::policy_of(tarn_call_arg(call, 0).data).mode;
  return tarn_call_return(call, &mode, sizeof mode);
}

const tarn::test::SelfWorker worker([] { (void)tarn_task_define("report_policy", report_policy); });

class Placed : public testing::Test {
 protected:
  void SetUp() override {
    if (tarn::test::allowed_nodes().none()) GTEST_SKIP() << "this kernel knows no NUMA";
  }

  struct Object {
    tarn_object handle;
    void* data;
  };

  Object create(size_t size, uint32_t placement) {
    tarn_object_options options{};
    options.size = sizeof options;
    options.placement = placement;
    Object object{};
    EXPECT_EQ(0, tarn_object_create_with(client_, size, &options, &object.handle, &object.data)) << tarn_last_error();
    return object;
  }

  int32_t node_of(const Object& object) {
    tarn_object_details details{};
    details.size = sizeof details;
    EXPECT_EQ(0, tarn_object_info(client_, object.handle, &details));
    return details.node;
  }

  tarn::test::PrivateClient client_{1};
};

TEST_F(Placed, on_all_nodes_when_asked_for) {
  Object spread = create(20 * kMiB, TARN_PLACE_INTERLEAVE);
  MemoryPolicy policy = tarn::test::policy_of(static_cast<std::byte*>(spread.data) + 10 * kMiB);
  EXPECT_EQ(MemoryPolicy::kInterleave, policy.mode);
  EXPECT_EQ(tarn::test::allowed_nodes(), policy.nodes);
  EXPECT_EQ(TARN_NODE_ALL, node_of(spread));
  memset(spread.data, 7, 20 * kMiB);
  ASSERT_EQ(0, tarn_object_seal(client_, spread.handle));
  // A worker reads the same pages.
  tarn_arg argument{TARN_ARG_OBJECT, 0, {}};
  argument.u.object = spread.handle;
  tarn_future future{};
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("report_policy"), &argument, 1, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client_, future, 20'000'000'000, &bytes)) << tarn_last_error();
  int32_t mode = 0;
  ASSERT_EQ(sizeof mode, bytes.size);
  memcpy(&mode, bytes.data, sizeof mode);
  EXPECT_EQ(MemoryPolicy::kInterleave, mode);
  EXPECT_EQ(0, tarn_future_release(client_, future));
  EXPECT_EQ(0, tarn_release(client_, spread.handle));
}

TEST_F(Placed, near_its_maker_otherwise_and_apart_from_what_is_interleaved) {
  for (size_t size : {size_t{100'000}, 3 * kMiB, 20 * kMiB}) {
    Object spread = create(size, TARN_PLACE_INTERLEAVE);
    Object near = create(size, TARN_PLACE_NEAR);
    EXPECT_EQ(MemoryPolicy::kInterleave, tarn::test::policy_of(spread.data).mode);
    MemoryPolicy policy = tarn::test::policy_of(near.data);
    EXPECT_EQ(MemoryPolicy::kPreferred, policy.mode);
    ASSERT_GE(node_of(near), 0);
    EXPECT_TRUE(policy.nodes.test(static_cast<size_t>(node_of(near))));
    EXPECT_EQ(1u, policy.nodes.count());
    // What one leaves is not for the other.
    EXPECT_EQ(0, tarn_release(client_, spread.handle));
    Object second = create(size, TARN_PLACE_NEAR);
    EXPECT_NE(spread.data, second.data);
    EXPECT_EQ(MemoryPolicy::kPreferred, tarn::test::policy_of(second.data).mode);
    EXPECT_EQ(0, tarn_release(client_, near.handle));
    EXPECT_EQ(0, tarn_release(client_, second.handle));
    Object again = create(size, TARN_PLACE_INTERLEAVE);
    EXPECT_EQ(spread.data, again.data);  // warm, and mapped
    EXPECT_EQ(0, tarn_release(client_, again.handle));
  }
}

// Programs give the same options to objects of all sizes.
TEST_F(Placed, near_if_it_is_small) {
  std::string small(32 * 1024, 's');
  std::string large(32 * 1024 + 1, 'l');
  tarn_bytes pieces[] = {{small.data(), small.size()}, {large.data(), large.size()}, {nullptr, 0}};
  tarn_object_options options{};
  options.size = sizeof options;
  options.label = "with a label";
  options.placement = TARN_PLACE_INTERLEAVE;
  tarn_object objects[3];
  size_t done = 0;
  ASSERT_EQ(0, tarn_put_many(client_, pieces, 3, &options, objects, &done)) << tarn_last_error();
  EXPECT_GE(node_of({objects[0], nullptr}), 0);
  EXPECT_EQ(TARN_NODE_ALL, node_of({objects[1], nullptr}));
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_get(client_, objects[1], &bytes));
  EXPECT_EQ(large, std::string(static_cast<const char*>(bytes.data), bytes.size));
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_F(Placed, nowhere_if_the_placement_is_unknown) {
  tarn_object_options options{};
  options.size = sizeof options;
  options.placement = TARN_PLACE_INTERLEAVE + 1;
  tarn_object object{};
  void* data = nullptr;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_create_with(client_, kMiB, &options, &object, &data));
  EXPECT_STREQ("tarn_object_options: placement is 2; use TARN_PLACE_NEAR (0) or TARN_PLACE_INTERLEAVE (1)", tarn_last_error());
}

}  // namespace

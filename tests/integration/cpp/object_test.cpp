// Objects by the dozen, objects that are not sealed yet, and what is said when something cannot be. A batch that fails in the
// middle could leave half of itself, a writer that is dropped could leave others waiting, and a text could speak of something
// else than what is wrong. Each is brought about here.

#include <gtest/gtest.h>

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "refusal.hpp"
#include "tasks.hpp"

namespace tarn::testing {
namespace {

using namespace std::chrono_literals;

class ObjectHppTest : public ::testing::Test {
 protected:
  client tarn = init(0, nullptr, {.address = "private", .workers = 1});
};

// ---- Many at once -------------------------------------------------------------------------------

TEST_F(ObjectHppTest, many_are_put_read_and_released_in_their_order) {
  const std::vector<std::string> lines = {"one", "", "three", std::string(100'000, 'x')};
  std::vector<object> objects = tarn.put_many(lines, {.type = TARN_TYPE_STRING, .label = "line"});
  ASSERT_EQ(objects.size(), 4u);
  const std::vector<std::string_view> views = tarn.get_many(objects);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(views[i], lines[i]);
    EXPECT_EQ(objects[i].label(), "line");
  }
  // One pin for all that was got of an object, as with view().
  EXPECT_EQ(objects[3].info().pins, 1u);
  objects[3].unpin();
  EXPECT_EQ(objects[3].info().pins, 0u);

  const object kept = objects[0];
  objects.emplace_back();  // refers to nothing
  tarn.release_many(objects);
  for (const object& one : objects) EXPECT_FALSE(one.exists());
  EXPECT_EQ(kept.view(), "one");
  EXPECT_EQ(tarn.objects().size(), 1u);

  const std::array<double, 3> numbers = {1, 2, 3};
  EXPECT_EQ(tarn.put_many(numbers)[2].view<double>()[0], 3.0);
  EXPECT_TRUE(tarn.put_many(std::vector<std::string>()).empty());
  EXPECT_TRUE(tarn.get_many(std::span<const object>()).empty());
}

TEST_F(ObjectHppTest, a_batch_that_fails_leaves_nothing_or_says_how_far_it_came) {
  const std::vector<std::string> lines(3, "line");
  EXPECT_THROW(static_cast<void>(tarn.put_many(lines, {.type = 77})), bad_argument);
  EXPECT_TRUE(tarn.objects().empty());

  // The second cannot have room: the first is not left behind.
  static const char byte = 0;
  const std::vector<std::string_view> too_much = {"x", {&byte, std::size_t{1} << 45}};
  EXPECT_THROW(static_cast<void>(tarn.put_many(too_much)), error);
  EXPECT_TRUE(tarn.objects().empty());

  client other = init(0, nullptr, {.address = "private", .no_workers = true});
  std::vector<object> mixed;
  mixed.push_back(tarn.put("ours"));
  mixed.push_back(other.put("theirs"));
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.get_many(mixed)); }).code, TARN_E_NO_OBJECT);
  EXPECT_EQ(refusal([&] { tarn.release_many(mixed); }).code, TARN_E_NO_OBJECT);
  EXPECT_FALSE(mixed[0].exists());
  EXPECT_EQ(mixed[1].view(), "theirs");
}

// ---- Before the seal ----------------------------------------------------------------------------

TEST_F(ObjectHppTest, another_thread_waits_for_the_seal) {
  auto filled = tarn.create<char>(5).fill('x');
  const object shared = filled.share();
  EXPECT_TRUE(shared.exists());
  EXPECT_FALSE(shared.wait_for(0ns));
  EXPECT_FALSE(shared.wait_for(1ms));
  EXPECT_EQ(refusal([&] { static_cast<void>(shared.view()); }).code, TARN_E_STATE);
  std::string seen;
  std::thread reader([&] {
    shared.wait();
    seen = shared.view();
  });
  static_cast<void>(std::move(filled).seal());
  reader.join();
  EXPECT_EQ(seen, "xxxxx");
  EXPECT_TRUE(shared.wait_for(0ns));
  EXPECT_THROW(static_cast<void>(shared.wait_for(-2ns)), bad_argument);
}

TEST_F(ObjectHppTest, who_waits_is_told_that_the_writer_was_dropped) {
  for (const bool by_abort : {false, true}) {
    int code = 0;
    std::thread reader;
    {
      auto writer = tarn.create_array<int>({1000, 1000});
      reader = std::thread([&code, shared = writer.share()] {
        code = refusal([&] { shared.wait(); }).code;
        EXPECT_FALSE(shared.exists());
      });
      std::this_thread::sleep_for(20ms);
      if (by_abort) std::move(writer).abort();
    }
    reader.join();
    EXPECT_EQ(code, TARN_E_NO_OBJECT);
  }
  EXPECT_TRUE(tarn.objects().empty());
}

// A task that is given an object before its seal and runs before it, too, fails; the object stays its.
TEST_F(ObjectHppTest, the_argument_of_a_task_cannot_be_aborted) {
  auto writer = tarn.create<char>(5);
  const future<std::int64_t> count = tarn.submit(count_lines, writer.share());
  EXPECT_EQ(refusal([&] { static_cast<void>(count.get()); }).code, TARN_E_STATE);
  const future<void> sleep = tarn.submit(sleep_ms, 200);
  const future<std::int64_t> later = tarn.submit(count_lines, writer.share());
  EXPECT_EQ(refusal([&] { std::move(writer).abort(); }).code, TARN_E_STATE);
  static_cast<void>(std::move(writer).fill('\n').seal());
  EXPECT_EQ(later.get(), 5);
}

TEST_F(ObjectHppTest, handles_say_whether_they_are_still_held) {
  object text = tarn.put("text");
  const std::vector<held_object> held = tarn.objects();
  ASSERT_EQ(held.size(), 1u);
  EXPECT_TRUE(tarn.exists(held[0].handle) && text.exists());
  text = object();
  EXPECT_FALSE(tarn.exists(held[0].handle) || text.exists());
  EXPECT_FALSE(tarn.exists(tarn_object{}));
}

// ---- What is said -------------------------------------------------------------------------------

TEST_F(ObjectHppTest, arguments_of_tasks_say_what_they_are) {
  const object text = tarn.put("text", {.type = TARN_TYPE_USER + 5});
  EXPECT_EQ(text.type(), TARN_TYPE_USER + 5u);
  EXPECT_EQ(tarn.submit(type_of, text).get(), TARN_TYPE_USER + 5u);
  const Refusal refused = refusal([&] { static_cast<void>(tarn.submit(references_of, text).get()); });
  EXPECT_EQ(refused.code, TARN_E_NOT_IN_TASK);
  EXPECT_NE(refused.text.find("info() is not for the argument of a task"), std::string::npos) << refused.text;
}

TEST_F(ObjectHppTest, a_copy_of_what_outlived_its_client_says_so) {
  const object text = tarn.put("text");
  tarn.close();
  const Refusal refused = refusal([&] { const object copy = text; });
  EXPECT_EQ(refused.code, TARN_E_NOT_INITIALISED);
  EXPECT_EQ(refused.text, "the client of this object was closed");
  EXPECT_FALSE(text.exists());
}

TEST_F(ObjectHppTest, text_with_a_nul_is_refused_where_it_would_be_cut) {
  using namespace std::string_literals;
  const std::string expected = "the label has a NUL at byte 1 of 3; it would be cut there";
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.put("x", {.label = "a\0b"s})); }).text, expected);
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.create<int>(1, {.label = "a\0b"s})); }).text, expected);
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.create_array<int>({1}, order::c, "a\0b"s)); }).text, expected);
  EXPECT_THROW(static_cast<void>(tarn.from_file("/dev/null\0more"s)), bad_argument);
  EXPECT_THROW(static_cast<void>(init(0, nullptr, {.address = "private\0"s})), bad_argument);
}

}  // namespace
}  // namespace tarn::testing

// Tasks with several results. What could go wrong: a part arrives with the bytes of another one; a task that was given a part begins
// before it is there, or after it has gone; a crash leaves half of the parts; a part that there is not, or a table that lies, becomes
// a wild read instead of an error.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;

constexpr int64_t kLong = 60'000'000'000;

std::vector<uint64_t> numbers(tarn_bytes bytes) {
  std::vector<uint64_t> all(bytes.size / sizeof(uint64_t));
  if (!all.empty()) memcpy(all.data(), bytes.data, all.size() * sizeof(uint64_t));
  return all;
}

std::string pattern(size_t part, uint64_t size) {
  return std::string(size, static_cast<char>('a' + part % 26));
}

// Parts of the sizes in argument 0, which tell one another apart; as a copy, or in place if there is another argument.
int split(tarn_call* call) {
  std::vector<uint64_t> sizes = numbers(tarn_call_arg(call, 0));
  if (tarn_call_arg_count(call) > 1) {
    std::vector<size_t> places(sizes.begin(), sizes.end());
    std::vector<void*> data(sizes.size());
    if (int r = tarn_call_return_parts_buffer(call, places.data(), places.size(), data.data());
        r < 0)
      return r;
    for (size_t i = 0; i < sizes.size(); ++i)
      pattern(i, sizes[i]).copy(static_cast<char*>(data[i]), sizes[i]);
    return 0;
  }
  std::vector<std::string> texts;
  std::vector<tarn_bytes> parts;
  for (size_t i = 0; i < sizes.size(); ++i) texts.push_back(pattern(i, sizes[i]));
  for (const std::string& text : texts) parts.push_back({text.data(), text.size()});
  return tarn_call_return_parts(call, parts.data(), parts.size());
}

// The same, but in its first attempt the worker dies when half of it is written.
int split_at_second_attempt(tarn_call* call) {
  std::vector<uint64_t> sizes = numbers(tarn_call_arg(call, 0));
  std::vector<size_t> places(sizes.begin(), sizes.end());
  std::vector<void*> data(sizes.size());
  if (int r = tarn_call_return_parts_buffer(call, places.data(), places.size(), data.data()); r < 0)
    return r;
  if (tarn_call_attempt(call) > 1) return split(call);
  memset(data[0], 'X', places[0]);
  return raise(SIGKILL);
}

// All arguments, one behind the other.
int join(tarn_call* call) {
  std::string all;
  for (size_t i = 0; i < tarn_call_arg_count(call); ++i) {
    tarn_bytes bytes = tarn_call_arg(call, i);
    all.append(static_cast<const char*>(bytes.data), bytes.size);
  }
  return tarn_call_return(call, all.data(), all.size());
}

int join_later(tarn_call* call) {
  usleep(100'000);
  return join(call);
}

// What its argument, a whole result, says about itself.
int count_parts(tarn_call* call) {
  size_t count = 0;
  if (int r = tarn_part_count(tarn_call_arg(call, 0), &count); r < 0)
    return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  return tarn_call_return(call, &count, sizeof count);
}

// How far the arguments are from a multiple of 64 together, and whether each is an object to the task.
int look_at_places(tarn_call* call) {
  uint64_t misaligned = 0;
  for (size_t i = 0; i < tarn_call_arg_count(call); ++i)
    misaligned += reinterpret_cast<uintptr_t>(tarn_call_arg(call, i).data) % 64;
  return tarn_call_return(call, &misaligned, sizeof misaligned);
}

int give_back(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 0);
  return tarn_call_return(call, bytes.data, bytes.size);
}

int fail_always(tarn_call* call) {
  return tarn_call_fail(call, -1000, "Sadness", "nothing to split");
}

// Of tasks of its own.
int split_and_join(tarn_call* call) {
  tarn_client* tarn = tarn_call_client(call);
  uint64_t sizes[] = {3, 70'000};
  tarn_arg argument = tarn_arg_value(sizes, sizeof sizes);
  tarn_future whole;
  tarn_future joined;
  tarn_bytes bytes;
  if (int r = tarn_submit(tarn, tarn_task_id("split"), &argument, 1, nullptr, &whole); r < 0)
    return r;
  tarn_arg parts[] = {tarn_arg_part(whole, 1), tarn_arg_part(whole, 0)};
  if (int r = tarn_submit(tarn, tarn_task_id("join"), parts, 2, nullptr, &joined); r < 0) return r;
  if (int r = tarn_future_release(tarn, whole); r < 0) return r;
  if (int r = tarn_result(tarn, joined, kLong, &bytes); r < 0) return r;
  return tarn_call_return(call, bytes.data, bytes.size);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("split", split);
  tarn_task_define("split_at_second_attempt", split_at_second_attempt);
  tarn_task_define("join", join);
  tarn_task_define("join_later", join_later);
  tarn_task_define("count_parts", count_parts);
  tarn_task_define("look_at_places", look_at_places);
  tarn_task_define("give_back", give_back);
  tarn_task_define("fail_always", fail_always);
  tarn_task_define("split_and_join", split_and_join);
}};

class Parts : public testing::Test {
 protected:
  tarn_future submit(const char* task, const std::vector<tarn_arg>& args) {
    tarn_future future{};
    EXPECT_EQ(0,
              tarn_submit(client_, tarn_task_id(task), args.data(), args.size(), nullptr, &future))
        << tarn_last_error();
    return future;
  }
  tarn_future split_into(const std::vector<uint64_t>& sizes, bool in_place = false,
                         const char* task = "split") {
    std::vector<tarn_arg> args{tarn_arg_value(sizes.data(), sizes.size() * sizeof(uint64_t))};
    if (in_place) args.push_back(tarn_arg_value(nullptr, 0));
    return submit(task, args);
  }
  std::string text_of(int code, tarn_bytes bytes) {
    return code == 0 ? std::string(static_cast<const char*>(bytes.data), bytes.size)
                     : std::string("error: ") + tarn_last_error();
  }
  std::string result(tarn_future future) {
    tarn_bytes bytes{};
    int code = tarn_result(client_, future, kLong, &bytes);
    return text_of(code, bytes);
  }
  std::string part(tarn_future future, uint32_t index) {
    tarn_bytes bytes{};
    int code = tarn_result_part(client_, future, index, kLong, &bytes);
    return text_of(code, bytes);
  }
  uint64_t number(tarn_future future) {
    tarn_bytes bytes{};
    EXPECT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
    return bytes.size == sizeof(uint64_t) ? numbers(bytes)[0] : ~uint64_t{0};
  }
  void release(tarn_future future) {
    EXPECT_EQ(0, tarn_future_release(client_, future)) << tarn_last_error();
  }
  tarn_task_error error_of(tarn_future future) {
    tarn_task_error error{};
    error.size = sizeof error;
    EXPECT_EQ(0, tarn_future_error(client_, future, &error)) << tarn_last_error();
    return error;
  }

  PrivateClient client_{2};
};

TEST_F(Parts, AreReadOneByOneWhateverTheirSizes) {
  std::vector<uint64_t> thousand(1000);
  std::iota(thousand.begin(), thousand.end(), uint64_t{0});
  for (const std::vector<uint64_t>& sizes :
       std::vector<std::vector<uint64_t>>{{},
                                          {0},
                                          {1},
                                          {24},
                                          {8, 8, 8},
                                          {0, 0},
                                          {25},
                                          {8, 8, 8, 8},
                                          {0, 5, 0, 100, 0},
                                          {3'000'000, 1, 70'000},
                                          thousand}) {
    for (bool in_place : {false, true}) {
      tarn_future future = split_into(sizes, in_place);
      for (uint32_t i = 0; i < sizes.size(); ++i)
        ASSERT_EQ(part(future, i), pattern(i, sizes[i])) << "part " << i << " of " << sizes.size();
      tarn_bytes whole{};
      ASSERT_EQ(0, tarn_result(client_, future, kLong, &whole)) << tarn_last_error();
      size_t count = ~size_t{0};
      EXPECT_EQ(0, tarn_part_count(whole, &count)) << tarn_last_error();
      EXPECT_EQ(count, sizes.size());
      release(future);
    }
  }
}

TEST_F(Parts, AreArgumentsOfOtherTasksInPlace) {
  for (uint64_t size : {uint64_t{5}, uint64_t{100'000}}) {
    tarn_future future = split_into({size, 3, 0});
    tarn_future joined =
        submit("join", {tarn_arg_part(future, 1), tarn_arg_value("-", 1), tarn_arg_part(future, 0),
                        tarn_arg_part(future, 2), tarn_arg_part(future, 1)});
    EXPECT_EQ(result(joined), "bbb-" + pattern(0, size) + "bbb");
    // As a whole it is a result as any other.
    tarn_future counted = submit("count_parts", {tarn_arg_future(future)});
    EXPECT_EQ(number(counted), 3u);
    for (tarn_future each : {future, joined, counted}) release(each);
  }
  tarn_future future = split_into({100, 1000, 1, 0});
  tarn_future looked = submit("look_at_places", {tarn_arg_part(future, 0), tarn_arg_part(future, 1),
                                                 tarn_arg_part(future, 2)});
  EXPECT_EQ(number(looked), 0u);
  release(future);
  release(looked);
}

// More of them than a record waits for by bits of its own, and each for a task of its own.
TEST_F(Parts, ManyOfOneResultFanOutAndIn) {
  constexpr uint32_t kCount = 1000;
  std::vector<uint64_t> sizes(kCount, 10);
  tarn_future future = split_into(sizes);
  std::vector<tarn_arg> all;
  std::vector<tarn_future> each;
  std::string expected;
  for (uint32_t i = 0; i < kCount; ++i) {
    all.push_back(tarn_arg_part(future, i));
    each.push_back(submit("join", {tarn_arg_part(future, i)}));
    expected += pattern(i, 10);
  }
  tarn_future joined = submit("join", all);
  release(future);
  EXPECT_EQ(result(joined), expected);
  for (uint32_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(result(each[i]), pattern(i, 10));
    release(each[i]);
  }
  release(joined);
}

TEST_F(Parts, OnesThatThereAreNotAreErrors) {
  tarn_future future = split_into({1, 2});
  tarn_bytes bytes{};
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_result_part(client_, future, 2, kLong, &bytes));
  EXPECT_STREQ(tarn_last_error(),
               "the result of task 'split' has 2 parts, and there is no part 2; they count from 0");
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_result_part(client_, future, UINT32_MAX, kLong, &bytes));
  for (uint32_t index : {2u, 70'000u, UINT32_MAX}) {
    tarn_future joined = submit("join", {tarn_arg_value("", 0), tarn_arg_part(future, index)});
    EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result(client_, joined, kLong, nullptr));
    EXPECT_NE(std::string(tarn_last_error())
                  .find("argument 1: the result of task 'split' has 2 parts, and there is no part"),
              std::string::npos)
        << tarn_last_error();
    EXPECT_EQ(error_of(joined).code, TARN_E_ARGUMENT);
    release(joined);
  }
  release(future);
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_result_part(client_, future, 0, kLong, &bytes));
  tarn_future none{};
  tarn_arg gone = tarn_arg_part(future, 0);
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_submit(client_, tarn_task_id("join"), &gone, 1, nullptr, &none));
  EXPECT_EQ(bytes.data, nullptr);
}

TEST_F(Parts, OfAResultWithoutPartsAreATypeError) {
  for (const std::string& text :
       {std::string(), std::string("eight to"), std::string(50, 'x'), std::string(50'000, 'x')}) {
    tarn_future future = submit("give_back", {tarn_arg_value(text.data(), text.size())});
    tarn_bytes bytes{};
    EXPECT_EQ(TARN_E_TYPE, tarn_result_part(client_, future, 0, kLong, &bytes));
    EXPECT_STREQ(tarn_last_error(),
                 "the result of task 'give_back' has no parts; take it as a whole");
    tarn_future joined = submit("join", {tarn_arg_part(future, 0)});
    EXPECT_EQ(TARN_E_TYPE, tarn_result(client_, joined, kLong, nullptr));
    EXPECT_STREQ(
        tarn_last_error(),
        "task 'join': argument 0: the result of task 'give_back' has no parts; take it as a whole");
    release(joined);
    release(future);
  }
}

// A worker with a bug writes the table itself.
TEST_F(Parts, ThatLeadOutOfTheResultAreErrors) {
  tarn_future sound = split_into({100, 100});
  std::string bytes = result(sound);
  release(sound);
  uint64_t wild = uint64_t{1} << 40;
  for (size_t at : {size_t{4}, size_t{8}, size_t{16}}) {
    std::string damaged = bytes;
    memcpy(damaged.data() + at, &wild, at == 4 ? 3 : sizeof wild);
    if (at == 4) damaged[7] = 1;  // so many parts
    tarn_future future = submit("give_back", {tarn_arg_value(damaged.data(), damaged.size())});
    tarn_bytes part{};
    EXPECT_EQ(TARN_E_PROTOCOL, tarn_result_part(client_, future, at == 8 ? 0 : 1, kLong, &part))
        << at;
    tarn_future joined = submit("join", {tarn_arg_part(future, 1)});
    EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result(client_, joined, kLong, nullptr));
    EXPECT_EQ(error_of(joined).code, TARN_E_PROTOCOL);
    release(joined);
    release(future);
  }
}

TEST_F(Parts, ATaskThatFailedFailsThoseThatAreGivenItsParts) {
  tarn_future future = submit("fail_always", {});
  tarn_future joined = submit("join", {tarn_arg_part(future, 3)});
  EXPECT_EQ(TARN_E_DEPENDENCY, tarn_result(client_, joined, kLong, nullptr));
  tarn_task_error error = error_of(joined);
  EXPECT_STREQ(error.task, "fail_always");
  EXPECT_STREQ(error.message, "nothing to split");
  EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result_part(client_, future, 0, kLong, nullptr));
  release(future);
  release(joined);
}

TEST_F(Parts, AreAllThereAfterACrash) {
  tarn_future future = split_into({3'000'000, 8, 100'000}, true, "split_at_second_attempt");
  tarn_future joined = submit("join", {tarn_arg_part(future, 2), tarn_arg_part(future, 0)});
  EXPECT_EQ(result(joined), pattern(2, 100'000) + pattern(0, 3'000'000));
  EXPECT_EQ(part(future, 1), "bbbbbbbb");
  release(future);
  release(joined);
}

TEST_F(Parts, StayForATaskWhoseFutureWasReleased) {
  for (uint64_t size : {uint64_t{4}, uint64_t{500'000}}) {
    tarn_future future = split_into({size, size});
    std::vector<tarn_future> joined;
    for (uint32_t i = 0; i < 6; ++i)
      joined.push_back(submit("join_later", {tarn_arg_part(future, i % 2)}));
    release(future);  // while they wait, or run
    // Others use the record and the memory meanwhile, if they can.
    for (int i = 0; i < 20; ++i) release(split_into({1, size}));
    for (uint32_t i = 0; i < 6; ++i) {
      EXPECT_EQ(result(joined[i]), pattern(i % 2, size));
      release(joined[i]);
    }
  }
}

TEST_F(Parts, OfTasksOfATask) {
  tarn_future future = submit("split_and_join", {});
  EXPECT_EQ(result(future), pattern(1, 70'000) + "aaa");
  release(future);
}

TEST_F(Parts, OfANodeAreArgumentsOfOthers) {
  tarn_graph* graph = nullptr;
  ASSERT_EQ(0, tarn_graph_create(client_, nullptr, &graph)) << tarn_last_error();
  auto add = [&](const char* task, const std::vector<tarn_arg>& args) {
    tarn_node node{};
    EXPECT_EQ(0,
              tarn_graph_add(graph, tarn_task_id(task), args.data(), args.size(), nullptr, &node))
        << tarn_last_error();
    return node;
  };
  tarn_node whole = add("split", {tarn_arg_parameter(0)});
  tarn_node first = add("join", {tarn_arg_node_part(whole, 0)});
  tarn_node both = add("join", {tarn_arg_node_part(whole, 1), tarn_arg_node(first)});
  tarn_node none = add("join", {tarn_arg_node_part(whole, 2)});
  for (uint64_t size : {uint64_t{2}, uint64_t{40'000}, uint64_t{0}}) {
    uint64_t sizes[] = {size, 5};
    tarn_arg parameter = tarn_arg_value(sizes, sizeof sizes);
    ASSERT_EQ(0, tarn_graph_run(graph, &parameter, 1)) << tarn_last_error();
    EXPECT_EQ(TARN_E_TASK_FAILED, tarn_graph_wait(graph, kLong));
    EXPECT_NE(
        std::string(tarn_last_error())
            .find("argument 0: the result of task 'split' has 2 parts, and there is no part 2"),
        std::string::npos)
        << tarn_last_error();
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_graph_result(graph, both, &bytes)) << tarn_last_error();
    EXPECT_EQ(text_of(0, bytes), "bbbbb" + pattern(0, size));
    ASSERT_EQ(0, tarn_graph_result(graph, whole, &bytes)) << tarn_last_error();
    tarn_bytes part{};
    ASSERT_EQ(0, tarn_part_read(bytes, 1, &part)) << tarn_last_error();
    EXPECT_EQ(text_of(0, part), "bbbbb");
    EXPECT_GT(0, tarn_graph_result(graph, none, &bytes));
  }
  tarn_graph_free(graph);
}

TEST_F(Parts, TheirFunctionsSayWhatIsWrong) {
  size_t count = 0;
  tarn_bytes part{};
  EXPECT_EQ(TARN_E_TYPE, tarn_part_count({nullptr, 0}, &count));
  EXPECT_EQ(TARN_E_TYPE, tarn_part_read({"text", 4}, 0, &part));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_part_count({nullptr, 0}, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_part_read({nullptr, 0}, 0, nullptr));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_result_part(nullptr, {1}, 0, 0, &part));
  // Too many of them: the task's error, as it returns it.
  std::vector<uint64_t> sizes(65'536);
  tarn_future future = split_into(sizes);
  EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result(client_, future, kLong, nullptr));
  EXPECT_EQ(error_of(future).code, TARN_E_TOO_LARGE);
  release(future);
  sizes.pop_back();
  future = split_into(sizes);
  EXPECT_EQ(TARN_OK, tarn_result_part(client_, future, 65'534, kLong, &part)) << tarn_last_error();
  EXPECT_EQ(part.size, 0u);
  release(future);
}

}  // namespace

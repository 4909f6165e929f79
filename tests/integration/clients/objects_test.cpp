// What a program sees of its objects beyond their bytes: type, label and metadata, lists, waits and batches. Each function gets what it
// is for, what it must refuse, and what turns from one into the other.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "support/self_worker.hpp"

namespace {

// Gives the details of argument 1 back; of one that there is not, the error.
int describe_argument(tarn_call* call) {
  tarn_arg_details details{};
  details.size = sizeof details;
  tarn_arg_details other = details;
  if (tarn_call_arg_info(call, 9, &other) != TARN_E_ARGUMENT) return TARN_E_STATE;
  if (tarn_call_arg_info(call, 1, nullptr) != TARN_E_ARGUMENT) return TARN_E_STATE;
  other.size = 8;
  if (tarn_call_arg_info(call, 1, &other) != TARN_E_ARGUMENT) return TARN_E_STATE;
  if (int r = tarn_call_arg_info(call, 1, &details); r < 0) return r;
  std::string text = std::to_string(details.type) + " " + std::to_string(details.is_object) + " " +
                     std::to_string(details.offset) + "/" + std::to_string(details.bytes) + " " + details.label + " " +
                     std::string(static_cast<const char*>(details.metadata.data), details.metadata.size);
  return tarn_call_return(call, text.data(), text.size());
}

const tarn::test::SelfWorker worker([] { (void)tarn_task_define("describe_argument", describe_argument); });

class Objects : public testing::Test {
 protected:
  static tarn_object_options options(uint32_t type = 0, const char* label = nullptr) {
    tarn_object_options o{};
    o.size = sizeof o;
    o.type = type;
    o.label = label;
    return o;
  }

  tarn_object put(const std::string& text) {
    tarn_object object{};
    EXPECT_EQ(0, tarn_put(client_, text.data(), text.size(), &object)) << tarn_last_error();
    return object;
  }

  std::string get(tarn_object object) {
    tarn_bytes bytes{};
    EXPECT_EQ(0, tarn_get(client_, object, &bytes)) << tarn_last_error();
    return {static_cast<const char*>(bytes.data), bytes.size};
  }

  size_t held() {
    size_t count = 0;
    EXPECT_EQ(0, tarn_object_list(client_, nullptr, nullptr, 0, &count));
    return count;
  }

  tarn::test::PrivateClient client_{1};
};

TEST_F(Objects, have_a_type_a_label_and_metadata) {
  const std::string metadata("binary\0data", 11);
  tarn_object_options o = options(TARN_TYPE_USER + 1, "the label");
  o.metadata = metadata.data();
  o.metadata_size = metadata.size();
  for (size_t size : {0u, 5u, 100'000u}) {
    const std::string text(size, 'x');
    tarn_object objects[2] = {};
    ASSERT_EQ(0, tarn_put_with(client_, text.data(), size, &o, &objects[0])) << tarn_last_error();
    void* data = nullptr;
    ASSERT_EQ(0, tarn_object_create_with(client_, size, &o, &objects[1], &data)) << tarn_last_error();
    memset(data, 'x', size);
    tarn_bytes bytes{nullptr, 99};
    EXPECT_EQ(TARN_E_STATE, tarn_object_get_metadata(client_, objects[1], &bytes));
    EXPECT_EQ(99u, bytes.size);
    ASSERT_EQ(0, tarn_object_seal(client_, objects[1]));
    for (tarn_object object : objects) {
      tarn_object slice{};
      ASSERT_EQ(0, tarn_object_slice(client_, object, size / 2, size - size / 2, &slice));
      for (tarn_object each : {object, slice}) {
        const char* label = nullptr;
        tarn_object_details details{};
        details.size = sizeof details;
        ASSERT_EQ(0, tarn_object_get_metadata(client_, each, &bytes)) << tarn_last_error();
        EXPECT_EQ(metadata, std::string(static_cast<const char*>(bytes.data), bytes.size));
        EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(bytes.data) % 8);
        ASSERT_EQ(0, tarn_object_get_label(client_, each, &label));
        EXPECT_STREQ("the label", label);
        ASSERT_EQ(0, tarn_object_info(client_, each, &details));
        EXPECT_EQ(TARN_TYPE_USER + 1u, details.type);
        EXPECT_EQ(size, details.bytes);
        EXPECT_EQ(8u + 16u + 11u, details.meta_bytes);
        EXPECT_EQ(0, tarn_get_typed(client_, each, TARN_TYPE_USER + 1, &bytes));
        EXPECT_EQ(each.size, bytes.size);
        EXPECT_EQ(TARN_E_TYPE, tarn_get_typed(client_, each, TARN_TYPE_ARRAY, &bytes));
        EXPECT_STREQ("the object's type is 0x10001, not array", tarn_last_error());
        EXPECT_EQ(TARN_E_ARGUMENT, tarn_get_typed(client_, each, 0, &bytes));
      }
      EXPECT_EQ(text, get(object));
      EXPECT_EQ(0, tarn_release(client_, slice));
      EXPECT_EQ(0, tarn_release(client_, object));
    }
  }
  // Without options, and with options that say nothing, it is as with tarn_put.
  o = options(0, "");
  for (const tarn_object_options* none : {static_cast<const tarn_object_options*>(nullptr), &std::as_const(o)}) {
    tarn_object object{};
    tarn_bytes bytes{};
    const char* label = nullptr;
    ASSERT_EQ(0, tarn_put_with(client_, "abc", 3, none, &object));
    ASSERT_EQ(0, tarn_object_get_metadata(client_, object, &bytes));
    EXPECT_TRUE(bytes.data == nullptr && bytes.size == 0);
    ASSERT_EQ(0, tarn_object_get_label(client_, object, &label));
    EXPECT_STREQ("", label);
    EXPECT_EQ(TARN_E_TYPE, tarn_get_typed(client_, object, TARN_TYPE_STRING, &bytes));
    EXPECT_STREQ("the object's type is none, not string", tarn_last_error());
    EXPECT_EQ(0, tarn_release(client_, object));
  }
  EXPECT_EQ(0u, held());
}

TEST_F(Objects, refuse_options_that_are_not_allowed) {
  tarn_object object{};
  void* data = nullptr;
  const std::string label(63, 'l');
  const std::string metadata(4096, 'm');
  tarn_object_options good = options(TARN_TYPE_STRING, label.c_str());
  good.metadata = metadata.data();
  good.metadata_size = metadata.size();
  ASSERT_EQ(0, tarn_put_with(client_, "x", 1, &good, &object)) << tarn_last_error();
  ASSERT_EQ(0, tarn_release(client_, object));

  const std::string long_label(64, 'l');
  std::vector<std::pair<int, tarn_object_options>> bad(9, {TARN_E_ARGUMENT, good});
  bad[0].second.size -= 1;
  bad[1].second.placement = TARN_PLACE_INTERLEAVE + 1;
  bad[2].second.reserved2[2] = 1;
  bad[3].second.type = TARN_TYPE_ARRAY + 1;
  bad[4].second.type = TARN_TYPE_USER - 1;
  bad[5].second.label = long_label.c_str();
  bad[6].second.metadata = nullptr;
  bad[7].second.metadata_size = 4097;
  bad[7].first = TARN_E_TOO_LARGE;
  bad[8].second.type = TARN_TYPE_ARRAY;
  for (const auto& [code, o] : bad) {
    EXPECT_EQ(code, tarn_put_with(client_, "x", 1, &o, &object)) << tarn_last_error();
    EXPECT_EQ(code, tarn_object_create_with(client_, 1, &o, &object, &data));
  }
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put_with(client_, nullptr, 1, &good, &object));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put_with(client_, "x", 1, &good, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_create_with(client_, 1, &good, nullptr, &data));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_create_with(client_, 1, &good, &object, nullptr));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_put_with(nullptr, "x", 1, &good, &object));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_get_metadata(client_, object, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_get_label(client_, object, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_get_typed(client_, object, 1, nullptr));
  tarn_bytes bytes{};
  const char* text = nullptr;
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_object_get_metadata(client_, object, &bytes));  // released
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_object_get_label(client_, tarn_object{}, &text));
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_get_typed(client_, object, 1, &bytes));
  EXPECT_EQ(0u, held());
}

TEST_F(Objects, can_be_arrays) {
  tarn_array_layout layout{};
  layout.size = sizeof layout;
  const uint64_t shape[] = {2, 3};
  uint64_t bytes = 0;
  ASSERT_EQ(0, tarn_array_contiguous(TARN_DTYPE_INT32, 2, shape, TARN_ORDER_C, &layout, &bytes));
  unsigned char metadata[TARN_ARRAY_METADATA_MAX];
  tarn_object_options o = options(TARN_TYPE_ARRAY, "matrix");
  o.metadata = metadata;
  ASSERT_EQ(0, tarn_array_describe(&layout, bytes, metadata, sizeof metadata, &o.metadata_size));
  const int32_t elements[6] = {1, 2, 3, 4, 5, 6};
  tarn_object object{};
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put_with(client_, elements, sizeof elements - 1, &o, &object));
  ASSERT_EQ(0, tarn_put_with(client_, elements, sizeof elements, &o, &object)) << tarn_last_error();
  tarn_bytes payload{};
  tarn_bytes described{};
  tarn_array_layout out{};
  out.size = sizeof out;
  ASSERT_EQ(0, tarn_get_typed(client_, object, TARN_TYPE_ARRAY, &payload));
  ASSERT_EQ(0, tarn_object_get_metadata(client_, object, &described));
  ASSERT_EQ(0, tarn_array_read(described, payload.size, &out)) << tarn_last_error();
  EXPECT_EQ(0, memcmp(&layout, &out, sizeof out));
  EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_F(Objects, tell_tasks_what_they_are) {
  tarn_object_options o = options(TARN_TYPE_USER, "label");
  o.metadata = "meta";
  o.metadata_size = 4;
  tarn_object objects[3] = {};
  ASSERT_EQ(0, tarn_put_with(client_, "0123456789", 10, &o, &objects[0]));
  ASSERT_EQ(0, tarn_object_slice(client_, objects[0], 2, 3, &objects[1]));
  ASSERT_EQ(0, tarn_put(client_, "plain", 5, &objects[2]));
  const uint64_t number = 1;
  const std::vector<std::pair<tarn_arg, std::string>> cases = {
      {tarn_arg_object(objects[0]), "65536 1 0/10 label meta"},
      {tarn_arg_object(objects[1]), "65536 1 2/10 label meta"},
      {tarn_arg_object(objects[2]), "0 1 0/5  "},
      {tarn_arg_value(&number, sizeof number), "0 0 0/8  "}};
  for (const auto& [second, expected] : cases) {
    const tarn_arg args[] = {tarn_arg_value(&number, sizeof number), second};
    tarn_future future{};
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("describe_argument"), args, 2, nullptr, &future)) << tarn_last_error();
    ASSERT_EQ(0, tarn_result(client_, future, 20'000'000'000, &bytes)) << tarn_last_error();
    EXPECT_EQ(expected, std::string(static_cast<const char*>(bytes.data), bytes.size));
    // That result as an argument says nothing.
    const tarn_arg again[] = {tarn_arg_value(&number, sizeof number), tarn_arg_future(future)};
    tarn_future next{};
    ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("describe_argument"), again, 2, nullptr, &next));
    ASSERT_EQ(0, tarn_result(client_, next, 20'000'000'000, &bytes)) << tarn_last_error();
    EXPECT_EQ("0 0 0/" + std::to_string(expected.size()) + "  ", std::string(static_cast<const char*>(bytes.data), bytes.size));
    EXPECT_EQ(0, tarn_future_release(client_, next));
    EXPECT_EQ(0, tarn_future_release(client_, future));
  }
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_F(Objects, exist_while_this_process_holds_them) {
  tarn_object object = put("0123");
  EXPECT_EQ(1, tarn_object_exists(client_, object));
  tarn_object beyond = object;
  beyond.offset = 1;
  EXPECT_EQ(0, tarn_object_exists(client_, beyond));
  tarn_object foreign = object;
  foreign.origin ^= 1;
  EXPECT_EQ(0, tarn_object_exists(client_, foreign));
  EXPECT_EQ(0, tarn_object_exists(client_, tarn_object{}));
  EXPECT_EQ(0, tarn_release(client_, object));
  EXPECT_EQ(0, tarn_object_exists(client_, object));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_object_exists(nullptr, object));
  void* data = nullptr;
  ASSERT_EQ(0, tarn_object_create(client_, 1, &object, &data));
  EXPECT_EQ(1, tarn_object_exists(client_, object));
  EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_F(Objects, are_listed_with_their_details) {
  tarn_object_options o = options(TARN_TYPE_STRING, "leak");
  tarn_object first = put("first");
  tarn_object second{};
  ASSERT_EQ(0, tarn_put_with(client_, "second", 6, &o, &second));
  ASSERT_EQ(0, tarn_object_ref(client_, second));
  tarn_object list[4] = {};
  struct Larger {  // as a later version of the struct may be
    tarn_object_details details;
    uint64_t more[2];
  } details[4] = {};
  details[0].details.size = sizeof(Larger);
  size_t count = 0;
  ASSERT_EQ(0, tarn_object_list(client_, list, &details[0].details, 4, &count)) << tarn_last_error();
  ASSERT_EQ(2u, count);
  size_t at = list[0].id == first.id ? 0 : 1;
  EXPECT_EQ("first", get(list[at]));
  EXPECT_EQ(0u, details[at].details.type);
  EXPECT_EQ("second", get(list[1 - at]));
  EXPECT_EQ(TARN_TYPE_STRING + 0u, details[1 - at].details.type);
  EXPECT_EQ(2u, details[1 - at].details.references);
  EXPECT_EQ(sizeof(Larger), details[1 - at].details.size);
  EXPECT_EQ(0u, details[0].more[0]);
  EXPECT_EQ(0u, list[2].id);
  EXPECT_EQ(0, tarn_object_list(client_, list, nullptr, 1, &count));
  EXPECT_EQ(2u, count);
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_list(client_, nullptr, nullptr, 1, &count));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_list(client_, list, nullptr, 1, nullptr));
  for (size_t size : {size_t{0}, sizeof(tarn_object_details) - 8, sizeof(tarn_object_details) + 1, size_t{1} << 40}) {
    details[0].details.size = size;
    EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_list(client_, list, &details[0].details, 1, &count)) << size;
  }
  // More than a page of them, some released: each of the others once.
  std::vector<tarn_object> many;
  for (int i = 0; i < 1000; ++i) many.push_back(put("x"));
  for (size_t i = 0; i < many.size(); i += 2) EXPECT_EQ(0, tarn_release(client_, many[i]));
  std::vector<tarn_object> listed(held());
  ASSERT_EQ(0, tarn_object_list(client_, listed.data(), nullptr, listed.size(), &count));
  ASSERT_EQ(502u, count);
  std::sort(listed.begin(), listed.end(), [](const tarn_object& a, const tarn_object& b) { return a.id < b.id; });
  for (size_t i = 1; i < listed.size(); ++i) EXPECT_NE(listed[i - 1].id, listed[i].id);
  for (const tarn_object& object : listed) EXPECT_EQ(0, tarn_release(client_, object));
  EXPECT_EQ(0, tarn_release(client_, second));
  EXPECT_EQ(0u, held());
}

TEST_F(Objects, can_be_awaited_until_another_thread_seals_them) {
  tarn_object object{};
  void* data = nullptr;
  ASSERT_EQ(0, tarn_object_create(client_, 4, &object, &data));
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_object_wait(client_, object, 0));
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_object_wait(client_, object, 1'000'000));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_wait(client_, object, -2));
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_object_wait(client_, tarn_object{}, 0));
  std::thread maker([&] {
    usleep(50'000);
    memcpy(data, "done", 4);
    EXPECT_EQ(0, tarn_object_seal(client_, object));
  });
  EXPECT_EQ(0, tarn_object_wait(client_, object, -1)) << tarn_last_error();
  EXPECT_EQ("done", get(object));
  maker.join();
  EXPECT_EQ(0, tarn_object_wait(client_, object, 0));
  EXPECT_EQ(TARN_E_STATE, tarn_object_abort(client_, object));
  EXPECT_EQ(0, tarn_release(client_, object));
  // One that is dropped instead.
  ASSERT_EQ(0, tarn_object_create(client_, 4, &object, &data));
  std::thread dropper([&] {
    usleep(20'000);
    EXPECT_EQ(0, tarn_object_abort(client_, object));
  });
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_object_wait(client_, object, 20'000'000'000));
  dropper.join();
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_object_abort(client_, object));
  EXPECT_EQ(0u, held());
}

TEST_F(Objects, go_in_batches_that_say_how_far_they_came) {
  const tarn_bytes data[] = {{"a", 1}, {"bb", 2}, {nullptr, 3}, {"d", 1}};
  tarn_object objects[4] = {};
  tarn_bytes bytes[4] = {};
  size_t done = 99;
  tarn_object_options o = options(TARN_TYPE_BYTES, "batch");
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put_many(client_, data, 4, &o, objects, &done));
  ASSERT_EQ(2u, done);
  EXPECT_EQ(2u, held());
  EXPECT_TRUE(objects[2].origin == 0 && objects[3].origin == 0);
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_get_many(client_, objects, 4, bytes, &done));
  EXPECT_EQ(2u, done);
  EXPECT_EQ(0, memcmp(bytes[1].data, "bb", 2));
  EXPECT_EQ(nullptr, bytes[2].data);
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_release_many(client_, objects, 4, &done));
  EXPECT_EQ(2u, done);
  EXPECT_EQ(0u, held());
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_release_many(client_, objects, 2, &done));
  EXPECT_EQ(0u, done);
  EXPECT_EQ(0, tarn_put_many(client_, nullptr, 0, nullptr, nullptr, &done));
  EXPECT_EQ(0, tarn_put_many(client_, data, 2, nullptr, objects, &done));
  EXPECT_EQ(2u, done);
  EXPECT_EQ(0, tarn_get_many(client_, objects, 2, bytes, &done));
  EXPECT_EQ(0, tarn_release_many(client_, objects, 2, &done));
  EXPECT_EQ(2u, done);
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put_many(client_, data, 1, nullptr, nullptr, &done));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put_many(client_, data, 1, nullptr, objects, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_get_many(client_, objects, 1, nullptr, &done));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_release_many(client_, nullptr, 1, &done));
  done = 7;
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_release_many(nullptr, objects, 1, &done));
  EXPECT_EQ(0u, done);
  o.type = 5;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put_many(client_, data, 1, &o, objects, &done));
  EXPECT_EQ(0u, done);
}

}  // namespace

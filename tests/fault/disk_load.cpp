#include "disk_load.hpp"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>

#include "tasks.hpp"

namespace tarn::fault {
namespace {

constexpr int64_t kHungNs = 45'000'000'000;  // a task waits 30 s for room for its arguments (docs/limits.md)
constexpr size_t kObjects = 14;  // of the client
constexpr size_t kResults = 6;   // of the workers
constexpr size_t kSize = 1'500'000;
constexpr int32_t kRetries = 200;

struct Datum {
  tarn_object object;
  uint64_t id;
};

class DiskLoad {
 public:
  DiskLoad(tarn_client* client, uint64_t seed, Verdict& verdict)
      : client_(client), verdict_(verdict), next_id_(seed << 24 | 1 << 23) {}

  bool run() {
    for (size_t i = 0; i < kObjects && !gone_; ++i) make(i % 2 == 0);
    for (size_t i = 0; i < kResults && !gone_; ++i) order();
    for (size_t i = 0; i < data_.size() && !gone_; i += 3) read(data_[i]);
    for (size_t i = 0; i + 1 < data_.size() && !gone_; i += 4) pass(data_[i], data_[i + 1]);
    for (size_t i = 0; i < data_.size() && !gone_; ++i) {
      if (i % 2 == 0) read(data_[i]);
      if (!gone_) good(tarn_release(client_, data_[i].object), "release");
    }
    return !gone_;
  }

 private:
  // False also if there was no room; that is noted nowhere.
  bool good(int code, const char* what) {
    if (code >= 0) return true;
    if (code == TARN_E_STORE_FULL || code == TARN_E_QUOTA) return false;
    gone_ = true;
    if (code == TARN_E_DAEMON_GONE) return false;
    fprintf(stderr, "fault: disk load: %s: %s: %s\n", what, tarn_error_name(code), tarn_last_error());
    code == TARN_E_TIMED_OUT ? ++verdict_.hung : ++verdict_.lost;
    return false;
  }

  void lose(uint64_t id, const char* what) {
    fprintf(stderr, "fault: disk load: %#" PRIx64 ": %s\n", id, what);
    ++verdict_.lost;
  }

  void make(bool by_copy) {
    Datum datum{{}, next_id_++};
    std::vector<std::byte> bytes(kSize);
    fill_pattern(datum.id, bytes);
    if (by_copy) {
      if (!good(tarn_put(client_, bytes.data(), bytes.size(), &datum.object), "put")) return;
    } else {
      void* data;
      if (!good(tarn_object_create(client_, kSize, &datum.object, &data), "create")) return;
      memcpy(data, bytes.data(), kSize);
      if (!good(tarn_object_seal(client_, datum.object), "seal") || !good(tarn_object_unpin(client_, datum.object), "unpin"))
        return;
    }
    data_.push_back(datum);
  }

  void order() {
    Order order{next_id_++, kSize, 0};
    tarn_arg argument = tarn_arg_value(&order, sizeof order);
    tarn_future future;
    if (!submit(kFill, &argument, 1, future)) return;
    Datum datum{{}, order.id};
    if (good(cause_of(future, tarn_future_object(client_, future, kHungNs, &datum.object)), "a result"))
      data_.push_back(datum);
    if (!gone_) good(tarn_future_release(client_, future), "release a future");
  }

  void read(const Datum& datum) {
    tarn_bytes bytes{};
    if (!good(tarn_get(client_, datum.object, &bytes), "get")) return;
    if (bytes.size != kSize || !has_pattern(datum.id, bytes)) lose(datum.id, "it has changed");
    ++verdict_.tasks;
    good(tarn_object_unpin(client_, datum.object), "unpin");
  }

  void pass(const Datum& first, const Datum& second) {
    Order order{next_id_++, 0, 0};
    tarn_arg arguments[] = {tarn_arg_value(&order, sizeof order), tarn_arg_object(first.object), tarn_arg_object(second.object)};
    tarn_future future;
    if (!submit(kDigest, arguments, 3, future)) return;
    uint64_t expected = add_digest(order.id, digest_of_pattern(first.id, kSize));
    expected = add_digest(expected, digest_of_pattern(second.id, kSize));
    tarn_bytes bytes{};
    if (good(cause_of(future, tarn_result(client_, future, kHungNs, &bytes)), "a result") &&
        (bytes.size != sizeof expected || memcmp(bytes.data, &expected, sizeof expected) != 0))
      lose(order.id, "a task read other bytes");
    if (!gone_) good(tarn_future_release(client_, future), "release a future");
  }

  bool submit(const char* task, tarn_arg* arguments, size_t count, tarn_future& future) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.retries = kRetries;
    return good(tarn_submit(client_, tarn_task_id(task), arguments, count, &options, &future), "submit");
  }

  // Of a task that failed for want of room, or of the daemon, that; else `code`.
  int cause_of(tarn_future future, int code) {
    tarn_task_error error{};
    error.size = sizeof error;
    if (code != TARN_E_TASK_FAILED || tarn_future_error(client_, future, &error) != 0) return code;
    if (error.code == TARN_E_STORE_FULL || error.code == TARN_E_QUOTA || error.code == TARN_E_DAEMON_GONE) return error.code;
    fprintf(stderr, "fault: disk load: a task failed with %s: %s\n", tarn_error_name(error.code), error.message);
    return code;
  }

  tarn_client* client_;
  Verdict& verdict_;
  uint64_t next_id_;
  std::vector<Datum> data_;
  bool gone_ = false;
};

}  // namespace

bool pass_through_disk(tarn_client* client, uint64_t seed, Verdict& verdict) { return DiskLoad(client, seed, verdict).run(); }

}  // namespace tarn::fault

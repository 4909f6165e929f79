#include "store_load.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <utility>

namespace tarn::fault {
namespace {

constexpr int64_t kHungNs = 45'000'000'000;  // a task waits 30 s for room for its arguments (docs/limits.md)
constexpr uint32_t kDataMin = 24;  // objects held: at least so many at most,
constexpr uint32_t kDataMax = 96;  // and so many; of the last, a session of the storm has no memory for half
constexpr size_t kItemsMax = 12;   // tasks outstanding
constexpr int32_t kRetries = 200;  // no storm kills one task that often

bool is_full(int code) { return code == TARN_E_STORE_FULL || code == TARN_E_QUOTA; }

// fill_pattern makes a pattern from its beginning; this is the digest of a part of one.
bool matches(uint64_t id, size_t offset, tarn_bytes bytes) {
  if (offset == 0) return has_pattern(id, bytes);
  std::vector<std::byte> whole(offset + bytes.size);
  fill_pattern(id, whole);
  return memcmp(whole.data() + offset, bytes.data, bytes.size) == 0;
}

}  // namespace

StoreLoad::StoreLoad(tarn_client* client, uint64_t seed, Verdict& verdict)
    : client_(client), random_(seed), verdict_(verdict), is_greedy_(roll(3) == 0),
      data_max_(kDataMin + roll(kDataMax - kDataMin)), next_id_(seed << 24) {}

// Most are small, some are as large as a large part of the session; of a greedy client so many that it fills it.
size_t StoreLoad::roll_size() {
  if (is_greedy_ && roll(8) == 0) return random_() % (64 << 20) + 1;
  constexpr size_t kBelow[] = {1, 64, 4 << 10, 40 << 10, 300 << 10, 2 << 20, 8 << 20, 64 << 20};
  constexpr uint32_t kWeights[] = {2, 4, 8, 8, 8, 6, 2, 1};
  uint32_t choice = roll(39);
  size_t kind = 0;
  while (choice >= kWeights[kind]) choice -= kWeights[kind++];
  return random_() % kBelow[kind] + (kind == 7 ? 1 : 0);
}

StoreLoad::Result StoreLoad::judge(int code, const char* what) {
  if (code >= 0) return Result::kGood;
  if (is_full(code)) {
    ++full_;
    return Result::kFull;
  }
  if (code != TARN_E_DAEMON_GONE) {
    fprintf(stderr, "fault: %s: %s: %s\n", what, tarn_error_name(code), tarn_last_error());
    code == TARN_E_TIMED_OUT ? ++verdict_.hung : ++verdict_.lost;
  }
  gone_ = true;  // no use in going on
  return Result::kBad;
}

void StoreLoad::lose(const Datum& datum, const char* what) {
  fprintf(stderr, "fault: object %#" PRIx64 "+%zu of %zu bytes: %s\n", datum.id, datum.offset, datum.size, what);
  ++verdict_.lost;
}

bool StoreLoad::step() {
  if (gone_) return false;
  switch (roll(8)) {
    case 0:
    case 1:
      make();
      break;
    case 2:
    case 3:
      order_result();
      break;
    case 4:
      slice_any();
      break;
    case 5:
      pass_some();
      break;
    case 6:
      take_one();
      break;
    default:
      if (!data_.empty()) read(any());
  }
  while (!gone_ && items_.size() > kItemsMax) take_one();
  while (!gone_ && data_.size() > data_max_) release(roll(static_cast<uint32_t>(data_.size())));
  if (!gone_ && !data_.empty() && roll(6) == 0) release(roll(static_cast<uint32_t>(data_.size())));
  if (!gone_ && roll(16) == 0) check_apart();
  return !gone_;
}

bool StoreLoad::drain() {
  while (!gone_ && !items_.empty()) take_one();
  while (!gone_ && !data_.empty()) release(data_.size() - 1);
  return !gone_;
}

void StoreLoad::nudge() {
  tarn_slot_info slot{};
  slot.size = sizeof slot;
  (void)tarn_client_get_slot(client_, 0, &slot);  // hears what the daemon has to say
  Order order{next_id_++, 0, 0};
  tarn_arg argument = tarn_arg_value(&order, sizeof order);
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = kRetries;
  tarn_future future;
  if (gone_ || !ok(tarn_submit(client_, tarn_task_id(kEcho), &argument, 1, &options, &future), "submit")) return;
  tarn_bytes bytes;
  if (ok(tarn_result(client_, future, kHungNs, &bytes), "result")) ok(tarn_future_release(client_, future), "release a future");
}

// ---- Making ----------------------------------------------------------------------------------

void StoreLoad::make() {
  Datum datum{{}, next_id_++, 0, roll_size(), 0, false};
  std::vector<std::byte> bytes(datum.size);
  fill_pattern(datum.id, bytes);
  datum.digest = digest({bytes.data(), bytes.size()});
  if (roll(2) == 0) {
    Result result = judge(tarn_put(client_, bytes.data(), bytes.size(), &datum.object), "put");
    if (result == Result::kFull) return make_room();
    if (result == Result::kBad) return;
  } else {
    void* data;
    Result result = judge(tarn_object_create(client_, datum.size, &datum.object, &data), "create");
    if (result == Result::kFull) return make_room();
    if (result == Result::kBad) return;
    if (datum.size != 0) memcpy(data, bytes.data(), bytes.size());
    // Now and then it is dropped unsealed.
    if (roll(16) == 0) {
      ok(tarn_release(client_, datum.object), "release unsealed");
      return;
    }
    if (!ok(tarn_object_seal(client_, datum.object), "seal")) return;
    done_reading(datum);
  }
  data_.push_back(datum);
}

// An object that a worker makes.
void StoreLoad::order_result() {
  Order order{next_id_++, static_cast<uint32_t>(roll_size()), 0};
  tarn_arg argument = tarn_arg_value(&order, sizeof order);
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = kRetries;
  options.flags = roll(2) == 0 ? TARN_TASK_REPEATABLE : 0;
  Item item{{}, order.id, order.size, 0, false, options.flags != 0};
  Result result = judge(tarn_submit(client_, tarn_task_id(kFill), &argument, 1, &options, &item.future), "submit");
  if (result == Result::kFull) return make_room();
  if (result == Result::kGood) items_.push_back(item);
}

void StoreLoad::slice_any() {
  if (data_.empty()) return;
  const Datum& whole = any();
  if (whole.size < 2 || whole.size > 4 << 20) return;
  Datum part = whole;
  part.future = {};
  size_t offset = roll(static_cast<uint32_t>(whole.size));
  part.size = 1 + roll(static_cast<uint32_t>(whole.size - offset));
  part.offset += offset;
  part.is_slice = true;
  if (!ok(tarn_object_slice(client_, whole.object, offset, part.size, &part.object), "slice")) return;
  tarn_bytes bytes;
  if (!ok(tarn_get(client_, part.object, &bytes), "get a slice")) {
    // It is away, and there is no room for it now.
    if (!gone_) ok(tarn_release(client_, part.object), "release");
    return;
  }
  part.digest = digest(bytes);
  if (bytes.size != part.size || !matches(part.id, part.offset, bytes)) lose(part, "a slice has other bytes");
  done_reading(part);
  data_.push_back(part);
}

// To a task that reads them all. Some are released before it runs: the task holds them.
void StoreLoad::pass_some() {
  if (data_.empty()) return;
  Order order{next_id_++, 0, 0};
  Item item{{}, order.id, 0, order.id, true, false};
  std::vector<tarn_arg> arguments = {tarn_arg_value(&order, sizeof order)};
  std::vector<size_t> passed;
  for (uint32_t i = 1 + roll(4); i > 0; --i) {
    size_t at = roll(static_cast<uint32_t>(data_.size()));
    arguments.push_back(tarn_arg_object(data_[at].object));
    item.expected = add_digest(item.expected, data_[at].digest);
    passed.push_back(at);
  }
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = kRetries;
  Result result =
      judge(tarn_submit(client_, tarn_task_id(kDigest), arguments.data(), arguments.size(), &options, &item.future), "submit");
  if (result == Result::kFull) return make_room();
  if (result == Result::kBad) return;
  items_.push_back(item);
  if (roll(3) == 0) release(passed.front());
}

// ---- Reading and letting go ------------------------------------------------------------------

void StoreLoad::take_one() {
  if (items_.empty()) return;
  size_t at = roll(static_cast<uint32_t>(items_.size()));
  Item item = items_[at];
  items_.erase(items_.begin() + static_cast<ptrdiff_t>(at));
  if (item.is_reader) {
    tarn_bytes bytes{};
    int code = tarn_result(client_, item.future, kHungNs, &bytes);
    // An argument may not have found its way back into memory.
    Result result = judge(cause_of(item, code), "the result of a reader");
    if (result == Result::kBad) return;
    if (result == Result::kGood && (bytes.size != sizeof item.expected || memcmp(bytes.data, &item.expected, sizeof item.expected) != 0)) {
      fprintf(stderr, "fault: reader %#" PRIx64 " read other bytes\n", item.id);
      ++verdict_.lost;
    }
  } else if (hold_result(item) && item.is_repeatable && roll(4) != 0) {
    data_.back().future = item.future;
    ++verdict_.tasks;
    return;
  }
  ++verdict_.tasks;
  if (!gone_) ok(tarn_future_release(client_, item.future), "release a future");
}

// `code`, or, if the task failed, why: the worker found no room, or met the end of the daemon before this process did.
int StoreLoad::cause_of(const Item& item, int code) {
  tarn_task_error error{};
  error.size = sizeof error;
  if (code != TARN_E_TASK_FAILED || tarn_future_error(client_, item.future, &error) != 0) return code;
  if (is_full(error.code) || error.code == TARN_E_DAEMON_GONE) return error.code;
  fprintf(stderr, "fault: task %#" PRIx64 " failed with %s: %s\n", item.id, tarn_error_name(error.code), error.message);
  return code;
}

// Whether it did.
bool StoreLoad::hold_result(const Item& item) {
  Datum datum{{}, item.id, 0, item.size, 0, false};
  int code = tarn_future_object(client_, item.future, kHungNs, &datum.object);
  Result result = judge(cause_of(item, code), "a result");
  if (result == Result::kFull) make_room();
  if (result != Result::kGood) return false;
  tarn_bytes bytes{};
  if (ok(tarn_get(client_, datum.object, &bytes), "get a result")) {
    datum.digest = digest(bytes);
    if (bytes.size != datum.size || !has_pattern(datum.id, bytes)) lose(datum, "a result has other bytes");
    done_reading(datum);
  } else {
    datum.digest = digest_of_pattern(datum.id, datum.size);  // it is away, and there is no room for it now
  }
  if (!gone_) data_.push_back(datum);
  return !gone_;
}

void StoreLoad::read(const Datum& datum) {
  tarn_bytes bytes{};
  if (!ok(tarn_get(client_, datum.object, &bytes), "get")) return;
  if (bytes.size != datum.size || digest(bytes) != datum.digest) lose(datum, "it has changed");
  done_reading(datum);
}

// The pointer that was got last is not used any more: while memory is short the object leaves it. Some stay pinned until
// they are released, as of a program that forgets.
void StoreLoad::done_reading(const Datum& datum) {
  if (!gone_ && roll(32) != 0) ok(tarn_object_unpin(client_, datum.object), "unpin");
}

void StoreLoad::release(size_t at) {
  Datum datum = data_[at];
  data_.erase(data_.begin() + static_cast<ptrdiff_t>(at));
  read(datum);
  if (!gone_ && datum.future.id != 0) ok(tarn_future_release(client_, datum.future), "release a future");
  if (!gone_) ok(tarn_release(client_, datum.object), "release");
}

// The largest goes, so that there is room for some more.
void StoreLoad::make_room() {
  if (data_.empty()) {
    if (!items_.empty()) take_one();
    return;
  }
  auto largest = std::ranges::max_element(data_, {}, &Datum::size);
  release(static_cast<size_t>(largest - data_.begin()));
}

// Two objects that are alive never share memory, nor a place in it.
void StoreLoad::check_apart() {
  std::vector<std::pair<const std::byte*, const Datum*>> places;
  for (const Datum& datum : data_) {
    tarn_bytes bytes{};
    if (datum.is_slice || datum.size == 0) continue;
    if (!ok(tarn_get(client_, datum.object, &bytes), "get")) return;
    places.emplace_back(static_cast<const std::byte*>(bytes.data), &datum);  // that stays its own wherever the bytes are
    done_reading(datum);
  }
  std::ranges::sort(places);
  for (size_t i = 1; i < places.size(); ++i) {
    if (places[i - 1].first + places[i - 1].second->size <= places[i].first) continue;
    fprintf(stderr, "fault: objects %#" PRIx64 " and %#" PRIx64 " lie in the same memory\n", places[i - 1].second->id,
            places[i].second->id);
    ++verdict_.doubled;
  }
}

}  // namespace tarn::fault

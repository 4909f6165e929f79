#include "load.hpp"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace tarn::fault {
namespace {

constexpr int64_t kHungNs = 20'000'000'000;
constexpr size_t kWindow = 48;     // tasks outstanding
constexpr uint32_t kDepthMax = 4;  // of tasks of tasks
constexpr size_t kDataMax = 8;     // objects held
constexpr uint32_t kRetriesOnError = 50;
constexpr int32_t kRetries = 200;  // no storm kills one task that often

}  // namespace

Load::Load(tarn_client* client, uint64_t seed, const Mix& mix, Verdict& verdict)
    : client_(client), random_(seed), mix_(mix), verdict_(verdict), next_id_(seed << 24) {}

Load::~Load() = default;

void Load::complain(const char* what, const Item& item, int code) {
  fprintf(stderr, "fault: task %#" PRIx64 " (kind %d): %s: %s: %s\n", item.id,
          static_cast<int>(item.kind), what, tarn_error_name(code), tarn_last_error());
}

bool Load::ok(int code, const char* what) {
  if (code >= 0) return true;
  if (code == TARN_E_DAEMON_GONE) {
    gone_ = true;
    return false;
  }
  fprintf(stderr, "fault: %s: %s: %s\n", what, tarn_error_name(code), tarn_last_error());
  code == TARN_E_TIMED_OUT ? ++verdict_.hung : ++verdict_.lost;
  gone_ = true;  // no use in going on
  return false;
}

bool Load::step() {
  for (uint32_t i = roll(16); i > 0 && items_.size() < kWindow && !gone_; --i) submit_one();
  if (gone_) return false;
  switch (roll(4)) {
    case 0:
      take_some();
      break;
    case 1:
      take_by_callback();
      break;
    default:
      for (uint32_t i = roll(16); i > 0 && !items_.empty() && !gone_; --i) take_front();
  }
  return !gone_;
}

bool Load::finish() {
  while (!gone_ && graph_.graph != nullptr) take_graph();
  while (!gone_ && stream_.order.id != 0) read_stream(UINT32_MAX);
  while (!gone_ && !items_.empty()) take_front();
  while (!gone_ && !data_.empty()) drop_datum();
  if (!gone_ && wordless_ != 0) {
    fprintf(stderr, "fault: %" PRIu64 " errors came without their words\n", wordless_);
    verdict_.lost += wordless_;
  }
  return !gone_;
}

void Load::nudge() {
  tarn_slot_info slot{};
  slot.size = sizeof slot;
  (void)tarn_client_get_slot(client_, 0, &slot);  // hears what the daemon has to say
  std::vector<tarn_arg> none;
  Order order{next_id_++, 0, 0};
  if (!gone_ && submit(kEcho, order, none, {{}, 0, Kind::kNumber, answer(order.id), 0, 0})) take_front();
}

// ---- Submitting ------------------------------------------------------------------------------

bool Load::submit(const char* task, Order order, std::vector<tarn_arg>& more, Item item, uint32_t cores) {
  more.insert(more.begin(), tarn_arg_value(&order, sizeof order));
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = kRetries;
  tarn_retry retry{sizeof retry, kRetriesOnError, 1, &kAgainCode, 1'000'000, 4'000'000, 2, {}};
  if (task == kAgain) options.retry_on_error = &retry;
  tarn_needs needs{};
  needs.size = sizeof needs;
  needs.cores = cores;
  options.needs = &needs;
  item.id = order.id;
  item.size = order.size;
  item.calls = 0;
  if (!ok(tarn_submit(client_, tarn_task_id(task), more.data(), more.size(), &options, &item.future),
          "submit"))
    return false;
  items_.push_back(item);
  return true;
}

void Load::submit_one() {
  Order order{next_id_++, 0, roll(3)};
  std::vector<tarn_arg> none;
  uint32_t all = mix_.values + mix_.results + mix_.objects + mix_.dependencies + mix_.errors +
                 mix_.retries + mix_.sleeps + mix_.cancels + mix_.trees + mix_.graphs + mix_.streams + mix_.wide + mix_.crashes;
  uint32_t choice = roll(all);
  auto is = [&choice](uint32_t weight) {
    if (choice < weight) return true;
    choice -= weight;
    return false;
  };
  if (is(mix_.values)) {
    submit(kEcho, order, none, {{}, 0, Kind::kNumber, answer(order.id), 0, 0});
  } else if (is(mix_.results)) {
    // Around the 32 bytes that fit a record, and well above.
    order.size = roll(2) == 0 ? roll(80) : roll(static_cast<uint32_t>(mix_.large_size_max));
    submit(kFill, order, none, {{}, 0, Kind::kBytes, digest_of_pattern(order.id, order.size), 0, 0});
  } else if (is(mix_.objects)) {
    submit_digest_of_objects();
  } else if (is(mix_.dependencies)) {
    submit_digest_of_futures();
  } else if (is(mix_.errors)) {
    submit(kFail, order, none, {{}, 0, Kind::kError, order.id, 0, 0});
  } else if (is(mix_.retries)) {
    submit(kAgain, order, none, {{}, 0, Kind::kNumber, answer(order.id), 0, 0});
  } else if (is(mix_.sleeps)) {
    order.size = 50 + roll(3000);
    submit(kSleep, order, none, {{}, 0, Kind::kNumber, answer(order.id), 0, 0});
  } else if (is(mix_.cancels)) {
    submit_cancelled();
  } else if (is(mix_.graphs)) {
    graph_.graph == nullptr ? begin_graph() : take_graph();
    return;
  } else if (is(mix_.streams)) {
    stream_.order.id == 0 ? begin_stream() : read_stream(roll(60));
    return;
  } else if (is(mix_.wide)) {
    tarn_client_info info{};
    info.size = sizeof info;
    (void)tarn_client_get_info(client_, &info);
    order.size = roll(500);
    submit(kSleep, order, none, {{}, 0, Kind::kNumber, answer(order.id), 0, 0}, std::min(info.workers, 2u));
  } else if (is(mix_.trees)) {
    order.detail = 1 + roll(kDepthMax);
    submit(kTree, order, none, {{}, 0, Kind::kNumber, tree_answer(order.id, order.detail), 0, 0});
  } else {
    submit(kCrash, order, none, {{}, 0, Kind::kNumber, answer(order.id), 0, 0});
  }
  // Now and then nobody wants the result.
  if (!gone_ && !items_.empty() && roll(20) == 0) {
    Item item = items_.back();
    items_.pop_back();
    if (item.kind != Kind::kAfterError && item.wish == Item::Wish::kResult) unwatched_.push_back(item.id);
    drop(item);
  }
}

// ---- Graphs: one at a time, beside the tasks -----------------------------------------------------

void Load::begin_graph() {
  constexpr uint32_t kNodesMax = 60;
  constexpr uint32_t kArgumentsMax = 4;
  tarn_graph_options options{};
  options.size = sizeof options;
  options.retries = kRetries;
  if (!ok(tarn_graph_create(client_, &options, &graph_.graph), "graph")) return;
  graph_.digests.clear();
  graph_.runs_left = 1 + roll(4);
  for (uint32_t i = 0, count = 1 + roll(kNodesMax); i < count && !gone_; ++i) {
    Order order{next_id_++, 0, 0};
    std::vector<tarn_arg> args{tarn_arg_value(&order, sizeof order)};
    const char* task = kDigest;
    uint64_t result = order.id;
    if (roll(8) == 0) {
      task = kFill;
      order.size = roll(2) == 0 ? roll(80) : roll(static_cast<uint32_t>(mix_.large_size_max));
      graph_.digests.push_back(digest_of_pattern(order.id, order.size));
    } else {
      for (uint32_t k = i == 0 ? 0 : roll(kArgumentsMax); k > 0; --k) {
        uint32_t other = roll(i);
        args.push_back(tarn_arg_node(other));
        result = add_digest(result, graph_.digests[other]);
      }
      graph_.digests.push_back(digest({&result, sizeof result}));
    }
    ok(tarn_graph_add(graph_.graph, tarn_task_id(task), args.data(), args.size(), nullptr, nullptr), "node");
  }
  if (!gone_) run_graph();
}

void Load::run_graph() { ok(tarn_graph_run(graph_.graph, nullptr, 0), "run of a graph"); }

// Waits for the run, or cancels it, or frees the graph meanwhile; then perhaps the next one.
void Load::take_graph() {
  uint32_t end = roll(8);
  if (end == 0) {
    tarn_graph_free(graph_.graph);
    graph_.graph = nullptr;
    return;
  }
  bool is_cancelled = end == 1 && tarn_graph_cancel(graph_.graph) == 0;
  int code = tarn_graph_wait(graph_.graph, kHungNs);
  if (!(is_cancelled && code == TARN_E_CANCELLED) && !ok(code, "wait for a graph")) return;
  for (uint32_t i = 0; i < graph_.digests.size() && code == 0 && !gone_; ++i) {
    tarn_bytes bytes;
    if (!ok(tarn_graph_result(graph_.graph, i, &bytes), "result of a node")) return;
    ++verdict_.tasks;
    if (digest(bytes) == graph_.digests[i]) continue;
    fprintf(stderr, "fault: node %u of a graph has a wrong result of %zu bytes\n", i, bytes.size);
    ++verdict_.lost;
  }
  if (--graph_.runs_left != 0) return run_graph();
  tarn_graph_free(graph_.graph);
  graph_.graph = nullptr;
}

// ---- Streams: one at a time, beside the tasks ----------------------------------------------------

void Load::begin_stream() {
  stream_ = {{}, {next_id_++, roll(2) == 0 ? roll(80) : roll(static_cast<uint32_t>(mix_.large_size_max)), roll(200)}, 0};
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = kRetries;
  tarn_stream_options window{};
  window.size = sizeof window;
  window.items = 1 + roll(40);
  window.bytes = roll(3) == 0 ? 1 + roll(20'000) : 0;
  tarn_arg order = tarn_arg_value(&stream_.order, sizeof stream_.order);
  ok(tarn_submit_stream(client_, tarn_task_id(kYield), &order, 1, &options, &window, &stream_.future), "submit a stream");
}

// Some items, each the next one; then perhaps the reader leaves, or the task is cancelled.
void Load::read_stream(uint32_t items) {
  for (uint32_t i = 0; i < items && !gone_; ++i) {
    tarn_bytes bytes;
    int code = tarn_stream_next(client_, stream_.future, kHungNs, &bytes);
    tarn_task_error error{};
    error.size = sizeof error;
    if (code == TARN_E_TASK_FAILED && tarn_future_error(client_, stream_.future, &error) == 0 && error.code == TARN_E_DAEMON_GONE)
      code = TARN_E_DAEMON_GONE;
    if (code == TARN_E_END && stream_.read == stream_.order.detail) {
      ++verdict_.tasks;
      taken_.push_back(stream_.order.id);
      return end_stream();
    }
    if (code < 0 && code != TARN_E_END) {
      ok(code, "read a stream");
      return;
    }
    if (code == 0 && is_item(stream_.order, stream_.read, bytes)) {
      ++stream_.read;
      continue;
    }
    fprintf(stderr, "fault: item %u of %u of stream %#" PRIx64 " is wrong, or missing (%s)\n", stream_.read, stream_.order.detail,
            stream_.order.id, tarn_error_name(code));
    ++verdict_.lost;
    return end_stream();
  }
  if (gone_ || items == UINT32_MAX || roll(8) != 0) return;
  if (roll(2) == 0) {
    int code = tarn_cancel(client_, stream_.future, roll(2) == 0 ? TARN_CANCEL_KILL : 0);
    if (code != TARN_E_STATE && !ok(code, "cancel a stream")) return;
  }
  end_stream();
}

void Load::end_stream() {
  stream_.order.id = 0;
  ok(tarn_future_release(client_, stream_.future), "release a stream");
}

// A task that may be cancelled before it begins, while it runs, or too late.
void Load::submit_cancelled() {
  using Wish = Item::Wish;
  Order order{next_id_++, 50 + roll(3000), roll(kDepthMax)};
  std::vector<tarn_arg> none;
  bool is_tree = order.detail != 0;
  uint64_t expected = is_tree ? tree_answer(order.id, order.detail) : answer(order.id);
  if (!submit(is_tree ? kTree : kSleep, order, none, {{}, 0, Kind::kNumber, expected, 0, 0})) return;
  if (roll(2) == 0) take_front();
  if (gone_ || items_.empty() || items_.back().id != order.id) return;
  Wish wish = roll(4) == 0 ? Wish::kKilled : Wish::kCancelled;
  int code = tarn_cancel(client_, items_.back().future, wish == Wish::kKilled ? TARN_CANCEL_KILL : 0);
  if (code == TARN_E_STATE) return;  // it is done
  if (ok(code, "cancel")) items_.back().wish = wish;
}

void Load::submit_digest_of_objects() {
  if (data_.size() < kDataMax && (data_.empty() || roll(3) == 0)) make_datum();
  if (gone_) return;
  Order order{next_id_++, 0, 0};
  uint64_t expected = order.id;
  std::vector<tarn_arg> more;
  std::vector<tarn_object> slices;
  for (uint32_t i = 1 + roll(3); i > 0; --i) {
    const Datum& datum = data_[roll(static_cast<uint32_t>(data_.size()))];
    if (datum.size < 64 || roll(2) == 0) {
      more.push_back(tarn_arg_object(datum.object));
      expected = add_digest(expected, datum.digest);
      continue;
    }
    // A slice that is given back before its task runs: the task holds it.
    uint64_t offset = roll(static_cast<uint32_t>(datum.size / 2));
    uint64_t size = datum.size / 2;
    tarn_object slice;
    tarn_bytes bytes;
    if (!ok(tarn_object_slice(client_, datum.object, offset, size, &slice), "slice")) return;
    slices.push_back(slice);
    if (!ok(tarn_get(client_, slice, &bytes), "get")) return;
    more.push_back(tarn_arg_object(slice));
    expected = add_digest(expected, digest(bytes));
    if (!ok(tarn_object_unpin(client_, slice), "unpin")) return;
  }
  submit(kDigest, order, more, {{}, 0, Kind::kNumber, expected, 0, 0});
  for (tarn_object& slice : slices)
    if (!gone_) ok(tarn_release(client_, slice), "release");
  if (!gone_ && roll(4) == 0) drop_datum();
}

void Load::submit_digest_of_futures() {
  if (items_.empty()) return;
  Order order{next_id_++, 0, 0};
  // More than 31 use a tree.
  uint32_t count = roll(8) == 0 ? 32 + roll(40) : 1 + roll(4);
  uint64_t expected = order.id;
  const Item* failed = nullptr;
  std::vector<tarn_arg> more;
  for (uint32_t i = 0; i < count; ++i) {
    const Item& item = items_[roll(static_cast<uint32_t>(items_.size()))];
    if (item.wish != Item::Wish::kResult) continue;
    bool is_error = item.kind == Kind::kError || item.kind == Kind::kAfterError;
    // Most trees are without errors, or hardly anything but errors would be left.
    if (is_error && (count > 4 || roll(4) != 0)) continue;
    if (is_error && failed == nullptr) failed = &item;
    more.push_back(tarn_arg_future(item.future));
    if (item.kind == Kind::kBytes) {
      expected = add_digest(expected, item.expected);
    } else if (item.kind == Kind::kNumber) {
      expected = add_digest(expected, digest({&item.expected, sizeof item.expected}));
    }
  }
  if (failed != nullptr) {
    submit(kDigest, order, more, {{}, 0, Kind::kAfterError, failed->expected, 0, 0});
  } else {
    submit(kDigest, order, more, {{}, 0, Kind::kNumber, expected, 0, 0});
  }
}

void Load::make_datum() {
  Datum datum{{}, next_id_++, 0, 0};
  constexpr uint32_t kSizes[] = {64, 4096, 100'000, 2'000'000};
  datum.size = roll(kSizes[roll(4)]);
  std::vector<std::byte> bytes(datum.size);
  fill_pattern(datum.id, bytes);
  datum.digest = digest({bytes.data(), bytes.size()});
  if (roll(2) == 0) {
    if (!ok(tarn_put(client_, bytes.data(), bytes.size(), &datum.object), "put")) return;
  } else {
    void* data;
    if (!ok(tarn_object_create(client_, datum.size, &datum.object, &data), "create")) return;
    if (datum.size != 0) memcpy(data, bytes.data(), bytes.size());
    if (!ok(tarn_object_seal(client_, datum.object), "seal")) return;
    if (!ok(tarn_object_unpin(client_, datum.object), "unpin")) return;
  }
  data_.push_back(datum);
}

void Load::drop_datum() {
  size_t at = roll(static_cast<uint32_t>(data_.size()));
  Datum datum = data_[at];
  data_.erase(data_.begin() + static_cast<ptrdiff_t>(at));
  tarn_bytes bytes;
  if (!ok(tarn_get(client_, datum.object, &bytes), "get")) return;
  if (bytes.size != datum.size || digest(bytes) != datum.digest) {
    fprintf(stderr, "fault: object %#" PRIx64 " of %zu bytes has changed\n", datum.id, datum.size);
    ++verdict_.lost;
  }
  ok(tarn_release(client_, datum.object), "release");
}

// ---- Taking results --------------------------------------------------------------------------

void Load::drop(const Item& item) {
  if (!gone_) ok(tarn_future_release(client_, item.future), "release a future");
}

void Load::check_error(const Item& item, int code) {
  tarn_task_error error{};
  error.size = sizeof error;
  if (!ok(tarn_future_error(client_, item.future, &error), "future_error")) return;
  char words[64];
  snprintf(words, sizeof words, "order %" PRIu64 " is refused", item.expected);
  bool good = item.kind == Kind::kError
                  ? code == TARN_E_TASK_FAILED && error.code == fail_code(item.expected) &&
                        strcmp(error.type, kFailType) == 0 && strcmp(error.message, words) == 0
                  : code == TARN_E_DEPENDENCY && error.code == TARN_E_DEPENDENCY &&
                        strstr(error.message, words) != nullptr;
  if (good) return;
  if (error.message[0] == '\0' && error.code == (item.kind == Kind::kError ? fail_code(item.expected) : TARN_E_DEPENDENCY)) {
    // Only the words are missing: there was no memory for them, as happens while the daemon goes.
    ++wordless_;
    return;
  }
  complain("another error than planned", item, code);
  fprintf(stderr, "fault: code %d type '%s' message '%s' signal %d attempts %u, wanted '%s'\n", error.code,
          error.type, error.message, error.signal, error.attempts, words);
  ++verdict_.lost;
}

// Waits for the result, checks it and gives the future back.
void Load::check(Item& item) {
  tarn_bytes bytes{};
  bool by_object = item.kind == Kind::kBytes && roll(3) == 0;
  tarn_object object{};
  int code = by_object ? tarn_future_object(client_, item.future, kHungNs, &object)
                       : tarn_result(client_, item.future, kHungNs, &bytes);
  // A worker may meet the end of the daemon before the client does, when it wants memory for a result.
  tarn_task_error error{};
  error.size = sizeof error;
  bool has_cause = code == TARN_E_TASK_FAILED || code == TARN_E_DEPENDENCY;
  if (has_cause && tarn_future_error(client_, item.future, &error) == 0 && error.cause == TARN_E_DAEMON_GONE)
    code = TARN_E_DAEMON_GONE;
  if (code == TARN_E_TIMED_OUT || code == TARN_E_DAEMON_GONE) {
    if (code == TARN_E_TIMED_OUT) complain("no result", item, code);
    ok(code, "result");
    return;
  }
  bool should_fail = item.kind == Kind::kError || item.kind == Kind::kAfterError;
  bool was_cancelled = item.wish != Item::Wish::kResult && code == TARN_E_CANCELLED;
  if (was_cancelled) {
    // As it was wished.
  } else if (item.wish == Item::Wish::kKilled) {
    complain("it was to be killed", item, code);
    ++verdict_.lost;
  } else if (should_fail && code < 0) {
    check_error(item, code);
  } else if (should_fail || code < 0) {
    complain(should_fail ? "a result instead of an error" : "an error instead of a result", item, code);
    ++verdict_.lost;
  } else {
    if (by_object && !ok(tarn_get(client_, object, &bytes), "get a result")) return;
    bool good = item.kind == Kind::kNumber
                    ? bytes.size == 8 && memcmp(bytes.data, &item.expected, 8) == 0
                    : bytes.size == item.size && has_pattern(item.id, bytes);
    if (!good) {
      complain("a wrong result", item, 0);
      ++verdict_.lost;
    }
    if (by_object && !ok(tarn_release(client_, object), "release a result")) return;
  }
  if (gone_) return;
  ++verdict_.tasks;
  if (item.kind != Kind::kAfterError && !was_cancelled) taken_.push_back(item.id);  // the others may never have run
  drop(item);
}

void Load::take_front() {
  Item item = items_.front();
  items_.pop_front();
  check(item);
}

// Waits for some of them, in whatever order they come.
void Load::take_some() {
  if (items_.empty()) return;
  std::vector<tarn_future> futures;
  for (const Item& item : items_) futures.push_back(item.future);
  std::vector<uint8_t> done(futures.size());
  size_t want = 1 + roll(static_cast<uint32_t>(futures.size()));
  size_t count = 0;
  int code = tarn_wait(client_, futures.data(), futures.size(), want, kHungNs, done.data(), &count);
  if (!ok(code, "wait")) return;
  if (count < want) {
    fprintf(stderr, "fault: wait for %zu brought %zu\n", want, count);
    ++verdict_.lost;
  }
  std::deque<Item> left;
  for (size_t i = 0; i < futures.size(); ++i) {
    if (done[i] == 0 || gone_) {
      left.push_back(items_[i]);
    } else {
      check(items_[i]);
    }
  }
  items_ = std::move(left);
}

void Load::take_by_callback() {
  if (items_.empty()) return;
  // The callback counts in the item, which does not move meanwhile.
  auto count_call = [](tarn_client*, tarn_future, void* context) { ++*static_cast<uint32_t*>(context); };
  std::vector<Item> batch(items_.begin(), items_.end());
  items_.clear();
  for (Item& item : batch)
    if (!ok(tarn_future_then(client_, item.future, count_call, &item.calls), "then")) return;
  size_t called = 0;
  auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kHungNs);
  for (;;) {
    int r = tarn_client_dispatch(client_);
    if (!ok(r, "dispatch")) return;
    called += static_cast<size_t>(r);
    if (called >= batch.size()) break;
    pollfd entry{tarn_client_fd(client_), POLLIN, 0};
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0 || poll(&entry, 1, static_cast<int>(left.count())) == 0) {
      fprintf(stderr, "fault: %zu of %zu callbacks came\n", called, batch.size());
      ++verdict_.hung;
      gone_ = true;
      return;
    }
  }
  for (Item& item : batch) {
    if (item.calls != 1) {
      complain("its callback was not called once", item, 0);
      item.calls == 0 ? ++verdict_.lost : ++verdict_.doubled;
    }
    if (!gone_) check(item);
  }
}

}  // namespace tarn::fault

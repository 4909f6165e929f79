// Load: submits tasks of every kind, takes their results in every way, and checks each one.
//
// What it submitted stands in a ledger, so that a result that is wrong, missing or delivered twice is
// noticed. Nothing in here fails because a worker was killed: all tasks may be run again often enough.
// Single-threaded.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "tarn/tarn.h"
#include "tasks.hpp"

namespace tarn::fault {

struct Verdict {
  uint64_t tasks = 0;  // results taken and checked
  uint64_t hung = 0;
  uint64_t lost = 0;     // a wrong result, an error that nobody planned, or no result at all
  uint64_t doubled = 0;  // delivered twice
  uint64_t leaked = 0;

  [[nodiscard]] bool good() const { return hung + lost + doubled + leaked == 0; }
};

struct Mix {  // what to submit, as weights
  uint32_t values = 4;
  uint32_t results = 2;  // larger than a record
  uint32_t objects = 3;
  uint32_t dependencies = 3;
  uint32_t errors = 1;
  uint32_t retries = 1;  // after errors
  uint32_t sleeps = 2;
  uint32_t crashes = 0;
  uint32_t cancels = 1;
  uint32_t trees = 1;
  uint32_t graphs = 1;
  uint32_t streams = 1;
  uint32_t wide = 1;  // on two cores, if there are workers enough
  size_t large_size_max = 200'000;
};

class Load {
 public:
  Load(tarn_client* client, uint64_t seed, const Mix& mix, Verdict& verdict);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // One step: submits some, takes some. False once the daemon has gone: nothing more can be done.
  [[nodiscard]] bool step();

  // Takes every outstanding result and gives everything back. False if the daemon has gone.
  [[nodiscard]] bool finish();

  // Some tasks more, so that the client tidies up after those it had released early.
  void nudge();

  // The ids of tasks whose results were never taken, but which must run all the same.
  [[nodiscard]] const std::vector<uint64_t>& unwatched() const { return unwatched_; }
  [[nodiscard]] const std::vector<uint64_t>& taken() const { return taken_; }

 private:
  enum class Kind { kNumber, kBytes, kError, kAfterError };

  struct Item {
    tarn_future future;
    uint64_t id;
    Kind kind;
    uint64_t expected;  // a number; the digest of bytes; for kAfterError the id of the task that failed
    uint32_t size;
    uint32_t calls;  // of the callback
    enum class Wish : uint8_t { kResult, kCancelled, kKilled } wish = Wish::kResult;
  };

  struct Datum {
    tarn_object object;
    uint64_t id;
    size_t size;
    uint64_t digest;
  };

  // A graph that runs, and what each of its nodes is to come to: the digest of its result.
  struct RunningGraph {
    tarn_graph* graph = nullptr;
    std::vector<uint64_t> digests;
    uint32_t runs_left = 0;
  };

  // A stream that is being read, and how far.
  struct ReadStream {
    tarn_future future{};
    Order order{};  // id 0: there is none
    uint32_t read = 0;
  };

  uint32_t roll(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  void complain(const char* what, const Item& item, int code);
  // Whether `code` is a success; notes what else it means.
  bool ok(int code, const char* what);

  void submit_one();
  bool submit(const char* task, Order order, std::vector<tarn_arg>& more, Item item, uint32_t cores = 0);
  void submit_digest_of_objects();
  void submit_digest_of_futures();
  void submit_cancelled();
  void begin_graph();
  void run_graph();
  void take_graph();
  void begin_stream();
  void read_stream(uint32_t items);
  void end_stream();
  void make_datum();
  void drop_datum();
  void take_front();
  void take_some();
  void take_by_callback();
  void check(Item& item);
  void check_error(const Item& item, int code);
  void drop(const Item& item);

  tarn_client* client_;
  std::mt19937_64 random_;
  Mix mix_;
  Verdict& verdict_;
  std::deque<Item> items_;
  std::vector<Datum> data_;
  RunningGraph graph_;
  ReadStream stream_;
  std::vector<uint64_t> unwatched_;
  std::vector<uint64_t> taken_;
  uint64_t next_id_;
  uint64_t wordless_ = 0;  // errors without their text
  bool gone_ = false;
};

}  // namespace tarn::fault

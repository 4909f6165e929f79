// StoreLoad: makes, shares, reads, holds and releases objects of every size, and knows what each must contain.
//
// Objects come from the client (put; create and seal) and from workers (results, which outlive their makers); they are sliced,
// held, passed to tasks, and read by both, and whoever reads one checks all of its bytes. The session is meant to be
// small: most of what it holds is on the disk, and comes back to be read; now and then it is full, which is an outcome and
// no fault. Nothing in here fails because a worker or the spawn
// service was killed. Single-threaded.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "load.hpp"
#include "tarn/tarn.h"
#include "tasks.hpp"

namespace tarn::fault {

class StoreLoad {
 public:
  StoreLoad(tarn_client* client, uint64_t seed, Verdict& verdict);
  StoreLoad(const StoreLoad&) = delete;
  StoreLoad& operator=(const StoreLoad&) = delete;

  // One step: something is made, read, passed on or released. False once the daemon has gone.
  [[nodiscard]] bool step();

  // Takes every result, reads every object a last time and releases it. False if the daemon has gone.
  [[nodiscard]] bool drain();

  // A task, so that the client tidies up what it had released.
  void nudge();

  [[nodiscard]] bool is_alive() const { return !gone_; }

  // Whether it has no workers any more, because there was no room for one.

  // How often there was no room, since this was last asked.
  [[nodiscard]] uint64_t take_full() { return std::exchange(full_, 0); }

 private:
  // An object or a part of one, and the bytes that it must have.
  struct Datum {
    tarn_object object;
    uint64_t id;      // of the pattern
    size_t offset;    // in the pattern
    size_t size;
    uint64_t digest;
    bool is_slice;
    tarn_future future{};  // of a repeatable task, held so that it may be dropped; 0: none
  };

  // A task whose result is on its way.
  struct Item {
    tarn_future future;
    uint64_t id;
    size_t size;        // of a result that is to be held
    uint64_t expected;  // the digest that a reader must find
    bool is_reader;
    bool is_repeatable;
  };

  uint32_t roll(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  size_t roll_size();
  Datum& any() { return data_[roll(static_cast<uint32_t>(data_.size()))]; }

  enum class Result { kGood, kFull, kBad };
  Result judge(int code, const char* what);
  bool ok(int code, const char* what) { return judge(code, what) == Result::kGood; }
  void lose(const Datum& datum, const char* what);

  void make();
  void order_result();
  void slice_any();
  void pass_some();
  void take_one();
  int cause_of(const Item& item, int code);
  bool hold_result(const Item& item);
  void read(const Datum& datum);
  void done_reading(const Datum& datum);  // once after each tarn_get and tarn_object_create that is over
  void release(size_t at);
  void make_room();
  void check_apart();

  tarn_client* client_;
  std::mt19937_64 random_;
  Verdict& verdict_;
  bool is_greedy_;
  size_t data_max_;
  std::vector<Datum> data_;
  std::vector<Item> items_;
  uint64_t next_id_;
  uint64_t full_ = 0;
  bool gone_ = false;
};

}  // namespace tarn::fault

// Word: the only kind of variable that two processes both touch.
//
// All protocol code is written against Word, so that the very same templates run
// - in production, as plain std::atomic (no cost);
// - with TARN_KILL_POINTS, where every operation is a point at which a test may kill or stop the
//   process, before or after (tests/fault);
// - with TARN_MODEL, where tests/model supplies Word itself: a scheduler then explores every
//   interleaving, every store-buffer delay of x86 and every crash.
//
// Fences come in a pair, because a full fence on every submission costs more than the submission
// (it waits for the lines that the other core still holds): the frequent side calls light_fence, a
// compiler barrier, and the rare side, about to sleep, calls heavy_fence, which makes every other
// running member execute a full fence (membarrier). Where the kernel lacks membarrier, both are
// full fences: see set_fences_symmetric.
#pragma once

#ifdef TARN_MODEL
#include "model_word.hpp"  // tests/model
#else

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "base/kill_point.hpp"

namespace tarn::shm {

inline constexpr auto kRelaxed = std::memory_order_relaxed;
inline constexpr auto kAcquire = std::memory_order_acquire;
inline constexpr auto kRelease = std::memory_order_release;
inline constexpr auto kAcqRel = std::memory_order_acq_rel;
inline constexpr auto kSeqCst = std::memory_order_seq_cst;

template <class T>
class Word {
  static_assert(std::is_unsigned_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  static_assert(std::atomic<T>::is_always_lock_free);

 public:
  Word() = default;  // memory from a fresh memfd is zero, and zero is every word's initial value
  explicit constexpr Word(T value) : value_(value) {}
  Word(const Word&) = delete;
  Word& operator=(const Word&) = delete;

  [[nodiscard]] T load(std::memory_order order) const { return value_.load(order); }

  void store(T value, std::memory_order order) {
    TARN_KILL_POINT();
    value_.store(value, order);
    TARN_KILL_POINT();
  }

  T exchange(T value) {
    TARN_KILL_POINT();
    T old = value_.exchange(value, kSeqCst);
    TARN_KILL_POINT();
    return old;
  }

  // On failure `expected` becomes the value found.
  bool compare_exchange(T& expected, T desired) {
    TARN_KILL_POINT();
    bool ok = value_.compare_exchange_strong(expected, desired, kSeqCst, kAcquire);
    TARN_KILL_POINT();
    return ok;
  }

  T fetch_or(T bits) {
    TARN_KILL_POINT();
    T old = value_.fetch_or(bits, kSeqCst);
    TARN_KILL_POINT();
    return old;
  }

  T fetch_and(T bits) {
    TARN_KILL_POINT();
    T old = value_.fetch_and(bits, kSeqCst);
    TARN_KILL_POINT();
    return old;
  }

  T fetch_add(T addend) {
    TARN_KILL_POINT();
    T old = value_.fetch_add(addend, kSeqCst);
    TARN_KILL_POINT();
    return old;
  }

  // The address for futex calls (32-bit words only).
  [[nodiscard]] uint32_t* futex_address()
    requires(sizeof(T) == 4)
  {
    return reinterpret_cast<uint32_t*>(&value_);
  }

 private:
  std::atomic<T> value_{};
};

// One switch per process, set once before the first session by os::Membarrier's outcome.
inline bool fences_are_symmetric = true;

// The frequent side of an asymmetric store-load barrier.
inline void light_fence() {
  if (fences_are_symmetric) [[unlikely]] {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

// Both sides of a store-load barrier alike.
inline void full_fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

// The rare side; a system call. Defined in fence.cpp.
void heavy_fence();

}  // namespace tarn::shm

#endif  // TARN_MODEL

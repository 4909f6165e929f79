// Word, modelled: what shm/word.hpp supplies when TARN_MODEL is defined.
//
// Every operation is a step of the explorer (explorer.hpp) under x86-TSO: stores go through the store
// buffer of their process, read-modify-writes and sequentially consistent stores wait until it is
// empty. The layout is the production one, so records and segments keep their size.
//
// memcpy between arrays of std::byte inside namespace tarn is modelled too: that is how payloads are
// moved. Its stores go through the store buffer in pieces of 16 bytes, so that a crash can tear them,
// and a read that meets somebody's unfinished write is reported as a race.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tarn::model {

enum class Rmw : uint8_t { kExchange, kCompareExchange, kOr, kAnd, kAdd };

[[nodiscard]] uint64_t load(const void* address, unsigned size);
void store(void* address, unsigned size, uint64_t value, bool sequential);
// Returns the value found; compare-exchange writes only if that was `expected`.
uint64_t read_modify_write(Rmw kind, void* address, unsigned size, uint64_t operand, uint64_t expected);
void light_fence();
void heavy_fence();
void full_fence();
void copy_plain(std::byte* to, const std::byte* from, size_t size);

// What heavy_fence() and light_fence() are in this exploration (Options::symmetric_fences).
[[nodiscard]] bool fences_are_symmetric();

}  // namespace tarn::model

namespace tarn {

// A better match than the C library's for arrays of std::byte, and only for these.
inline void memcpy(std::byte* to, const std::byte* from, size_t size) { model::copy_plain(to, from, size); }

}  // namespace tarn

namespace tarn::shm {

inline constexpr auto kRelaxed = std::memory_order_relaxed;
inline constexpr auto kAcquire = std::memory_order_acquire;
inline constexpr auto kRelease = std::memory_order_release;
inline constexpr auto kAcqRel = std::memory_order_acq_rel;
inline constexpr auto kSeqCst = std::memory_order_seq_cst;

template <class T>
class Word {
  static_assert(std::is_unsigned_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));

 public:
  Word() = default;
  explicit constexpr Word(T value) : value_(value) {}
  Word(const Word&) = delete;
  Word& operator=(const Word&) = delete;

  [[nodiscard]] T load(std::memory_order) const { return static_cast<T>(model::load(&value_, sizeof(T))); }

  void store(T value, std::memory_order order) {
    model::store(&value_, sizeof(T), value, order == std::memory_order_seq_cst);
  }

  T exchange(T value) { return change(model::Rmw::kExchange, value); }

  bool compare_exchange(T& expected, T desired) {
    T found = change(model::Rmw::kCompareExchange, desired, expected);
    if (found == expected) return true;
    expected = found;
    return false;
  }

  T fetch_or(T bits) { return change(model::Rmw::kOr, bits); }
  T fetch_and(T bits) { return change(model::Rmw::kAnd, bits); }
  T fetch_add(T addend) { return change(model::Rmw::kAdd, addend); }

  [[nodiscard]] uint32_t* futex_address()
    requires(sizeof(T) == 4)
  {
    return &value_;
  }

 private:
  T change(model::Rmw kind, T operand, T expected = 0) {
    return static_cast<T>(model::read_modify_write(kind, &value_, sizeof(T), operand, expected));
  }

  T value_{};
};

inline void light_fence() { model::light_fence(); }
inline void heavy_fence() { model::heavy_fence(); }
inline void full_fence() { model::full_fence(); }

}  // namespace tarn::shm

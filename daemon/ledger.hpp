// Ledger: who has how much of the host's memory for slabs and segments, and of tarnd's descriptors.
//
// A Budget counts one of them, has a limit and belongs to a larger one: session to tenant to host. A Charge lives in the
// thing that was paid for and gives back in its destructor. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace tarn::daemon {

class Budget {
 public:
  static constexpr uint64_t kNoLimit = UINT64_MAX;  // but that of the larger one

  // `unit` is what is counted, as a message says it: "bytes"; `key` who says how much it may be: "memory.limit".
  Budget(std::string name, const char* unit, uint64_t limit, int error_code, Budget* parent, const char* key = "its limit")
      : name_(std::move(name)), unit_(unit), limit_(limit), error_code_(error_code), parent_(parent), key_(key) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;
  ~Budget();

  [[nodiscard]] uint64_t limit() const { return limit_; }
  // The least of its own and those above.
  [[nodiscard]] uint64_t limit_of_all() const;
  // What the one that has least can still pay.
  [[nodiscard]] uint64_t room() const;
  [[nodiscard]] uint64_t used() const { return used_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int error_code() const { return error_code_; }
  // The one that it belongs to; nullptr: none.
  [[nodiscard]] const Budget* parent() const { return parent_; }
  // This one or the nearest above it that cannot pay `amount`; nullptr if all can.
  [[nodiscard]] const Budget* full_for(uint64_t amount) const;
  // Fails with the code of this one, which is full, and a text with the numbers.
  [[nodiscard]] int refuse(uint64_t amount) const;

  // Of one that belongs to no other: `call` comes whenever something was given back to it. It may come from a destructor,
  // so it only notes that.
  void on_given_back(std::function<void()> call) { on_given_back_ = std::move(call); }

 private:
  friend class Charge;
  [[nodiscard]] bool counts_bytes() const;
  [[nodiscard]] const char* more_of_unit() const;
  [[nodiscard]] std::string show(uint64_t amount) const;

  std::function<void()> on_given_back_;
  std::string name_;  // such as "the host" or "user 1000", for messages
  const char* unit_;
  uint64_t limit_;
  int error_code_;  // when this one is full
  Budget* parent_;
  const char* key_;
  uint64_t used_ = 0;
};

class Charge {
 public:
  Charge() = default;
  Charge(Charge&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), amount_(std::exchange(other.amount_, 0)) {}
  Charge& operator=(Charge&& other) noexcept;
  ~Charge() { reset(); }

  // Takes `amount` from `budget` and all above it, or fails with the code of the one that is full; the
  // text has the numbers.
  [[nodiscard]] static int take(Budget& budget, uint64_t amount, Charge& out);

  // Takes `more` from the same budget.
  [[nodiscard]] int add(uint64_t more);

  // Takes over what `other` has, from the same budget.
  void join(Charge other);

  void give_back(uint64_t amount);

  [[nodiscard]] uint64_t amount() const { return amount_; }
  // Who pays; nullptr: nobody.
  [[nodiscard]] const Budget* budget() const { return budget_; }
  // Whether `budget` pays for this, itself or as the larger one of who does.
  [[nodiscard]] bool is_paid_by(const Budget& budget) const;
  void reset();

 private:
  Budget* budget_ = nullptr;
  uint64_t amount_ = 0;
};

// The largest of some holders of memory with their sizes, for a message: "the client 480 MiB, worker 2 40 MiB, 3 more".
struct MemoryHolder {
  uint64_t bytes;
  std::string name;
};
inline constexpr size_t kHoldersNamed = 3;
[[nodiscard]] std::string list_largest(std::vector<MemoryHolder> holders);

// What `share` of the memory that this process may still use comes to: of what is available on the
// host, or of what its control groups leave, whichever is less.
[[nodiscard]] uint64_t memory_for_us(double share);

}  // namespace tarn::daemon

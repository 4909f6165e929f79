#include "ledger.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string_view>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"

namespace tarn::daemon {
namespace {

constexpr uint64_t kMemoryUnknown = uint64_t{1} << 30;  // when the host tells nothing

std::string read_file(const std::string& path) {
  Fd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  char text[4096];
  ssize_t size = file.valid() ? read(file.get(), text, sizeof text) : 0;
  return {text, size > 0 ? static_cast<size_t>(size) : 0};
}

uint64_t available_on_host() {
  std::string text = read_file("/proc/meminfo");
  size_t at = text.find("MemAvailable:");
  if (at == std::string::npos) return kMemoryUnknown;
  return strtoull(text.c_str() + at + strlen("MemAvailable:"), nullptr, 10) * 1024;
}

// What the control group at `folder` leaves; UINT64_MAX if it sets no limit.
uint64_t left_by_group(const std::string& folder) {
  std::string limit = read_file(folder + "/memory.max");
  if (limit.empty() || limit.starts_with("max")) return UINT64_MAX;
  uint64_t most = strtoull(limit.c_str(), nullptr, 10);
  uint64_t current = strtoull(read_file(folder + "/memory.current").c_str(), nullptr, 10);
  return most > current ? most - current : 0;
}

uint64_t left_by_groups() {
  std::string groups = read_file("/proc/self/cgroup");
  size_t at = groups.find("0::/");
  if (at == std::string::npos) return UINT64_MAX;
  std::string path = groups.substr(at + 3, groups.find('\n', at) - at - 3);
  uint64_t left = UINT64_MAX;
  for (;;) {
    left = std::min(left, left_by_group("/sys/fs/cgroup" + path));
    size_t slash = path.rfind('/');
    if (path.empty() || slash == std::string::npos) return left;
    path.erase(slash);
  }
}

}  // namespace

Budget::~Budget() { TARN_ASSERT(used_ == 0); }

const Budget* Budget::full_for(uint64_t amount) const {
  for (const Budget* b = this; b != nullptr; b = b->parent_)
    if (amount > b->limit_ || b->used_ > b->limit_ - amount) return b;
  return nullptr;
}

uint64_t Budget::limit_of_all() const {
  uint64_t limit = limit_;
  for (const Budget* b = parent_; b != nullptr; b = b->parent_) limit = std::min(limit, b->limit_);
  return limit;
}

uint64_t Budget::room() const {
  uint64_t room = kNoLimit;
  for (const Budget* b = this; b != nullptr; b = b->parent_) room = std::min(room, b->limit_ - std::min(b->used_, b->limit_));
  return room;
}

int Budget::refuse(uint64_t amount) const {
  if (amount > limit_)
    return fail(error_code_, "no room for %s%s: %s allows %s in all", show(amount).c_str(), more_of_unit(), key_,
                show(limit_).c_str());
  return fail(error_code_, "no room for %s%s: %s has %s of the %s that %s allows; release objects or raise that",
              show(amount).c_str(), more_of_unit(), name_.c_str(), show(used_).c_str(), show(limit_).c_str(), key_);
}

// " on disk" of "bytes on disk": once in a message is enough.
const char* Budget::more_of_unit() const { return counts_bytes() ? unit_ + strlen("bytes") : ""; }

bool Budget::counts_bytes() const { return std::string_view(unit_).starts_with("bytes"); }

// "12.5 MiB", "30 descriptors".
std::string Budget::show(uint64_t amount) const {
  if (!counts_bytes()) return std::to_string(amount) + " " + unit_;
  constexpr const char* kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  size_t at = 0;
  auto value = static_cast<double>(amount);
  for (; value >= 1024 && at + 1 < std::size(kUnits); ++at) value /= 1024;
  char text[32];
  snprintf(text, sizeof text, "%.*f", at == 0 ? 0 : 1, value);
  return text + std::string(kUnits[at]);
}

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this == &other) return *this;
  reset();
  budget_ = std::exchange(other.budget_, nullptr);
  amount_ = std::exchange(other.amount_, 0);
  return *this;
}

int Charge::take(Budget& budget, uint64_t amount, Charge& out) {
  if (const Budget* full = budget.full_for(amount)) return full->refuse(amount);
  for (Budget* b = &budget; b != nullptr; b = b->parent_) b->used_ += amount;
  out.reset();
  out.budget_ = &budget;
  out.amount_ = amount;
  return 0;
}

int Charge::add(uint64_t more) {
  Charge extra;
  TARN_ASSERT(budget_ != nullptr);
  if (int r = take(*budget_, more, extra); r < 0) return r;
  amount_ += more;
  extra.budget_ = nullptr;
  return 0;
}

void Charge::join(Charge other) {
  if (other.budget_ == nullptr) return;
  TARN_ASSERT(budget_ == nullptr || budget_ == other.budget_);
  budget_ = std::exchange(other.budget_, nullptr);
  amount_ += std::exchange(other.amount_, 0);
}

void Charge::give_back(uint64_t amount) {
  TARN_ASSERT(amount <= amount_ || budget_ == nullptr);
  for (Budget* b = budget_; b != nullptr; b = b->parent_) {
    TARN_ASSERT(b->used_ >= amount);
    b->used_ -= amount;
    if (amount != 0 && b->on_given_back_) b->on_given_back_();
  }
  amount_ -= amount;
}

bool Charge::is_paid_by(const Budget& budget) const {
  for (const Budget* b = budget_; b != nullptr; b = b->parent())
    if (b == &budget) return true;
  return false;
}

void Charge::reset() {
  give_back(amount_);
  budget_ = nullptr;
}

std::string list_largest(std::vector<MemoryHolder> holders) {
  std::erase_if(holders, [](const MemoryHolder& holder) { return holder.bytes == 0; });
  std::ranges::stable_sort(holders, std::ranges::greater{}, &MemoryHolder::bytes);
  std::string list;
  for (size_t i = 0; i < std::min(holders.size(), kHoldersNamed); ++i) {
    bool is_small = holders[i].bytes < uint64_t{1} << 20;
    list += (list.empty() ? "" : ", ") + holders[i].name + " " + std::to_string(holders[i].bytes >> (is_small ? 10 : 20)) +
            (is_small ? " KiB" : " MiB");
  }
  if (holders.size() > kHoldersNamed) list += ", " + std::to_string(holders.size() - kHoldersNamed) + " more";
  return list;
}

uint64_t memory_for_us(double share) {
  uint64_t available = std::min(available_on_host(), left_by_groups());
  return static_cast<uint64_t>(static_cast<double>(available) * share);
}

}  // namespace tarn::daemon

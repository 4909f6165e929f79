// The work of map.skewed without a runtime: two processes that take the next element from one counter, one each time.
// That is the ideal makespan: no element costs more than a thousandth of the whole.
//
//   skewed [--elements N] [--ms N]
#include "../measure.h"
#include "../skewed.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <new>

namespace {

// What the two share. Every round the first one asks, the other answers.
struct Shared {
  std::atomic<int> round;
  std::atomic<int> answers;
  alignas(64) std::atomic<uint64_t> next;
  alignas(64) std::atomic<uint64_t> sum;
};

void take_elements(Shared& shared, uint64_t count) {
  uint64_t sum = 0;
  for (uint64_t i; (i = shared.next.fetch_add(1, std::memory_order_relaxed)) < count;) sum += skewed_element(i, count);
  shared.sum += sum;
}

[[noreturn]] void serve(Shared& shared, uint64_t count) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  measure_pin(1);
  for (int done = 0;; ++done) {
    while (shared.round.load(std::memory_order_acquire) == done) measure_pause();
    take_elements(shared, count);
    shared.answers.fetch_add(1, std::memory_order_release);
  }
}

}  // namespace

int main(int argc, char** argv) {
  static Measure measure;
  const auto count = static_cast<uint64_t>(measure_option_int(argc, argv, "--elements", kSkewedElements));
  auto& shared = *new (measure_shared(sizeof(Shared))) Shared{};
  measure_cpu(0);
  const pid_t other = fork();
  if (other < 0) measure_die("fork");
  if (other == 0) serve(shared, count);
  measure_pin(0);
  measure_start(&measure, argc, argv);
  for (int round = 1; measure_more(&measure); ++round) {
    measure_begin(&measure);
    shared.next = 0;
    shared.round.store(round, std::memory_order_release);
    take_elements(shared, count);
    while (shared.answers.load(std::memory_order_acquire) != round) measure_pause();
    measure_end(&measure, 1);
  }
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
  measure_print("skewed", measure_median_ns(&measure), "ns", "two processes, an element at a time from one counter");
  return 0;
}

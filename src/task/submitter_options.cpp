// Submitter: what the options of a submission say, and whether that can be had.
#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/options.hpp"
#include "os/clock.hpp"
#include "task/back_off.hpp"
#include "task/needs.hpp"
#include "task/submitter.hpp"

namespace tarn::task {
namespace {

constexpr int32_t kRetriesMax = 200;
constexpr int64_t kBackOffFirstNs = 10'000'000;         // unless the options say otherwise
constexpr int64_t kBackOffUsualMaxNs = 10'000'000'000;

// KEY=VALUE,KEY=VALUE
int check_labels(const char* labels) {
  for (const char* at = labels;;) {
    size_t size = strcspn(at, ",");
    size_t key = strcspn(at, "=,");
    if (key == 0 || key == size)
      return fail(TARN_E_ARGUMENT, "labels is '%s'; KEY=VALUE,KEY=VALUE is wanted, and '%.*s' is not KEY=VALUE", labels, static_cast<int>(size), at);
    at += size;
    if (*at++ == '\0') return 0;
  }
}

}  // namespace

int Submitter::check_retry(const tarn_retry& retry, Submission& out) {
  if (int r = check_options(&retry, retry.size, sizeof retry, "tarn_retry"); r < 0) return r;
  for (uint64_t value : retry.reserved)
    if (value != 0) return fail(TARN_E_ARGUMENT, "tarn_retry: reserved must be zero");
  if (retry.times == 0 || retry.times > kRetriesMax || out.attempts_max + retry.times > UINT8_MAX)
    return fail(TARN_E_ARGUMENT, "tarn_retry: times is %u; allowed are 1 to %d, with the retries after a crash together %d", retry.times,
                kRetriesMax, UINT8_MAX - 1);
  if (retry.code_count > kRetryCodesMax || (retry.code_count != 0) != (retry.codes != nullptr))
    return fail(TARN_E_ARGUMENT, "tarn_retry: %u codes; at most %zu, and NULL for any error", retry.code_count, kRetryCodesMax);
  // Written so that NaN is none of them.
  if (!(retry.factor == 0 || (retry.factor >= 1 && retry.factor <= 1000)))
    return fail(TARN_E_ARGUMENT, "tarn_retry: factor is %g; allowed are 1 to 1000, and 0 for 2", retry.factor);
  if (retry.first_ns < 0 || retry.max_ns < 0 || retry.first_ns > kBackOffMaxNs || retry.max_ns > kBackOffMaxNs)
    return fail(TARN_E_ARGUMENT, "tarn_retry: first_ns is %lld, max_ns %lld; nanoseconds are wanted, up to a day",
                static_cast<long long>(retry.first_ns), static_cast<long long>(retry.max_ns));
  if (retry.max_ns != 0 && retry.first_ns > retry.max_ns)
    return fail(TARN_E_ARGUMENT, "tarn_retry: first_ns is %lld, and max_ns only %lld", static_cast<long long>(retry.first_ns),
                static_cast<long long>(retry.max_ns));
  out.limits.error_runs_max = static_cast<uint8_t>(retry.times);
  out.limits.code_count = static_cast<uint16_t>(retry.code_count);
  out.limits.back_off_ns = retry.first_ns == 0 ? kBackOffFirstNs : retry.first_ns;
  out.limits.back_off_max_ns = std::max(retry.max_ns == 0 ? kBackOffUsualMaxNs : retry.max_ns, out.limits.back_off_ns);
  out.limits.back_off_factor = retry.factor == 0 ? 2 : retry.factor;
  out.codes = retry.codes;
  return 0;
}

int Submitter::read_options(const tarn_submit_options& options, Submission& out) const {
  if (int r = check_options(&options, options.size, sizeof options, "tarn_submit_options"); r < 0) return r;
  if (options.retries > kRetriesMax || options.retries < -1)
    return fail(TARN_E_ARGUMENT, "retries is %d; allowed are -1 to %d", options.retries, kRetriesMax);
  uint64_t reserved = 0;
  for (uint64_t value : options.reserved) reserved |= value;
  if (reserved != 0) return fail(TARN_E_ARGUMENT, "tarn_submit_options: reserved must be zero");
  if ((options.flags & ~uint32_t{TARN_TASK_REPEATABLE}) != 0)
    return fail(TARN_E_ARGUMENT, "tarn_submit_options: flags is %#x; there is TARN_TASK_REPEATABLE (1)", options.flags);
  // A worker may die, and what its tasks have submitted with it; who has that result would have no way to make it again.
  if ((options.flags & TARN_TASK_REPEATABLE) != 0 && helper_ == nullptr) out.limits.recipe = 1;  // where, fill_block knows
  if (options.retries != 0) out.attempts_max = static_cast<uint8_t>(std::max(options.retries, 0) + 1);
  if (options.timeout_ns < 0 || options.deadline_ns < 0)
    return fail(TARN_E_ARGUMENT, "timeout_ns is %lld, deadline_ns %lld; nanoseconds are wanted, 0 for none",
                static_cast<long long>(options.timeout_ns), static_cast<long long>(options.deadline_ns));
  out.limits.timeout_ns = options.timeout_ns;
  if (options.deadline_ns != 0) out.limits.deadline_ns = os::deadline_after(options.deadline_ns);
  if (options.priority < TARN_PRIORITY_MIN || options.priority > TARN_PRIORITY_MAX)
    return fail(TARN_E_ARGUMENT, "priority is %d; allowed are %d to %d", options.priority, TARN_PRIORITY_MIN, TARN_PRIORITY_MAX);
  out.limits.attempts_max = out.attempts_max;
  if (options.retry_on_error != nullptr) {
    if (int r = check_retry(*options.retry_on_error, out); r < 0) return r;
  }
  if (options.labels != nullptr && *options.labels != '\0') {
    size_t size = strnlen(options.labels, kTaskLabelsMax + 1);
    if (size > kTaskLabelsMax) return fail(TARN_E_ARGUMENT, "labels has more than %zu bytes", kTaskLabelsMax);
    if (int r = check_labels(options.labels); r < 0) return r;
    out.labels = options.labels;
    out.limits.labels_size = static_cast<uint32_t>(size);
  }
  auto level = static_cast<uint32_t>(options.priority - TARN_PRIORITY_MIN);
  uint32_t number = 0;
  if (options.needs != nullptr) {
    if (int r = check_needs(*view_.board, *options.needs, level, number); r < 0) return r;
    out.limits.cores = options.needs->cores;
    out.limits.memory = options.needs->memory;
    bool any = number != 0 || out.limits.cores != 0 || out.limits.memory != 0;
    if (any && (options.flags & TARN_TASK_REPEATABLE) != 0)
      return fail(TARN_E_ARGUMENT,
                  "a task with needs cannot be TARN_TASK_REPEATABLE: it would run again where its result is read, with what is there");
  }
  out.kind = pack_kind(level, number, options.signature);
  out.has_limits = out.limits.is_set();
  return 0;
}

}  // namespace tarn::task

#include "verbs.hpp"

namespace tarn::cli {

std::span<const Verb* const> verbs() {
  static constexpr const Verb* kVerbs[] = {&kStatusVerb, &kSlotsVerb,  &kWorkersVerb,    &kTasksVerb, &kObjectsVerb, &kMemoryVerb,
                                           &kLogsVerb,   &kTopVerb,   &kTraceVerb,  &kDoctorVerb, &kVersionVerb, &kCompletionVerb, &kManVerb};
  return kVerbs;
}

}  // namespace tarn::cli

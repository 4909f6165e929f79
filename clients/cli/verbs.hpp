// Verbs: all of them, in the order in which help shows them. One file each.
#pragma once

#include <span>

#include "verb.hpp"

namespace tarn::cli {

extern const Verb kStatusVerb;
extern const Verb kSlotsVerb;
extern const Verb kWorkersVerb;
extern const Verb kTasksVerb;
extern const Verb kObjectsVerb;
extern const Verb kLogsVerb;
extern const Verb kTopVerb;
extern const Verb kTraceVerb;
extern const Verb kMemoryVerb;
extern const Verb kDoctorVerb;
extern const Verb kVersionVerb;
extern const Verb kCompletionVerb;
extern const Verb kManVerb;

[[nodiscard]] std::span<const Verb* const> verbs();

// What the program says of itself.
inline constexpr const char* kSummary = "looks at the tarnds of this host and at what they run";

}  // namespace tarn::cli

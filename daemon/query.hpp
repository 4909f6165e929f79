// Query: what tools may ask, answered as JSON text.
#pragma once

#include <sys/types.h>

#include <string>

#include "wire/messages.hpp"

namespace tarn::daemon {

class Tarnd;

// The answer to `query` as one JSON object with a "schema" member, or with an "error" member if there
// is no such query. Users other than root and tarnd's own see only what is theirs.
[[nodiscard]] std::string answer(const Tarnd& daemon, const wire::Query& query, uid_t uid);

}  // namespace tarn::daemon

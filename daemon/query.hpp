// Query: what tools may ask, answered as JSON text.
#pragma once

#include <sys/types.h>

#include <string>

#include "wire/messages.hpp"

namespace tarn::daemon {

class Tarnd;

// The answer to `query` as one JSON object with a "schema" member ("tarn.error/1" if there is no such
// query). Users other than root see only the sessions that are theirs.
[[nodiscard]] std::string answer(const Tarnd& daemon, const wire::Query& query, uid_t uid);

}  // namespace tarn::daemon

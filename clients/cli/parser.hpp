// Parser: the command line as CLI11 reads it. Completions and man pages walk the same object, so they
// cannot say anything else than it does.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "verb.hpp"

namespace tarn::cli {

struct Parser {
  std::unique_ptr<CLI::App> app;
  Options options;             // filled by app->parse
  const Verb* chosen = nullptr;
};

// The result must stay where it is while it is used: the app points into it.
[[nodiscard]] std::unique_ptr<Parser> make_parser();

}  // namespace tarn::cli

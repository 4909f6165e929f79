#include "parser.hpp"

#include <sstream>
#include <vector>

#include "tarn_build_config.h"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

constexpr int kLimitMax = 1'000'000;

void add_options(CLI::App& app, Options& options) {
  app.add_option("--address", options.address, "which daemon: auto, private, private:PID or unix:PATH")
      ->type_name("ADDRESS");
  app.add_flag("--json", options.json, "print JSON, one object per daemon and line, with sizes in bytes and times in ns");
  app.add_option("--filter", options.filters, "only rows whose KEY (of --json, or a column) has that VALUE; all of them, if given more than once")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  app.add_option("--limit", options.limit, "at most so many rows; 0: all")->type_name("N")->check(CLI::Range(0, kLimitMax).description(""));
  app.add_option("--watch", options.watch_s, "again every so many seconds (2), until interrupted")
      ->type_name("SECONDS")
      ->expected(0, 1)
      ->default_str("2")
      ->check(CLI::Range(0.1, 86400.0).description(""));
  app.add_option("--timeout", options.timeout_s, "how long to wait for a daemon's answer (10)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.001, 86400.0).description(""));
}

}  // namespace

std::unique_ptr<Parser> make_parser() {
  auto parser = std::make_unique<Parser>();
  parser->app = std::make_unique<CLI::App>(std::string("tarn ") + kSummary, "tarn");
  CLI::App& app = *parser->app;
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "print this help");
  app.set_version_flag("--version", "tarn " TARN_VERSION, "print the version");
  add_options(app, parser->options);
  for (const Verb* verb : verbs()) {
    CLI::App* command = app.add_subcommand(verb->name, verb->summary);
    command->fallthrough();
    if (verb->is_hidden) command->group("");
    if (verb->argument != nullptr) command->add_option(verb->argument, parser->options.argument, "")->required(!verb->may_follow);
    if (verb->may_follow) command->add_flag("--follow,-f", parser->options.follow, "go on with what comes, until interrupted");
    if (verb->add_options != nullptr) verb->add_options(*command, parser->options);
    if (verb->groups != nullptr) {
      std::vector<std::string> groups;
      std::istringstream list(verb->groups);
      for (std::string group; std::getline(list, group, '|');) groups.push_back(group);
      command->add_option("--by", parser->options.by, "sums for each of these")->type_name(verb->groups)->check(CLI::IsMember(groups).description(""));
    }
    command->callback([state = parser.get(), verb] { state->chosen = verb; });
  }
  return parser;
}

}  // namespace tarn::cli

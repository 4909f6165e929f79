// tarn: looks at the tarnds of this host.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <thread>

#include "base/edit_distance.hpp"
#include "daemons.hpp"
#include "parser.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

int run_once(const Parser& parser) {
  int status = parser.chosen->run(parser.options);
  // A full disk must not look like success.
  if (std::fflush(stdout) != 0) throw CliError(kFailed, "cannot write the output");
  return status;
}

int run(const Parser& parser) {
  if (parser.options.watch_s <= 0) return run_once(parser);
  for (;;) {
    if (isatty(STDOUT_FILENO) == 1) std::fputs("\x1b[H\x1b[2J", stdout);
    if (int status = run_once(parser); status != kOk && !parser.options.json) return status;
    std::this_thread::sleep_for(std::chrono::duration<double>(parser.options.watch_s));
  }
}

// What is wrong with the command line. CLI11 misses a subcommand where there is one that it does not know.
std::string explain(const Parser& parser, const CLI::ParseError& error) {
  if (parser.app->get_subcommands().empty()) {
    for (const std::string& word : parser.app->remaining()) {
      if (word.starts_with('-')) continue;
      std::string text = "there is no subcommand `" + escape(word) + "`";
      for (const Verb* verb : verbs())
        if (!verb->is_hidden && word.size() < 32 && edit_distance(word, verb->name) <= 2)
          return text + "; did you mean `" + verb->name + "`?";
      return text;
    }
  }
  return escape(error.what());
}

}  // namespace
}  // namespace tarn::cli

int main(int argc, char** argv) {
  using namespace tarn::cli;
  std::unique_ptr<Parser> parser = make_parser();
  try {
    parser->app->parse(argc, argv);
    return run(*parser);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return parser->app->exit(error);  // --help, --version
    std::fprintf(stderr, "tarn: %s\ntarn: `tarn --help` shows what there is\n", explain(*parser, error).c_str());
    return kUsage;
  } catch (const CliError& error) {
    std::fprintf(stderr, "tarn: %s\n", error.what());
    return error.status;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tarn: %s\n", escape(error.what()).c_str());
    return kFailed;
  }
}

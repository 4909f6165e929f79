// tarn: looks at the tarnds of this host.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <thread>

#include "daemons.hpp"
#include "parser.hpp"
#include "text.hpp"

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
    std::fprintf(stderr, "tarn: %s\ntarn: `tarn --help` shows what there is\n", escape(error.what()).c_str());
    return kUsage;
  } catch (const CliError& error) {
    std::fprintf(stderr, "tarn: %s\n", error.what());
    return error.status;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tarn: %s\n", escape(error.what()).c_str());
    return kFailed;
  }
}

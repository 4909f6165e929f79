#include <algorithm>
#include <cstdio>
#include <cstring>

#include "daemons.hpp"
#include "parser.hpp"
#include "tarn_build_config.h"
#include "text.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

// Text for troff.
std::string troff(const std::string& text) {
  std::string out;
  for (char c : text) {
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
    if (c == '-' || c == '\\') out += '\\';
    out += c == '\\' ? 'e' : c;
  }
  return out;
}

std::string head(const std::string& name, const std::string& summary) {
  return ".TH " + troff(name) + " 1 \"\" \"tarn " TARN_VERSION "\" \"Tarn\"\n.SH NAME\n" + troff(name) + " \\- " + troff(summary) + "\n";
}

std::string option_list(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : app.get_options()) {
    std::string names;
    if (option->get_positional()) continue;  // the synopsis has it
    for (const std::string& name : option->get_snames()) names += "\\fB" + troff("-" + name) + "\\fR, ";
    for (const std::string& name : option->get_lnames()) names += "\\fB" + troff("--" + name) + "\\fR";
    if (option->get_items_expected_max() > 0) {
      std::string value = "\\fI" + troff(option->get_type_name()) + "\\fR";
      names += option->get_items_expected_min() == 0 ? " [" + value + "]" : " " + value;
    }
    out += ".TP\n" + names + "\n" + troff(option->get_description()) + ".\n";
  }
  return out;
}

struct Row {
  const char* name;
  const char* text;
};

std::string rows(const std::string& heading, std::initializer_list<Row> list) {
  std::string out = ".SH " + heading + "\n";
  for (const Row& row : list) out += ".TP\n\\fB" + troff(row.name) + "\\fR\n" + troff(row.text) + "\n";
  return out;
}

std::string exit_status() {
  return rows("EXIT STATUS", {{"0", "All went well."},
                              {"1", "It failed; for doctor: something keeps Tarn from working."},
                              {"2", "The command line is wrong."},
                              {"3", "There is no daemon."},
                              {"4", "What was named was not found."},
                              {"5", "Permission denied."},
                              {"124", "The daemon did not answer in time."}});
}

std::string main_page(const CLI::App& app) {
  std::string out = head("tarn", kSummary);
  out += ".SH SYNOPSIS\n\\fBtarn\\fR [\\fIOPTION\\fR]... \\fISUBCOMMAND\\fR\n";
  out += ".SH DESCRIPTION\n"
         "Tables go to the standard output, in a terminal with colours unless NO_COLOR is set; messages go to the standard "
         "error. Names that come from programs are shown with everything escaped that a terminal might obey.\n";
  out += ".SH SUBCOMMANDS\n";
  for (const Verb* verb : verbs())
    if (!verb->is_hidden) out += ".TP\n\\fB" + troff(verb->name) + "\\fR\n" + troff(verb->summary) + "; see \\fBtarn\\-" + troff(verb->name) + "\\fR(1).\n";
  out += ".SH OPTIONS\nThey may stand before or behind the subcommand.\n" + option_list(app);
  out += exit_status();
  out += rows("ENVIRONMENT", {{"TARN_ADDRESS", "What --address auto means. Without it: the daemon of this host if its socket is there, "
                                               "or else all private daemons of this user."},
                              {"NO_COLOR", "If it is set and not empty, no colours."}});
  out += rows("FILES", {{"/run/tarn/tarnd.sock", "Where the daemon of this host listens."},
                        {TARN_SYSCONFDIR "/tarnd.toml", "Its configuration."}});
  std::string also;
  for (const Verb* verb : verbs())
    if (!verb->is_hidden) also += (also.empty() ? "" : ",\n") + std::string(".BR tarn\\-") + verb->name + " (1)";
  // The comma belongs to the request before it.
  for (size_t at = 0; (at = also.find(" (1),\n", at)) != std::string::npos; ++at) also.replace(at, 6, " (1),\n");
  return out + ".SH SEE ALSO\n" + also + "\n";
}

std::string verb_page(const CLI::App& app, const Verb& verb) {
  std::string own = option_list(*app.get_subcommand(verb.name));
  std::string name = std::string("tarn-") + verb.name;
  return head(name, verb.summary) + ".SH SYNOPSIS\n\\fBtarn " + troff(verb.name) + "\\fR [\\fIOPTION\\fR]...\n" +
         ".SH DESCRIPTION\n" + troff(verb.description) + "\n" +
         ".SH OPTIONS\n" + own + (own.empty() ? "See" : ".PP\nFor all others see") + "\n.BR tarn (1).\n" + exit_status() + ".SH SEE ALSO\n.BR tarn (1)\n";
}

int run(const Options& options) {
  std::unique_ptr<Parser> parser = make_parser();
  std::string page;
  if (options.argument == "tarn") page = main_page(*parser->app);
  for (const Verb* verb : verbs())
    if (!verb->is_hidden && options.argument == verb->name) page = verb_page(*parser->app, *verb);
  if (page.empty()) throw CliError(kNotFound, "there is no page " + escape(options.argument));
  std::fputs(page.c_str(), stdout);
  return kOk;
}

}  // namespace

constinit const Verb kManVerb = {"man", "prints a page of the manual, for troff", "", "page", true, run};

}  // namespace tarn::cli

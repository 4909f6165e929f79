#include <cstdio>

#include "daemons.hpp"
#include "parser.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

constexpr const char* kAddresses = "auto private private: unix:";

std::string long_name(const CLI::Option& option) {
  return option.get_lnames().empty() ? "" : "--" + option.get_lnames().front();
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

std::vector<const CLI::App*> visible_verbs(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* verb) { return !verb->get_group().empty(); });
}

std::string bash(const CLI::App& app) {
  std::string verbs, options, valued;
  for (const CLI::App* verb : visible_verbs(app)) verbs += (verbs.empty() ? "" : " ") + verb->get_name();
  for (const CLI::Option* option : app.get_options()) {
    options += (options.empty() ? "" : " ") + long_name(*option);
    if (takes_value(*option) && long_name(*option) != "--address") valued += (valued.empty() ? "" : "|") + long_name(*option);
  }
  return "# Completion of tarn for bash; made by `tarn completion bash`.\n"
         "_tarn() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} word verb=\n"
         "  COMPREPLY=()\n"
         "  case $previous in\n"
         "    --address) COMPREPLY=($(compgen -W '" + std::string(kAddresses) + "' -- \"$current\")); return ;;\n"
         "    " + valued + ") return ;;\n"
         "  esac\n"
         "  if [[ $current == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W '" + options + "' -- \"$current\"))\n"
         "    return\n"
         "  fi\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    [[ \" " + verbs + " \" == *\" $word \"* ]] && verb=$word\n"
         "  done\n"
         "  [[ -n $verb ]] || COMPREPLY=($(compgen -W '" + verbs + "' -- \"$current\"))\n"
         "}\n"
         "complete -F _tarn tarn\n";
}

// A text inside single quotes and the brackets of _arguments.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\'') out += "'\\'";
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh(const CLI::App& app) {
  std::string out = "#compdef tarn\n# Completion of tarn for zsh; made by `tarn completion zsh`.\n_arguments \\\n";
  for (const CLI::Option* option : app.get_options()) {
    std::string name = long_name(*option);
    out += "  '" + std::string(name == "--filter" ? "*" : "") + name + "[" + zsh_text(option->get_description()) + "]";
    if (name == "--address") {
      out += ":address:(" + zsh_text("auto private") + ")";
    } else if (takes_value(*option)) {
      out += std::string(option->get_items_expected_min() == 0 ? "::" : ":") + zsh_text(option->get_type_name()) + ":";
    }
    out += "' \\\n";
  }
  out += "  '1:subcommand:((";
  for (const CLI::App* verb : visible_verbs(app)) out += verb->get_name() + "\\:\"" + zsh_text(verb->get_description()) + "\" ";
  out.pop_back();
  return out + "))'\n";
}

int run(const Options& options) {
  std::unique_ptr<Parser> parser = make_parser();
  std::string text;
  if (options.argument == "bash") text = bash(*parser->app);
  if (options.argument == "zsh") text = zsh(*parser->app);
  if (text.empty()) throw CliError(kUsage, "completion knows bash and zsh, not " + escape(options.argument));
  std::fputs(text.c_str(), stdout);
  return kOk;
}

}  // namespace

constinit const Verb kCompletionVerb = {
    "completion", "prints the completion of this program for a shell", "", "shell", true, run};

}  // namespace tarn::cli

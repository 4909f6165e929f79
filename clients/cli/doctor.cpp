#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checks.hpp"
#include "listing.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk: return "ok";
    case Verdict::kWarn: return "warn";
    case Verdict::kFail: return "fail";
  }
  return "?";
}

Colour colour_of(Verdict verdict) {
  return verdict == Verdict::kOk ? Colour::kGreen : verdict == Verdict::kWarn ? Colour::kYellow : Colour::kRed;
}

// Having no daemon is nothing to complain about: a private one starts with its client.
std::vector<Json> ask_daemons(const Options& options) {
  std::vector<Json> answers;
  try {
    for (const Daemon& daemon : find_daemons(options.address))
      answers.push_back(ask(daemon, "status", 0, options.timeout_ns()));
  } catch (const CliError& error) {
    if (error.status == kUsage) throw;
  }
  return answers;
}

std::vector<DiskUse> disks_of(const std::vector<Json>& answers) {
  auto text = [](const Json& answer, const char* key) {
    auto found = answer.find(key);  // an older tarnd has less
    return found != answer.end() && found->is_string() ? found->get<std::string>() : "";
  };
  std::vector<DiskUse> disks;
  for (const Json& answer : answers) {
    if (!answer.contains("disk_off") || !answer.contains("disk_directory")) continue;  // an older tarnd
    uint64_t limit = answer.value("disk_limit", uint64_t{0});
    uint64_t used = answer.value("disk_used", uint64_t{0});
    used -= std::min(used, answer.value("disk_kept", uint64_t{0}));
    auto refused_s = answer.find("disk_refused_s");
    bool has_age = refused_s != answer.end() && refused_s->is_number_unsigned();
    disks.push_back({text(answer, "disk_directory"), text(answer, "disk_off"), std::min(used, limit), limit,
                     text(answer, "disk_full"), text(answer, "disk_refused"), has_age ? refused_s->get<uint64_t>() : 0});
  }
  return disks;
}

Findings examine(const Options& options) {
  Host host;
  std::vector<Json> answers = ask_daemons(options);
  std::vector<std::string> versions;
  for (const Json& answer : answers) versions.push_back(answer.value("version", "?"));
  Findings all;
  for (Findings part : {check_versions(versions), check_kernel(host), check_cpus(host), check_memory(host),
                        check_disk(host, disks_of(answers))})
    std::ranges::move(part, std::back_inserter(all));
  return all;
}

Json to_json(const Finding& finding) {
  Json row;
  row["check"] = finding.check;
  row["state"] = name_of(finding.verdict);
  row["found"] = finding.found;
  row["means"] = finding.meaning;
  row["do"] = finding.advice;
  return row;
}

void print_text(const Findings& findings) {
  Table table({{""}, {"CHECK"}, {"FOUND"}});
  for (const Finding& finding : findings) {
    table.add({Cell(name_of(finding.verdict), colour_of(finding.verdict)), finding.check, finding.found});
    if (!finding.meaning.empty()) table.add({"", "", Cell("means: " + finding.meaning, Colour::kDim)});
    if (!finding.advice.empty()) table.add({"", "", Cell("do: " + finding.advice, Colour::kDim)});
  }
  std::fputs(table.text(wants_colour(STDOUT_FILENO)).c_str(), stdout);
}

int run(const Options& options) {
  Findings findings = examine(options);
  auto count = [&](Verdict verdict) { return std::ranges::count(findings, verdict, &Finding::verdict); };
  auto fails = count(Verdict::kFail);
  if (options.json) {
    Json out;
    out["schema"] = "tarn.doctor/1";
    out["ok"] = count(Verdict::kOk);
    out["warn"] = count(Verdict::kWarn);
    out["fail"] = fails;
    Json rows = Json::array();
    for (const Finding& finding : findings) rows.push_back(to_json(finding));
    filter_rows(rows, options.filters);
    out["checks"] = std::move(rows);
    std::printf("%s\n", out.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
  } else {
    print_text(findings);
    std::printf("\n%ld ok, %ld warn, %ld fail\n", static_cast<long>(count(Verdict::kOk)), static_cast<long>(count(Verdict::kWarn)),
                static_cast<long>(fails));
  }
  return fails == 0 ? kOk : kFailed;
}

}  // namespace

constinit const Verb kDoctorVerb = {
    "doctor", "what limits speed or safety on this host",
    "Looks at the host as this process sees it: versions, kernel, CPUs and control groups, idle states, memory, limits, and "
    "whether objects can go to a disk when memory is short. Each line is ok, warn (it costs speed or safety) or fail (Tarn "
    "does not work), with what it means and what to do. It changes nothing. Run it as the user, and in the control group, "
    "that the programs will have.",
    nullptr, false, run};

}  // namespace tarn::cli

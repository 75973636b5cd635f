// SPDX-License-Identifier: Apache-2.0
#include "cli/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "migration/error_json.h"

namespace vmferry::cli {
namespace {

using migration::MigrationView;
using text::Json;

std::string FactOf(const MigrationView& view, const std::string& name) {
  const auto found = view.facts.find(name);
  return found == view.facts.end() ? std::string() : found->second;
}

std::string FileName(const MigrationView& view) { return migration::SourceName(view.spec.source); }

// The state as it is now: a migration nobody works on is not running, whatever was written last.
std::string StateWord(const MigrationView& view) {
  if (view.row.state == "running" && !view.in_progress) return "interrupted";
  return view.row.state;
}

std::string CurrentStep(const MigrationView& view) {
  if (view.steps.empty()) return "-";
  const store::StepRow& last = view.steps.back();
  return last.step + (last.status == "done" ? "" : " " + last.status);
}

std::string PartsOf(const MigrationView& view) {
  if (view.total_parts == 0) return fmt::format("{}/?", view.confirmed_parts);
  return fmt::format("{}/{}", view.confirmed_parts, view.total_parts);
}

std::string RateOf(const MigrationView& view) {
  return view.bytes_per_second == 0 ? "-" : FormatSize(view.bytes_per_second) + "/s";
}

std::string Duration(WallTime begin, WallTime end) {
  return FormatDuration(std::chrono::duration_cast<std::chrono::seconds>(end - begin));
}

std::string FormatName(const migration::SourceSpec& source) {
  return source.subformat.empty() ? source.format : source.subformat + " " + source.format;
}

std::string WhereTo(const migration::MigrationSpec& spec) {
  return spec.to == "local" ? "the embedded region" : "AWS " + spec.region;
}

void AppendChain(std::string& text, const Error& error) {
  for (const Error* cause = error.cause(); cause != nullptr; cause = cause->cause()) {
    text += fmt::format("  because: {}\n", cause->message());
  }
}

}  // namespace

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i + 1 < row.size() ? fmt::format("{:<{}}  ", row[i], widths[i]) : row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string_view KindName(image::ExtentKind kind) {
  switch (kind) {
    case image::ExtentKind::kData:
      return "data";
    case image::ExtentKind::kZero:
      return "zero";
    case image::ExtentKind::kHole:
      return "hole";
  }
  return "";
}

std::string FormatExactSize(std::uint64_t bytes) {
  if (bytes < kKiB) return fmt::format("{} bytes", bytes);
  return fmt::format("{} ({} bytes)", FormatSize(bytes), bytes);
}

std::string FormatOf(const image::DiskImageInfo& info) {
  return info.subformat.empty() ? info.format : info.format + " " + info.subformat;
}

std::string FileNameOf(const std::string& location) {
  if (location.find("://") != location.npos) return location;
  return std::filesystem::path(location).filename().string();
}

Json TextsToJson(const std::vector<std::string>& texts) {
  Json json = Json::MakeArray();
  for (const std::string& text : texts) json.Append(text);
  return json;
}

std::string DescribeRanges(const std::vector<proof::DifferingRange>& ranges, bool complete) {
  if (ranges.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{"OFFSET", "LENGTH"}};
  for (const proof::DifferingRange& range : ranges) {
    rows.push_back({std::to_string(range.offset_bytes), std::to_string(range.length_bytes)});
  }
  if (!complete) rows.push_back({"and more"});
  return "\nthey differ here:\n" + FormatTable(rows);
}

Json RangesToJson(const std::vector<proof::DifferingRange>& ranges) {
  Json json = Json::MakeArray();
  for (const proof::DifferingRange& range : ranges) {
    Json item = Json::MakeObject();
    item.Set("offset_bytes", range.offset_bytes).Set("length_bytes", range.length_bytes);
    json.Append(std::move(item));
  }
  return json;
}

std::string DescribeError(const Error& error) {
  std::string text = fmt::format("vmferry: {}\n", error.message());
  AppendChain(text, error);
  const Error* with_remedy = &error;
  while (with_remedy != nullptr && with_remedy->remedy().empty())
    with_remedy = with_remedy->cause();
  // Errors that nobody expects have no advice of their own.
  const std::string_view remedy = with_remedy != nullptr
                                      ? std::string_view(with_remedy->remedy())
                                      : "docs/errors.md tells more about this reason";
  text += fmt::format("  what to do: {}\n", remedy);
  text += fmt::format("  reason: {}", error.reason());
  if (const std::string* step = error.FindFact("step")) text += fmt::format(", step {}", *step);
  if (const std::string* code = error.FindFact("aws_code")) text += fmt::format(", {}", *code);
  if (const std::string* request = error.FindFact("request_id")) {
    text += fmt::format(", request id {}", *request);
  }
  return text + "\n";
}

std::string DescribeMigrations(const std::vector<MigrationView>& views) {
  if (views.empty()) return "no migrations yet; begin one with: vmferry migrate SOURCE\n";
  std::vector<std::vector<std::string>> rows = {
      {"MIGRATION", "SOURCE", "TO", "STATE", "STEP", "PARTS", "RATE", "VERDICT", "BEGAN"}};
  for (const MigrationView& view : views) {
    const std::string verdict = FactOf(view, "verdict");
    rows.push_back({view.row.id, FileName(view), view.spec.to, StateWord(view), CurrentStep(view),
                    PartsOf(view), RateOf(view), verdict.empty() ? "-" : verdict,
                    FormatTime(view.row.created)});
  }
  return FormatTable(rows);
}

std::string DescribeMigration(const MigrationView& view) {
  std::string text = fmt::format("{}  {}\n\n", view.row.id, StateWord(view));
  std::vector<std::vector<std::string>> facts = {
      {"  source",
       fmt::format("{}  {} {}, {} virtual", view.spec.source.path, view.spec.source.subformat,
                   view.spec.source.format, FormatSize(view.spec.source.virtual_size_bytes))},
      {"  to", WhereTo(view.spec) + ", bucket " + view.spec.bucket},
      {"  parts", fmt::format("{} confirmed, {}, {}", PartsOf(view),
                              FormatSize(view.confirmed_bytes), RateOf(view))}};
  for (const char* name :
       {"import_task", "instance_id", "volume_id", "verdict", "root", "certificate"}) {
    const std::string value = FactOf(view, name);
    if (!value.empty()) facts.push_back({std::string("  ") + name, value});
  }
  text += FormatTable(facts) + "\n";

  std::vector<std::vector<std::string>> steps;
  for (const store::StepRow& step : view.steps) {
    steps.push_back({"  " + step.step, step.status,
                     step.ended ? Duration(step.started, *step.ended) : "", step.detail});
  }
  text += FormatTable(steps);
  std::vector<std::vector<std::string>> left;
  for (const store::LedgerRow& entry : view.ledger) {
    if (entry.state != "removed") left.push_back({"  " + entry.kind, entry.resource, entry.state});
  }
  if (!left.empty()) text += "\n" + FormatTable(left);
  if (!view.row.error.empty()) {
    const auto error = Json::Parse(view.row.error);
    if (error) {
      text += fmt::format("\n  failed: {} [{}]\n", (*error)["message"].AsString(),
                          (*error)["reason"].AsString());
    }
  }
  const auto state = migration::ParseMigrationState(view.row.state);
  if (state && migration::IsResumable(*state) && !view.in_progress) {
    text += fmt::format("\ngo on with: vmferry resume {}\n", view.row.id);
  }
  return text;
}

Json MigrationToJson(const MigrationView& view) {
  Json steps = Json::MakeArray();
  for (const store::StepRow& step : view.steps) {
    Json item = Json::MakeObject();
    item.Set("step", step.step).Set("status", step.status).Set("started", FormatTime(step.started));
    if (step.ended) item.Set("ended", FormatTime(*step.ended));
    item.Set("detail", step.detail);
    steps.Append(std::move(item));
  }
  Json facts = Json::MakeObject();
  for (const auto& [name, value] : view.facts) facts.Set(name, value);
  Json ledger = Json::MakeArray();
  for (const store::LedgerRow& entry : view.ledger) {
    Json item = Json::MakeObject();
    item.Set("kind", entry.kind).Set("resource", entry.resource).Set("state", entry.state);
    ledger.Append(std::move(item));
  }
  Json json = Json::MakeObject();
  json.Set("schema", "vmferry.migration/1")
      .Set("id", view.row.id)
      .Set("state", StateWord(view))
      .Set("in_progress", view.in_progress)
      .Set("began", FormatTime(view.row.created))
      .Set("updated", FormatTime(view.row.updated))
      .Set("confirmed_parts", view.confirmed_parts)
      .Set("total_parts", view.total_parts)
      .Set("confirmed_bytes", view.confirmed_bytes)
      .Set("bytes_per_second", view.bytes_per_second)
      .Set("steps", std::move(steps))
      .Set("facts", std::move(facts))
      .Set("ledger", std::move(ledger));
  if (auto spec = Json::Parse(view.row.spec)) json.Set("spec", *std::move(spec));
  if (auto error = Json::Parse(view.row.error)) json.Set("error", *std::move(error));
  return json;
}

std::string DescribePlan(const migration::PlanView& plan) {
  const migration::MigrationSpec& spec = plan.spec;
  std::string text = FormatTable(
      {{"source", spec.source.path},
       {"", fmt::format("{}, {} stored, {} virtual", FormatName(spec.source),
                        FormatSize(spec.source.identity.size_bytes),
                        FormatSize(spec.source.virtual_size_bytes))},
       {"to", fmt::format("{}, bucket {}, below {}", WhereTo(spec), spec.bucket, spec.key_prefix)},
       {"sent", spec.wire.encoder.empty()
                    ? fmt::format("as stored, which ImportInstance takes as {}", spec.wire.format)
                    : fmt::format("as {}, encoded while it is read (no copy is stored)",
                                  "stream-optimised VMDK")},
       {"route", fmt::format("{}: {}{} parts of up to {}", spec.route,
                             spec.wire.encoder.empty() ? "" : "up to ", plan.part_count,
                             FormatSize(plan.part_bytes))},
       {"verify", spec.verify == "full" ? fmt::format("full: up to {} read back",
                                                      FormatSize(spec.volume_size_gib * kGiB))
                                        : spec.verify},
       {"checks", spec.checks.empty() ? "none" : fmt::format("{}", fmt::join(spec.checks, ", "))}});
  std::vector<std::vector<std::string>> calls;
  for (const auto& [operation, what] : plan.api_calls) calls.push_back({"  " + operation, what});
  return text + "\ncalls, in this order:\n" + FormatTable(calls);
}

Json PlanToJson(const migration::PlanView& plan) {
  Json calls = Json::MakeArray();
  for (const auto& [operation, what] : plan.api_calls) {
    Json call = Json::MakeObject();
    calls.Append(call.Set("operation", operation).Set("what", what));
  }
  Json json = Json::MakeObject();
  json.Set("schema", "vmferry.plan/1");
  if (auto spec = Json::Parse(plan.spec.ToJson())) json.Set("spec", *std::move(spec));
  json.Set("part_count", plan.part_count).Set("part_bytes", plan.part_bytes);
  return json.Set("calls", std::move(calls));
}

std::string DescribeOutcome(const MigrationView& view) {
  const std::string instance = FactOf(view, "instance_id");
  const std::string certificate = FactOf(view, "certificate");
  const bool done = view.row.state == "done";
  std::string text =
      done ? fmt::format("\n{} is in {} ({})\n\n", FileName(view), WhereTo(view.spec),
                         Duration(view.row.created, view.row.updated))
           : fmt::format("\n{} stopped after step {}\n\n", view.row.id, CurrentStep(view));
  std::vector<std::vector<std::string>> rows = {{"  migration", view.row.id}};
  if (!instance.empty()) rows.push_back({"  instance", instance});
  if (!FactOf(view, "volume_id").empty()) rows.push_back({"  volume", FactOf(view, "volume_id")});
  for (const store::StepRow& step : view.steps) {
    if (step.step == "verify" || step.step == "check" || step.step == "clean") {
      rows.push_back({"  " + step.step, step.detail});
    }
  }
  if (!certificate.empty()) rows.push_back({"  certificate", certificate});
  text += FormatTable(rows);
  text += "\nnext:\n";
  if (!done) text += fmt::format("  vmferry resume {}\n", view.row.id);
  text += fmt::format("  vmferry status {}\n", view.row.id);
  if (!certificate.empty()) text += fmt::format("  vmferry verify {}\n", view.row.id);
  if (done && view.spec.to == "local") {
    text += fmt::format("  vmferry region console {}\n", instance);
    text += "  eval \"$(vmferry region env)\" && aws ec2 describe-instances\n";
    text += "  vmferry region stop\n";
  }
  return text;
}

}  // namespace vmferry::cli

// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/open_options.h"
#include "cli/render.h"
#include "cli/report.h"
#include "proof/compare_disks.h"
#include "text/json.h"

namespace vmferry::cli {
namespace {

using proof::DiskComparison;
using text::Json;

/// What the command line asked for is true of the two disks.
bool IsSame(const DiskComparison& found, bool strict) {
  return strict ? found.same_everything() : found.same_bytes();
}

std::string Verdict(const DiskComparison& found, const Arguments& arguments) {
  if (!found.same_bytes()) return "the disks differ";
  if (arguments.strict_compare && !found.same_everything()) {
    return "the disks hold the same bytes, but not in the same way";
  }
  return "the disks hold the same bytes";
}

/// What to say of disks that are not of one size; nothing when they are.
std::string SizeRemark(const DiskComparison& found) {
  if (found.same_size()) return "";
  const bool b_longer = found.size_b_bytes > found.size_a_bytes;
  const std::uint64_t shorter_bytes = std::min(found.size_a_bytes, found.size_b_bytes);
  const std::uint64_t rest_bytes = std::max(found.size_a_bytes, found.size_b_bytes) - shorter_bytes;
  const bool rest_is_zero = found.same_bytes() || found.last_difference_bytes < shorter_bytes;
  return fmt::format("{} is {} longer; that rest is {}", b_longer ? "B" : "A",
                     FormatExactSize(rest_bytes), rest_is_zero ? "zero" : "not all zero");
}

std::string DescribeComparison(const DiskComparison& found, const Arguments& arguments) {
  const auto disk = [](const std::string& path, std::uint64_t size_bytes) {
    return fmt::format("{}, {}", path, FormatExactSize(size_bytes));
  };
  std::vector<std::vector<std::string>> rows = {{"A", disk(arguments.source, found.size_a_bytes)},
                                                {"B", disk(arguments.other, found.size_b_bytes)},
                                                {"verdict", Verdict(found, arguments)}};
  if (const std::string remark = SizeRemark(found); !remark.empty()) {
    rows.push_back({"sizes", remark});
  }
  rows.push_back({"compared", FormatSize(found.compared_bytes) + " that either disk stores"});
  if (!found.same_bytes()) {
    rows.push_back({"differing", fmt::format("{}, the last one at offset {}",
                                             FormatExactSize(found.differing_bytes),
                                             found.last_difference_bytes)});
  }
  if (arguments.strict_compare && found.differing_allocation_bytes > 0) {
    rows.push_back({"allocation", fmt::format("{} are a hole on one side only, from offset {} on",
                                              FormatExactSize(found.differing_allocation_bytes),
                                              *found.first_differing_allocation_bytes)});
  }
  return FormatTable(rows) + DescribeRanges(found.ranges, found.ranges_complete);
}

Json ComparisonToJson(const DiskComparison& found, const Arguments& arguments) {
  const auto disk = [](const std::string& path, std::uint64_t size_bytes) {
    Json json = Json::MakeObject();
    json.Set("path", path).Set("virtual_size_bytes", size_bytes);
    return json;
  };
  Json json = Json::MakeObject();
  json.Set("schema", "vmferry.image-compare/1")
      .Set("verdict", IsSame(found, arguments.strict_compare) ? "identical" : "differs")
      .Set("strict", arguments.strict_compare)
      .Set("a", disk(arguments.source, found.size_a_bytes))
      .Set("b", disk(arguments.other, found.size_b_bytes))
      .Set("same_bytes", found.same_bytes())
      .Set("same_size", found.same_size())
      .Set("compared_bytes", found.compared_bytes)
      .Set("differing_bytes", found.differing_bytes)
      .Set("differing_ranges", RangesToJson(found.ranges))
      .Set("differing_ranges_complete", found.ranges_complete)
      .Set("differing_allocation_bytes", found.differing_allocation_bytes);
  if (!found.same_bytes()) json.Set("last_difference_bytes", found.last_difference_bytes);
  if (found.first_differing_allocation_bytes) {
    json.Set("first_differing_allocation_bytes", *found.first_differing_allocation_bytes);
  }
  return json;
}

Error Differs(const DiskComparison& found) {
  if (!found.same_bytes()) {
    return Error(ErrorCode::kDataLoss, "compare.differs",
                 fmt::format("{} of {} differ, the first at offset {}",
                             FormatExactSize(found.differing_bytes),
                             FormatSize(std::max(found.size_a_bytes, found.size_b_bytes)),
                             found.ranges.front().offset_bytes));
  }
  return Error(
      ErrorCode::kDataLoss, "compare.differs",
      found.same_size() ? "the disks are not allocated alike" : "the disks are not of one size");
}

}  // namespace

Result<void> RunImageCompare(CommandContext& context) {
  const Arguments& arguments = context.arguments;
  World& world = context.world;
  VMFERRY_ASSIGN_OR_RETURN(const image::OpenedDisk a,
                           image::OpenDisk(arguments.source, OpenOptionsOf(arguments)));
  VMFERRY_ASSIGN_OR_RETURN(const image::OpenedDisk b,
                           image::OpenDisk(arguments.other, OtherOpenOptionsOf(arguments)));
  ByteProgress progress(world, "comparing");
  auto found = proof::CompareDisks(
      *a.image, *b.image,
      {.threads = ThreadsForDisks(),
       .name_a = arguments.source,
       .name_b = arguments.other,
       .progress = [&](std::uint64_t done_bytes,
                       std::uint64_t total_bytes) { progress.Update(done_bytes, total_bytes); }},
      {.stop = world.stop});
  progress.Clear();
  if (!found) return std::move(found).error();
  if (arguments.output == OutputForm::kText) {
    fmt::print(world.out, "{}", DescribeComparison(*found, arguments));
  } else {
    fmt::print(world.out, "{}\n",
               ComparisonToJson(*found, arguments).Dump(arguments.output == OutputForm::kJson));
  }
  context.answered = true;
  if (IsSame(*found, arguments.strict_compare)) return {};
  return Differs(*found);
}

}  // namespace vmferry::cli

// SPDX-License-Identifier: Apache-2.0
//
// GetConsoleOutput, GetConsoleScreenshot.
#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

Result<void> GetConsoleOutput(World& world, const QueryParameters& parameters,
                              text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kInstanceIds));
  if (!world.instances.Find(id)) return NotFound(kInstanceIds, id);
  VMFERRY_ASSIGN_OR_RETURN(const std::string output, world.instances.ConsoleOutput(id));
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
      world.context.clock.WallNow().time_since_epoch());
  reply.Element("instanceId", id).Element("timestamp", Time(now.count()));
  reply.Element("output", codec::Base64Encode(AsBytes(output)));
  return {};
}

Result<void> GetConsoleScreenshot(World& world, const QueryParameters& parameters,
                                  text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kInstanceIds));
  const auto picture = world.instances.Screenshot(id);
  if (!picture) {
    if (picture.error().reason() == "region.no_such_instance") return NotFound(kInstanceIds, id);
    if (picture.error().reason() != "region.wrong_state") return picture.error();
    return Refuse("IncorrectInstanceState",
                  fmt::format("The instance '{}' is not in the 'running' state.", id));
  }
  reply.Element("instanceId", id).Element("imageData", codec::Base64Encode(AsBytes(*picture)));
  return {};
}

constexpr std::array<std::string_view, 2> kOutputParameters = {"InstanceId", "Latest"};
// WakeUp concerns displays that sleep; the region's do not.
constexpr std::array<std::string_view, 2> kScreenshotParameters = {"InstanceId", "WakeUp"};

constexpr std::array kOperations = {
    Operation{"GetConsoleOutput", GetConsoleOutput, kOutputParameters},
    Operation{"GetConsoleScreenshot", GetConsoleScreenshot, kScreenshotParameters},
};

}  // namespace

std::span<const Operation> ConsoleOperations() { return kOperations; }

}  // namespace vmferry::region::ec2

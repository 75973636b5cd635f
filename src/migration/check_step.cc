// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "migration/steps.h"

namespace vmferry::migration {
namespace {

constexpr std::chrono::minutes kConsoleLimit(10);
constexpr std::chrono::minutes kSshLimit(10);
constexpr std::chrono::seconds kBannerWait(10);

Error CheckFailed(std::string_view check, std::string message) {
  return Error(ErrorCode::kFailedPrecondition, "check.failed", std::move(message))
      .With("check", check)
      .WithRemedy(
          "look at its console, or leave this check out with --check; the imported disk is intact");
}

// A timeout of the wait is this check's verdict; other errors stay what they are.
Result<void> AsCheck(std::string_view check, Result<void> outcome) {
  if (outcome || outcome.error().reason() != "check.timeout") return outcome;
  const std::string message = outcome.error().message();
  return CheckFailed(check, message);
}

Result<std::string> CheckConsole(StepContext& context, const std::string& instance_id) {
  VMFERRY_RETURN_IF_ERROR(AsCheck(
      "console",
      PollUntil(
          context, kConsoleLimit, "check.timeout",
          fmt::format("'{}' on the console", context.spec.console_text), [&]() -> Result<bool> {
            context.Report(Step::kCheck, 0, 0,
                           fmt::format("console: '{}'", context.spec.console_text));
            VMFERRY_ASSIGN_OR_RETURN(
                const aws::ec2::ConsoleOutput console,
                context.cloud.ec2().GetConsoleOutput(instance_id, /*latest=*/true, context.op));
            return console.output.find(context.spec.console_text) != std::string::npos;
          })));
  return fmt::format("console shows '{}'", context.spec.console_text);
}

struct Address {
  std::string host;
  std::uint16_t port = 22;
};

// The embedded region tells by a tag to which port of this machine the guest's port 22 is
// forwarded.
std::optional<Address> SshAddress(const aws::ec2::Instance& instance) {
  const auto forward = instance.tags.find("vmferry:forward-22");
  if (forward != instance.tags.end()) {
    const std::size_t colon = forward->second.rfind(':');
    const auto port = ParseUint(std::string_view(forward->second).substr(colon + 1));
    if (colon == std::string::npos || !port || *port > 65535) return std::nullopt;
    return Address{forward->second.substr(0, colon), static_cast<std::uint16_t>(*port)};
  }
  const std::string& host = instance.public_ip.empty() ? instance.private_ip : instance.public_ip;
  if (host.empty()) return std::nullopt;
  return Address{host, 22};
}

Result<std::string> CheckSsh(StepContext& context, const std::string& instance_id) {
  std::string banner;
  VMFERRY_RETURN_IF_ERROR(AsCheck(
      "ssh", PollUntil(context, kSshLimit, "check.timeout", "an SSH banner", [&]() -> Result<bool> {
        VMFERRY_ASSIGN_OR_RETURN(const auto instances, context.cloud.ec2().DescribeInstances(
                                                           {.ids = {instance_id}}, context.op));
        const auto address = instances.empty() ? std::nullopt : SshAddress(instances.front());
        if (!address) return false;
        context.Report(Step::kCheck, 0, 0, fmt::format("ssh: {}:{}", address->host, address->port));
        auto line = context.network.ReadBanner(
            address->host, address->port,
            context.op.WithDeadline(context.clock.DeadlineIn(kBannerWait)));
        if (!line) {
          if (line.error().code() == ErrorCode::kCancelled) return line.error();
          return false;
        }
        banner = *std::move(line);
        return banner.starts_with("SSH-");
      })));
  return fmt::format("ssh answers {}", banner);
}

}  // namespace

Result<std::string> RunCheck(StepContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, context.journal.Fact("instance_id"));
  std::string text;
  for (const std::string& check : context.spec.checks) {
    VMFERRY_ASSIGN_OR_RETURN(const std::string outcome, check == "console"
                                                            ? CheckConsole(context, id)
                                                            : CheckSsh(context, id));
    text += text.empty() ? outcome : "; " + outcome;
  }
  return text;
}

}  // namespace vmferry::migration

// SPDX-License-Identifier: Apache-2.0
#include "sys/process.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace vmferry::sys {
namespace {

TEST(RunProcess, CollectsOutputAndExitCode) {
  SystemClock clock;
  const auto outcome =
      RunProcess(clock, {.arguments = {"sh", "-c", "echo out; echo err >&2; exit 3"}}, {});
  ASSERT_TRUE(outcome) << outcome.error().ToString();
  EXPECT_EQ(outcome->exit_code, 3);
  EXPECT_EQ(outcome->output, "out\n");
  EXPECT_EQ(outcome->error_output, "err\n");
}

TEST(RunProcess, KillsTheWholeGroupAtTheDeadline) {
  SystemClock clock;
  const OpContext context{.deadline = clock.DeadlineIn(std::chrono::milliseconds(30)), .stop = {}};
  const auto outcome = RunProcess(clock, {.arguments = {"sh", "-c", "sleep 60 & wait"}}, context);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().reason(), "process.timeout");
}

TEST(RunProcess, KeepsOutputLargerThanAPipe) {
  SystemClock clock;
  const auto outcome = RunProcess(clock, {.arguments = {"head", "-c", "300000", "/dev/zero"}}, {});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->output.size(), 300000U);
}

TEST(RunProcess, BoundsTheOutputItKeeps) {
  SystemClock clock;
  const auto outcome =
      RunProcess(clock, {.arguments = {"head", "-c", "300000", "/dev/zero"}}, {}, 1000);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->output.size(), 1000U);
}

TEST(StartProcess, NamesAMissingProgram) {
  const auto pid = StartProcess({.arguments = {"no-such-program-here"}});
  ASSERT_FALSE(pid);
  EXPECT_EQ(pid.error().reason(), "process.not_found");
}

TEST(ProcessRuns, KnowsUsAndNotAnUnusedPid) {
  EXPECT_TRUE(ProcessRuns(::getpid()));
  EXPECT_TRUE(ProcessStartTicks(::getpid()).value_or(0) > 0);
  EXPECT_FALSE(ProcessRuns(0x3fffffff));
}

}  // namespace
}  // namespace vmferry::sys

// SPDX-License-Identifier: Apache-2.0
#include "migration/step.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace vmferry::migration {
namespace {

constexpr MigrationState kAll[] = {MigrationState::kRunning,   MigrationState::kStopped,
                                   MigrationState::kFailed,    MigrationState::kCancelling,
                                   MigrationState::kCancelled, MigrationState::kDone};

TEST(MigrationState, AllowsExactlyTheListedTransitions) {
  const std::set<std::string> allowed = {
      "running>running",    "running>stopped",       "running>failed",      "running>done",
      "running>cancelling", "stopped>running",       "stopped>cancelling",  "failed>running",
      "failed>cancelling",  "cancelling>cancelling", "cancelling>cancelled"};
  for (const MigrationState from : kAll) {
    for (const MigrationState to : kAll) {
      const std::string pair =
          std::string(MigrationStateName(from)) + ">" + std::string(MigrationStateName(to));
      EXPECT_EQ(MayFollow(from, to), allowed.contains(pair)) << pair;
    }
  }
}

TEST(MigrationState, EndsAreNotResumable) {
  EXPECT_FALSE(IsResumable(MigrationState::kDone));
  EXPECT_FALSE(IsResumable(MigrationState::kCancelled));
  EXPECT_FALSE(IsResumable(MigrationState::kCancelling));
  EXPECT_TRUE(IsResumable(MigrationState::kRunning));
}

TEST(Names, SurviveARoundTrip) {
  for (const Step step : kSteps) EXPECT_EQ(ParseStep(StepName(step)), step);
  for (const MigrationState state : kAll) {
    EXPECT_EQ(ParseMigrationState(MigrationStateName(state)), state);
  }
  EXPECT_EQ(ParseStep("boot"), std::nullopt);
}

}  // namespace
}  // namespace vmferry::migration

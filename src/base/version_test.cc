// SPDX-License-Identifier: Apache-2.0
#include "base/version.h"

#include <gtest/gtest.h>

namespace vmferry {
namespace {

TEST(Version, EqualsTheBuildsVersion) { EXPECT_EQ(kVersion, VMFERRY_BUILD_VERSION); }

}  // namespace
}  // namespace vmferry

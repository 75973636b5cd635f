// SPDX-License-Identifier: Apache-2.0
//
// What people and programs are shown: errors, migrations, the report at the end.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "image/disk_image.h"
#include "migration/operations.h"
#include "proof/compare.h"
#include "text/json.h"

namespace vmferry::cli {

/// Several lines: what failed, why, what to do, the reason token and the request id.
std::string DescribeError(const Error& error);

/// One line a migration, under a heading.
std::string DescribeMigrations(const std::vector<migration::MigrationView>& views);

/// One migration with its steps, parts and ledger.
std::string DescribeMigration(const migration::MigrationView& view);
text::Json MigrationToJson(const migration::MigrationView& view);

/// The plan and its API calls.
std::string DescribePlan(const migration::PlanView& plan);
text::Json PlanToJson(const migration::PlanView& plan);

/// What came of it and what to try next.
std::string DescribeOutcome(const migration::MigrationView& view);

/// "data", "zero", "hole".
std::string_view KindName(image::ExtentKind kind);

/// "2.0 GiB (2147483648 bytes)".
std::string FormatExactSize(std::uint64_t bytes);

/// "vmdk streamOptimized".
std::string FormatOf(const image::DiskImageInfo& info);

/// The last part of a path; a URI stays whole.
std::string FileNameOf(const std::string& location);

/// A table of where disks differ, under a heading; empty when they do not.
std::string DescribeRanges(const std::vector<proof::DifferingRange>& ranges, bool complete);
text::Json RangesToJson(const std::vector<proof::DifferingRange>& ranges);

/// An array of strings.
text::Json TextsToJson(const std::vector<std::string>& texts);

/// Columns padded to the widest cell, two blanks between them.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace vmferry::cli

// SPDX-License-Identifier: Apache-2.0
//
// What ImportImage and ImportSnapshot have in common as requests and replies.

#pragma once

#include <string>
#include <string_view>

#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {

/// The role of the request ("vmimport" unless it names one).
/// Errors: InvalidParameter when it does not exist, does not trust the import service or lacks
/// permissions.
Result<std::string> ServiceRole(World& world, const QueryParameters& parameters);

/// The disk container whose parameters begin with `prefix` ("DiskContainer.1.").
/// Errors: MissingParameter, InvalidParameter, InvalidParameterCombination, InvalidSnapshot.*.
Result<ImportDisk> ReadContainer(World& world, const QueryParameters& parameters,
                                 std::string_view prefix, ImageTaskKind kind);

/// Description, role, client token; refuses encryption.
Result<ImageTask> ReadImportTask(World& world, const QueryParameters& parameters,
                                 ImageTaskKind kind);

/// `<description>`, `<format>`, `<url>`, `<userBucket>` of a disk, where they were given.
void WriteSource(const ImportDisk& disk, text::XmlWriter& reply);
/// "1048576.0": botocore's type is a double.
std::string DiskImageSize(const ImportDisk& disk);

/// The tasks of one kind that a Describe call asks for, one page of them.
/// `write` writes one task's elements.
/// Errors: InvalidConversionTaskId.Malformed; those of filters and pages.
Result<void> DescribeTasks(World& world, const QueryParameters& parameters, text::XmlWriter& reply,
                           ImageTaskKind kind, std::string_view list,
                           void (*write)(const ImageTask& task, const vm::TagMap& tags,
                                         text::XmlWriter& reply));

}  // namespace vmferry::region::ec2
